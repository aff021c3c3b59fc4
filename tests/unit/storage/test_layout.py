"""File names: reversible, safe where case is ignored and where some names are devices, never too long."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yarddesk.oci.digest import Digest
from yarddesk.oci.name import RepositoryName, Tag
from yarddesk.storage.layout import (
    NotOurFileName,
    blob_folder,
    decode_component,
    decode_reference,
    decode_repository,
    encode_component,
    encode_reference,
    encode_repository,
    manifest_folder,
    referrer_folder,
    tag_folder,
)

HEX = "0123456789abcdef" * 4
PLAIN_NAME = re.compile(r"[a-z0-9._-]+")
DEVICE = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)

awkward = st.sampled_from(
    [
        "con",
        "CON",
        "nul",
        "aux",
        "prn",
        "com1",
        "LPT9",
        ".json",
        ".JSON",
        ".",
        "..",
        "%",
        "-",
        "_",
        "sha256_",
        HEX,
        "a" * 60,
        "Q" * 60,
    ]
)
tags = st.one_of(
    st.from_regex(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}", fullmatch=True),
    st.lists(awkward, min_size=1, max_size=6)
    .map(lambda parts: "".join(parts).replace("%", "")[:128])
    .filter(lambda text: re.fullmatch(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}", text)),
)
components = st.one_of(
    st.from_regex(r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+){0,8}", fullmatch=True),
    st.builds(
        lambda head, length, tail: f"{head}{'x' * length}{tail}",
        st.sampled_from(["", "con.", "nul.", "com1.", "lpt9.a-", "conx."]),
        st.integers(1, 255),
        st.sampled_from(["", ".json", ".jsonx", ".con", "json"]),
    ),
).filter(lambda text: len(text) <= 255)


@pytest.mark.parametrize(
    "text",
    ["latest", "1.0", "v1.0-rc.1_x", "_x", "-", "con1", "com10", "consul", "x.con", "json", "a" * 128, "a" * 255],
)
def test_what_is_safe_stands_as_it_is(text: str) -> None:
    assert encode_component(text) == text


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("V1", "%561"),
        ("JSON", "%4A%53%4F%4E"),
        ("con", "%63on"),
        ("nul", "%6Eul"),
        ("aux", "%61ux"),
        ("com1", "%63om1"),
        ("con.tar.gz", "%63on.tar.gz"),
        ("latest.json", "latest%2Ejson"),
        ("aux.json", "%61ux%2Ejson"),
        ("v1.", "v1%2E"),
        (".", "%2E"),
        ("..", ".%2E"),
        (f"sha256_{HEX}", f"%73ha256_{HEX}"),
    ],
)
def test_what_is_not_safe_is_percent_encoded(text: str, name: str) -> None:
    assert encode_component(text) == name
    assert decode_component(name) == text


@given(text=st.one_of(tags, components))
@settings(max_examples=500)
def test_every_name_comes_back_is_safe_and_fits(text: str) -> None:
    name = encode_component(text)
    assert decode_component(name) == text
    assert re.fullmatch(r"[A-Za-z0-9._%-]+", name)
    assert name == text or "%" in name
    assert not DEVICE.fullmatch(name) or name.lower().startswith(("com0", "lpt0"))
    assert not name.lower().endswith(".json")
    assert not name.endswith(".")
    assert len(name.encode()) <= 255
    if not PLAIN_NAME.fullmatch(text) or len(text) <= 128:
        assert len(f"{name}.json") <= 255


@given(one=st.one_of(tags, components), other=st.one_of(tags, components))
@settings(max_examples=500)
def test_no_two_names_are_one_where_case_is_ignored(one: str, other: str) -> None:
    assert one == other or encode_component(one).lower() != encode_component(other).lower()


@given(text=st.text("aAbB%-.", min_size=1, max_size=20), flips=st.integers(0, 2**20))
def test_the_same_letters_in_another_case_are_another_name(text: str, flips: int) -> None:
    flipped = "".join(character.swapcase() if flips >> place & 1 else character for place, character in enumerate(text))
    assert text == flipped or encode_component(text).lower() != encode_component(flipped).lower()


@given(tag=tags)
def test_a_tag_of_capitals_differs_from_its_lower_case(tag: str) -> None:
    assert tag == tag.lower() or encode_component(tag).lower() != encode_component(tag.lower()).lower()


def test_the_longest_tags_and_names_fit() -> None:
    for text in (
        "A" * 128,
        "Ab" * 64,
        "CON." + "X" * 119 + ".JSON",
        "con." + "x" * 246 + ".json",
        "x" * 250 + ".json",
        "aux." + "y" * 251,
    ):
        assert len(encode_component(text)) <= 255
        assert decode_component(encode_component(text)) == text


@pytest.mark.parametrize("text", ["", "x" * 256, "É" * 100])
def test_what_can_be_no_name_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="file name"):
        encode_component(text)


@pytest.mark.parametrize(
    "name",
    [
        "V1",
        "con",
        "x.json",
        "v1.",
        "%",
        "%5",
        "%zz",
        "%76%31",
        "%56%31",
        "%4a",
        "%-abc-0",
        "%-a-1",
        "%-",
        "%--1",
        "%j",
        "a/b",
        ".DS_Store",
        "%FF",
        "x%j",
        "%-" + "a" * 128 + "-" + "f" * 33,
    ],
)
def test_a_file_name_that_is_not_ours_is_told(name: str) -> None:
    with pytest.raises(NotOurFileName):
        decode_component(name)


@given(name=st.text(max_size=300))
def test_any_name_is_ours_or_told(name: str) -> None:
    try:
        text = decode_component(name)
    except NotOurFileName:
        return
    assert encode_component(text) == name


@given(tag=tags)
def test_a_reference_comes_back_and_a_tag_is_never_taken_for_a_digest(tag: str) -> None:
    name = encode_reference(Tag.parse(tag))
    assert decode_reference(name) == tag
    assert isinstance(decode_reference(name), Tag)


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_a_digest_stands_with_an_underscore(algorithm: str) -> None:
    digest = Digest.of(b"x", algorithm)
    assert encode_reference(digest) == str(digest).replace(":", "_")
    assert decode_reference(encode_reference(digest)) == digest
    assert isinstance(decode_reference(encode_reference(digest)), Digest)


@pytest.mark.parametrize("name", ["", "-x", "V1", "..", "a b", "x" * 129])
def test_a_strangers_file_is_no_reference(name: str) -> None:
    with pytest.raises(NotOurFileName):
        decode_reference(name)


def test_the_documented_tree() -> None:
    repository, digest = RepositoryName.parse("con/my.app/x.json"), Digest.parse(f"sha256:{HEX}")
    assert encode_repository(repository) == ("%63on", "my.app", "x%2Ejson")
    assert decode_repository(("%63on", "my.app", "x%2Ejson")) == repository
    assert blob_folder(digest) == ("blobs", "sha256", "01")
    assert manifest_folder(repository, "sha256") == ("manifests", "%63on", "my.app", "x%2Ejson", "_sha256")
    assert tag_folder(repository) == ("manifests", "%63on", "my.app", "x%2Ejson", "_tags")
    assert referrer_folder(repository, digest)[-3:] == ("_referrers", "sha256", HEX)


@pytest.mark.parametrize("parts", [("_sha256",), ("A",), (".",), ("a", "_tags"), ("a_",)])
def test_a_folder_that_is_no_repositorys_is_told(parts: tuple[str, ...]) -> None:
    with pytest.raises(NotOurFileName):
        decode_repository(parts)


@given(tag=tags)
@settings(max_examples=30)
def test_a_real_file_system_takes_the_names(tag: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder: Path = tmp_path_factory.mktemp("names")
    (folder / f"{encode_component(tag)}.json").write_text(tag)
    (file,) = folder.iterdir()
    assert decode_component(file.name.removesuffix(".json")) == tag == file.read_text()
