"""The index of what is stored."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from yarddesk.oci.digest import Digest
from yarddesk.oci.name import Tag
from yarddesk.storage.contents import Contents

DIGESTS = [Digest.of(bytes([number])) for number in range(4)]
TAGS = [Tag.parse(f"v{number}") for number in range(100)]
CHANGES = st.lists(st.tuples(st.sampled_from(TAGS), st.sampled_from([None, *DIGESTS])), max_size=40)


@given(st.integers(50, 70), CHANGES)
def test_the_tags_of_a_manifest_are_those_that_name_it_whether_they_are_few_or_many(before, changes):
    contents = Contents()
    for tag in TAGS[:before]:
        contents.tag(tag, DIGESTS[0])
    named = dict(contents.tags)
    for tag, digest in changes:
        if digest is None:
            contents.untag(tag)
            named.pop(tag, None)
        else:
            contents.tag(tag, digest)
            named[tag] = digest
        assert contents.tags == named
    for digest in DIGESTS:
        assert contents.tags_of(digest) == sorted(tag for tag, each in named.items() if each == digest)
