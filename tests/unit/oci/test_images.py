"""Images by the names that engines take, and the platforms that an index is for."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yarddesk.errors import YarddeskError
from yarddesk.oci.descriptor import Descriptor, Platform
from yarddesk.oci.digest import Digest
from yarddesk.oci.image_text import ImageText
from yarddesk.oci.media_types import OCI_MANIFEST
from yarddesk.oci.platforms import for_platform, parse_platform

DIGEST = Digest.of(b"x")


@pytest.mark.parametrize(
    ("text", "registry", "name", "reference"),
    [
        ("nginx", "", "nginx", "latest"),
        (" nginx:1.27 ", "", "nginx", "1.27"),
        ("org/app", "", "org/app", "latest"),
        ("docker.io/library/nginx:1", "docker.io", "library/nginx", "1"),
        ("localhost/app:1", "localhost", "app", "1"),
        ("localhost:5000/org/app", "localhost:5000", "org/app", "latest"),
        ("Registry.Example:443/app:V1", "Registry.Example:443", "app", "V1"),
        ("[::1]:5000/app:1", "[::1]:5000", "app", "1"),
        (f"ghcr.io/org/app@{DIGEST}", "ghcr.io", "org/app", DIGEST),
        (f"app:1.2@{DIGEST}", "", "app", DIGEST),
    ],
)
def test_names_are_read_as_engines_read_them(text: str, registry: str, name: str, reference: str) -> None:
    found = ImageText.parse(text)
    assert (found.registry, found.name, found.reference) == (registry, name, reference)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "nginx:",
        "Nginx",
        "a b",
        "ghcr.io/",
        "x@sha256:1",
        "https://ghcr.io/a",
        "-a.b/c",
        "a:b:c",
        "a.b:99999999/c",
    ],
)
def test_what_is_no_image_is_refused(text: str) -> None:
    with pytest.raises(YarddeskError):
        ImageText.parse(text)


@given(st.text(alphabet="aA0.:/@_- ]é", max_size=40) | st.text(max_size=40))
def test_whatever_is_given_is_read_or_refused_with_words(text: str) -> None:
    for read in (ImageText.parse, parse_platform):
        with contextlib.suppress(YarddeskError):
            read(text)


def child(name: str, about: str = "") -> Descriptor:
    system, architecture, *variant = name.split("/")
    platform = Platform(architecture, system, variant[0] if variant else "")
    annotations = {"vnd.docker.reference.digest": Digest.of(about.encode())} if about else {}
    return Descriptor(
        OCI_MANIFEST,
        Digest.of((about or name).encode() + b"?" * bool(about)),
        1,
        platform=platform,
        annotations=annotations,
    )


def chosen(names: list[str], wanted: str) -> list[str]:
    return [str(each.platform) for each in for_platform([child(name) for name in names], parse_platform(wanted))]


def test_of_an_index_what_is_for_a_platform() -> None:
    both = ["linux/amd64", "linux/arm64/v8", "windows/amd64"]
    assert chosen(both, "linux/amd64") == ["linux/amd64"]
    assert chosen(both, "linux/x86_64") == ["linux/amd64"]
    assert chosen(both, "linux/arm64") == ["linux/arm64/v8"]
    assert chosen(both, "linux/aarch64/v8") == ["linux/arm64/v8"]
    assert chosen(["linux/arm64"], "linux/arm64/v8") == ["linux/arm64"]
    assert chosen(both, "linux/s390x") == []


def test_of_variants_the_very_one_else_the_highest_below_it() -> None:
    arms = ["linux/arm/v5", "linux/arm/v6", "linux/arm/v7"]
    assert chosen(arms, "linux/arm/v6") == ["linux/arm/v6"]
    assert chosen(arms, "linux/arm") == ["linux/arm/v7"]
    assert chosen(arms[:2], "linux/arm/v7") == ["linux/arm/v6"]
    assert chosen(arms[1:], "linux/arm/v5") == []


def test_what_attests_to_a_platform_s_manifest_goes_with_it() -> None:
    children = [
        child("linux/amd64"),
        child("linux/arm64"),
        child("unknown/unknown", "linux/amd64"),
        child("unknown/unknown", "linux/arm64"),
    ]
    found = for_platform(children, parse_platform("linux/arm64"))
    assert found == [children[1], children[3]]


@pytest.mark.parametrize("text", ["linux", "linux/", "/amd64", "a/b/c/d", "linux/ämd64", ""])
def test_what_is_no_platform_is_refused(text: str) -> None:
    with pytest.raises(YarddeskError):
        parse_platform(text)
