"""Which manifests of a repository are one image, and that the others need not be looked at for it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NoReturn

from hypothesis import given
from hypothesis import strategies as st

from yarddesk.cache.family import Family
from yarddesk.oci.digest import Digest
from yarddesk.oci.name import Tag, is_about, tags_about
from yarddesk.storage.contents import Contents, Held
from yarddesk.storage.references import packed

DIGESTS = [Digest.of(bytes([number]), "sha512" if number == 3 else "sha256") for number in range(5)]
TAGS = [Tag.parse("v1"), Tag.parse("v2"), *(tag for digest in DIGESTS for tag in tags_about(digest)[::2])]


def holding(
    children: tuple[Digest, ...] = (), subject: Digest | None = None, *, named: tuple[Digest, ...] = ()
) -> Held:
    """A manifest; one that can't be read names only."""
    names = tuple(packed(digest) for digest in dict.fromkeys((*children, *named, *([subject] if subject else []))))
    return Held(1, 0.0, names, children, subject, readable=not named)


SOME = st.lists(st.sampled_from(DIGESTS), unique=True, max_size=3).map(tuple)
HELD = st.one_of(
    st.builds(holding, SOME, st.none() | st.sampled_from(DIGESTS)),
    st.builds(lambda named: holding(named=named), SOME.filter(bool)),
)
REPOSITORIES = st.tuples(
    st.dictionaries(st.sampled_from(DIGESTS), HELD), st.dictionaries(st.sampled_from(TAGS), st.sampled_from(DIGESTS))
)


class Oracle:
    """The same by looking at everything each time, an image by taking away what isn't its own."""

    def __init__(self, manifests: dict[Digest, Held], tags: dict[Tag, Digest]) -> None:
        self.manifests = manifests
        self.tags = tags

    def _about(self, tag: Tag) -> Digest | None:
        return next((digest for digest in self.manifests if tag in tags_about(digest)), None)

    def owners(self, digest: Digest) -> set[Digest]:
        listing = {
            each
            for each, held in self.manifests.items()
            if digest in held.children or (not held.readable and packed(digest) in held.names)
        }
        subjects = {self._about(tag) for tag, named in self.tags.items() if named == digest and is_about(tag)}
        subjects.add(self.manifests[digest].subject)
        return {each for each in listing | subjects if each in self.manifests and each != digest}

    def belonging(self, digest: Digest) -> set[Digest]:
        held = self.manifests[digest]
        about = {each for each, one in self.manifests.items() if one.subject == digest}
        about |= {named for tag, named in self.tags.items() if is_about(tag) and self._about(tag) == digest}
        return {each for each in {*held.children, *about} if each in self.manifests}

    def image(self, root: Digest) -> set[Digest]:
        image, left = {root}, [root]
        while left:
            more = self.belonging(left.pop()) - image
            image |= more
            left += more
        reached = set(image)
        for tag, digest in self.tags.items():
            if digest != root and not (is_about(tag) and self._about(tag) in reached):
                image.discard(digest)
        while foreign := {each for each in image - {root} if not self.owners(each) <= image}:
            image -= foreign
        return image


@given(REPOSITORIES)
def test_an_image_is_a_root_with_all_that_belongs_to_it_alone(
    repository: tuple[dict[Digest, Held], dict[Tag, Digest]],
) -> None:
    manifests, tags = repository
    contents = Contents()
    for digest, held in manifests.items():
        contents.put(digest, held)
    for tag, digest in tags.items():
        contents.tag(tag, digest)
    oracle = Oracle(manifests, tags)
    for asked in (contents, contents.copy()):
        family = Family(asked)
        assert set(family.roots()) == {each for each in manifests if not oracle.owners(each)}
        for digest in manifests:
            image = family.image(digest)
            assert (image[0], set(image), len(set(image))) == (digest, oracle.image(digest), len(image))
            assert set(family.tags(image)) == {tag for tag, named in tags.items() if named in image}


class NotLookedThrough(dict[Any, Any]):
    """May be asked for one thing after the other, but not for all."""

    def _refuse(self) -> NoReturn:
        raise AssertionError("all of a repository is looked through")

    def __iter__(self) -> Iterator[Any]:
        self._refuse()

    def items(self) -> Any:
        self._refuse()

    def values(self) -> Any:
        self._refuse()

    def keys(self) -> Any:
        self._refuse()


def test_what_is_one_image_is_told_without_a_look_at_all_the_others() -> None:
    contents = Contents()
    for number in range(200):
        contents.put(Digest.of(f"image {number}".encode()), holding())
        contents.tag(Tag.parse(f"v{number}"), Digest.of(f"image {number}".encode()))
    child, index, signature = (Digest.of(text) for text in (b"child", b"index", b"signature"))
    contents.put(index, holding((child,)))
    contents.put(child, holding())
    contents.put(signature, holding())
    contents.tag(Tag.parse("multi"), index)
    contents.tag(tags_about(child)[1], signature)
    contents.manifests = NotLookedThrough(contents.manifests)
    contents.tags = NotLookedThrough(contents.tags)
    family = Family(contents)
    assert family.is_root(index)
    assert not family.is_root(child)
    assert not family.is_root(signature)
    assert set(family.image(index)) == {index, child, signature}
    assert family.tags([index, child]) == ["multi"]
    assert family.is_root(Digest.of(b"image 7"))
    assert family.tags(family.image(Digest.of(b"image 7"))) == ["v7"]
