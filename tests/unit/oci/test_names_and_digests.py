"""The specification's grammars, as values."""

import hashlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yarddesk.oci.digest import Digest, InvalidDigest
from yarddesk.oci.name import (
    ImageReference,
    InvalidName,
    InvalidTag,
    RepositoryName,
    Tag,
    format_reference,
    parse_reference,
)

# The grammars as the distribution specification v1.1 prints them.
SPEC_NAME = re.compile(r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*")
SPEC_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")

near_names = st.text(alphabet="ab0._-/A\\%:é ", max_size=30)


@given(near_names)
def test_a_name_is_taken_exactly_when_the_specifications_grammar_takes_it(text):
    if SPEC_NAME.fullmatch(text):
        assert RepositoryName.parse(text) == text
    else:
        with pytest.raises(InvalidName):
            RepositoryName.parse(text)


@given(st.text(alphabet="aZ0._-/: é\n", max_size=140))
def test_a_tag_is_taken_exactly_when_the_specifications_grammar_takes_it(text):
    if SPEC_TAG.fullmatch(text):
        assert Tag.parse(text) == text
    else:
        with pytest.raises(InvalidTag):
            Tag.parse(text)


def test_names_end_at_255_and_tags_at_128_characters():
    assert RepositoryName.parse("a" * 255)
    assert Tag.parse("a" * 128)
    with pytest.raises(InvalidName):
        RepositoryName.parse("a" * 256)
    with pytest.raises(InvalidTag):
        Tag.parse("a" * 129)


@pytest.mark.parametrize(
    "name", ["..", "a/../b", "/a", "a/", "a//b", "A", "a\n", "a b", ".a", "a.", "a..b", "a___b", "", "%2e"]
)
def test_names_that_could_climb_or_confuse_are_refused(name):
    with pytest.raises(InvalidName):
        RepositoryName.parse(name)


def test_a_long_name_that_almost_fits_is_refused_quickly():
    with pytest.raises(InvalidName):
        RepositoryName.parse("a-" * 127)


@given(st.binary(max_size=200), st.sampled_from(["sha256", "sha512"]))
def test_a_digest_matches_its_content_alone(content, algorithm):
    digest = Digest.of(content, algorithm)
    assert digest.hex == hashlib.new(algorithm, content).hexdigest()
    assert Digest.parse(str(digest)) == digest
    assert digest.matches(content)
    assert not digest.matches(content + b"x")


@pytest.mark.parametrize(
    "text",
    [
        "sha256:" + "a" * 63,
        "sha256:" + "A" * 64,
        "sha256:" + "g" * 64,
        "sha256:" + "٣" * 64,
        "sha256:../../../etc/passwd" + "a" * 45,
        "sha256" + "a" * 64,
        "md5:" + "a" * 32,
        "sha512:" + "a" * 64,
        "sha256:" + "a" * 64 + "\n",
        "",
    ],
)
def test_what_is_no_digest_is_refused(text):
    with pytest.raises(InvalidDigest):
        Digest.parse(text)


DIGEST = "sha256:" + "0" * 64


@pytest.mark.parametrize(
    ("text", "repository", "reference"),
    [
        ("team/app:1", "team/app", "1"),
        ("team/app", "team/app", None),
        (f"team/app@{DIGEST}", "team/app", DIGEST),
        ("localhost:5050/team/app:1", "team/app", "1"),
        ("127.0.0.1:5050/app", "app", None),
        ("[::1]:5050/app:x", "app", "x"),
        ("yard.example/app:x", "app", "x"),
    ],
)
def test_references_as_people_write_them(text, repository, reference):
    parsed = ImageReference.parse(text, ("yard.example",))
    assert (parsed.repository, parsed.reference) == (repository, reference)
    assert str(ImageReference.parse(str(parsed))) == format_reference(parsed.repository, parsed.reference)


@pytest.mark.parametrize("text", ["", ":tag", "app:", "App:1", "app@sha256:1", "other.example:5000/app:1", "app:1:2"])
def test_what_is_no_reference_is_refused(text):
    with pytest.raises((InvalidName, InvalidTag, InvalidDigest)):
        ImageReference.parse(text)


def test_a_colon_tells_a_digest_from_a_tag():
    assert isinstance(parse_reference("latest"), Tag)
    assert isinstance(parse_reference(DIGEST), Digest)
