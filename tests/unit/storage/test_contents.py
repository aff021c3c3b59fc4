"""The index of what is stored."""

from __future__ import annotations

import threading

from hypothesis import given
from hypothesis import strategies as st

from yarddesk.oci.digest import Digest
from yarddesk.oci.name import RepositoryName, Tag
from yarddesk.storage.contents import ContentIndex, Contents, Held, copied
from yarddesk.storage.references import packed

DIGESTS = [Digest.of(bytes([number])) for number in range(4)]
TAGS = [Tag.parse(f"v{number}") for number in range(100)]
CHANGES = st.lists(st.tuples(st.sampled_from(TAGS), st.sampled_from([None, *DIGESTS])), max_size=40)
SOME = st.lists(st.sampled_from(DIGESTS), unique=True, max_size=3).map(tuple)
HELD = st.one_of(
    st.none(),
    st.builds(lambda: Held(1, 0.0, ())),
    st.builds(lambda children: Held(1, 0.0, tuple(map(packed, children)), children), SOME),
    st.builds(lambda subject: Held(1, 0.0, (packed(subject),), subject=subject), st.sampled_from(DIGESTS)),
    st.builds(lambda named: Held(1, 0.0, tuple(map(packed, named)), readable=False), SOME),
)


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
        tags = sorted(tag for tag, each in named.items() if each == digest)
        assert contents.tags_of(digest) == sorted(contents.tagged().to(digest)) == tags
        assert contents.copy().tags_of(digest) == sorted(contents.copy().tagged().to(digest)) == tags


@given(st.lists(st.tuples(st.sampled_from(DIGESTS), HELD), max_size=20))
def test_what_leads_to_a_manifest_is_known_as_manifests_come_change_and_go(changes):
    contents = Contents()
    for digest, held in changes:
        if held is None:
            contents.drop(digest)
        else:
            contents.put(digest, held)
        for there in DIGESTS:
            here = contents.manifests.items()
            listed = {
                each for each, one in here if there in one.children or (not one.readable and packed(there) in one.names)
            }
            about = {each for each, one in here if one.subject == there}
            for asked in (contents, contents.copy()):
                assert set(asked.listed_by(there)) == listed
                assert set(asked.about(there)) == about


class Busy(ContentIndex):
    """So many times something changes while it's copied."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.left = times
        self.by: list[bool] = []

    def copy(self) -> ContentIndex:
        self.by.append(threading.current_thread() is threading.main_thread())
        found = super().copy()
        if self.left:
            self.left -= 1
            self.manifest_stored(RepositoryName.parse("team/app"), DIGESTS[self.left], Held(1, 0.0, ()))
        return found


def test_a_manifest_that_names_a_blob_is_found_among_those_that_came_last(monkeypatch):
    monkeypatch.setattr("yarddesk.storage.contents._LOOKED_AT", 2)
    index, here, there = ContentIndex(), RepositoryName.parse("here"), RepositoryName.parse("there")
    blob, *manifests = DIGESTS
    assert index.naming(here, blob) is None
    index.manifest_stored(there, manifests[0], Held(1, 0.0, (packed(blob),)))
    assert index.naming(here, blob) is None
    index.manifest_stored(here, manifests[0], Held(1, 0.0, (packed(manifests[2]), packed(blob))))
    index.manifest_stored(here, manifests[1], Held(1, 0.0, ()))
    assert index.naming(here, blob) == manifests[0]
    index.manifest_stored(here, manifests[2], Held(1, 0.0, ()))
    assert index.naming(here, blob) is None
    index.manifests_gone(here, manifests[1:2])
    assert index.naming(here, blob) == manifests[0]
    index.manifests_gone(here, manifests[:1])
    assert index.naming(here, blob) is None


async def test_a_copy_is_made_beside_what_goes_on_and_never_of_two_moments():
    for times, by in ((0, [False]), (2, [False] * 3), (3, [False, False, False, True])):
        index = Busy(times)
        copy = await copied(index)
        assert index.by == by
        assert (copy.changes, copy.repositories) == (times, index.repositories)
