"""What is stored, in memory: which manifests a repository holds, what they name, its tags, and the blobs with their sizes.

Read from the disk once, in the background, while changes go on; from then on every change of the store is told here. For the
loop's thread, but for `copy`'s result, which nobody changes.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Final

from yarddesk.content.threads import in_thread
from yarddesk.errors import YarddeskError
from yarddesk.oci.digest import Digest
from yarddesk.oci.manifest import Manifest, parse_manifest
from yarddesk.oci.media_types import ALL_MANIFESTS, IMAGE_CONFIGS
from yarddesk.oci.name import RepositoryName, Tag
from yarddesk.storage.backwards import Backwards
from yarddesk.storage.references import Packed, named_in, packed

_CONFIGS: Final = tuple(f'"{kind}"'.encode() for kind in IMAGE_CONFIGS)
_MORE: Final = (b"manifests", b"subject", b"\\")
_LOOKED_THROUGH: Final = 64
"""Up to so many tags of a repository are looked through for those of a manifest: an index of them would cost more."""

_LOOKED_AT: Final = 5000
"""So many manifests of a repository are looked at for one that names a blob: that takes less than a millisecond."""

_TRIES: Final = 3


@dataclass(frozen=True, slots=True)
class Held:
    """A manifest that is here. `names`: every digest that stands in it, its own subject's too; `stored` in seconds of the epoch.

    `children` are the manifests that it lists. `readable` is False where it can't be told what it lists: then it may be
    anything that it names.
    """

    size: int
    stored: float
    names: tuple[Packed, ...]
    children: tuple[Digest, ...] = ()
    subject: Digest | None = None
    readable: bool = True


@dataclass(slots=True)
class Contents:
    """One repository. `manifests` and `tags` are changed by its methods alone: what leads to a manifest is looked up, too."""

    manifests: dict[Digest, Held] = field(default_factory=dict)
    tags: dict[Tag, Digest] = field(default_factory=dict)
    _tagged: Backwards[Digest, Tag] | None = field(default=None, init=False, repr=False, compare=False)
    """None where there are few."""
    _related: "_Related | None" = field(default=None, init=False, repr=False, compare=False)
    """None where nothing is."""
    _in_step: bool = field(default=True, init=False, repr=False, compare=False)
    """Whether that is so; not in a copy, until somebody asks."""

    def put(self, digest: Digest, held: Held) -> Held | None:
        """What was there before."""
        before = self.drop(digest)
        self.manifests[digest] = held
        self._relate(digest, held)
        return before

    def drop(self, digest: Digest) -> Held | None:
        """What was there."""
        held = self.manifests.pop(digest, None)
        if held is not None and self._related is not None:
            self._related.remove(digest, held)
        return held

    def tag(self, tag: Tag, digest: Digest) -> None:
        self.untag(tag)
        self.tags[tag] = digest
        if self._tagged is not None:
            self._tagged.add(tag, digest)
        elif len(self.tags) > _LOOKED_THROUGH:
            self._tagged = Backwards(self.tags.items())

    def untag(self, tag: Tag) -> None:
        digest = self.tags.pop(tag, None)
        if digest is not None and self._tagged is not None:
            self._tagged.remove(tag, digest)

    def tags_of(self, digest: Digest) -> list[Tag]:
        """The tags that name it, in lexical order."""
        if self._tagged is None:
            return sorted(tag for tag, named in self.tags.items() if named == digest)
        return sorted(self._tagged.to(digest))

    def tagged(self) -> Backwards[Digest, Tag]:
        """The tags by what they name, for several looks. Nobody changes it, and it's true until the next change."""
        return self._tagged if self._tagged is not None else Backwards(self.tags.items())

    def listed_by(self, digest: Digest) -> Collection[Digest]:
        """The manifests that list it, or may."""
        related = self._relations()
        return () if related is None else related.listed_by.to(packed(digest))

    def about(self, digest: Digest) -> Collection[Digest]:
        """The manifests whose subject it is."""
        related = self._relations()
        return () if related is None else related.about.to(digest)

    def copy(self) -> "Contents":
        """The same as it is now, for another thread to read."""
        copied = Contents(dict(self.manifests), dict(self.tags))
        copied._in_step = False
        return copied

    def _relations(self) -> "_Related | None":
        if not self._in_step:
            for digest, held in self.manifests.items():
                self._relate(digest, held)
            self._in_step = True
        return self._related

    def _relate(self, digest: Digest, held: Held) -> None:
        if held.children or held.subject is not None or not held.readable:
            self._related = self._related or _Related()
            self._related.add(digest, held)


class _Related:
    """What leads to the manifests of a repository; to most of them nothing does."""

    __slots__ = ("about", "listed_by")

    def __init__(self) -> None:
        self.listed_by: Backwards[Packed, Digest] = Backwards()
        self.about: Backwards[Digest, Digest] = Backwards()

    def add(self, digest: Digest, held: Held) -> None:
        for name in _listed(held):
            self.listed_by.add(digest, name)
        if held.subject is not None:
            self.about.add(digest, held.subject)

    def remove(self, digest: Digest, held: Held) -> None:
        for name in _listed(held):
            self.listed_by.remove(digest, name)
        if held.subject is not None:
            self.about.remove(digest, held.subject)


def _listed(held: Held) -> Collection[Packed]:
    """Of one that can't be read: it may list whatever it names."""
    return {packed(child) for child in held.children} if held.readable else held.names


class ContentIndex:
    """`complete` once all of the disk was read; until then nothing may be concluded from what is not in here.

    `changes` grows with each change, of which `changed` hears. `blobs` are the sizes of those that are here; `filled` those
    of them that came through an upstream, so that no client was told that it sent them.
    """

    def __init__(self) -> None:
        self.complete = False
        self.changes = 0
        self.repositories: dict[RepositoryName, Contents] = {}
        self.blobs: dict[Packed, int] = {}
        self.filled: set[Packed] = set()
        self.references: dict[Packed, int] = {}
        """How many manifests name a digest; those in quarantine count, too."""
        self.held: set[Packed] = set()
        """What stays, whoever names it: a manifest in quarantine does."""
        self.changed: Callable[[], None] | None = None
        self._interned: dict[Packed, Packed] = {}
        self._told_blobs: set[Packed] = set()
        self._told: set[tuple[RepositoryName, str]] = set()

    # What the store tells

    def manifest_stored(self, repository: RepositoryName, digest: Digest, held: Held) -> None:
        self._put(repository, digest, held)
        self._note(repository, digest)

    def manifests_gone(self, repository: RepositoryName, digests: Iterable[Digest]) -> None:
        contents = self.repositories.get(repository)
        for digest in digests:
            held = contents.drop(digest) if contents is not None else None
            if held is not None:
                self._count(held.names, -1)
            self._note(repository, digest)
        self._prune(repository)

    def manifest_damaged(self, repository: RepositoryName, digest: Digest) -> None:
        """It lies in quarantine: what it names stays until somebody has pushed it again, or given it up."""
        contents = self.repositories.get(repository)
        held = contents.manifests.get(digest) if contents is not None else None
        if held is not None:
            self.hold(held.names)
        self.manifests_gone(repository, (digest,))

    def tagged(self, repository: RepositoryName, tag: Tag, digest: Digest) -> None:
        self.repositories.setdefault(repository, Contents()).tag(tag, digest)
        self._note(repository, tag)

    def untagged(self, repository: RepositoryName, tags: Iterable[Tag]) -> None:
        contents = self.repositories.get(repository)
        for tag in tags:
            if contents is not None:
                contents.untag(tag)
            self._note(repository, tag)
        self._prune(repository)

    def blob_here(self, digest: Digest, size: int, *, filled: bool) -> None:
        self._blob(packed(digest), size, filled=filled)
        self._note_blob(packed(digest))

    def blob_gone(self, digest: Digest) -> None:
        self.blobs.pop(packed(digest), None)
        self.filled.discard(packed(digest))
        self._note_blob(packed(digest))

    def hold(self, names: Iterable[Packed]) -> None:
        """These stay, whoever else names them."""
        names = list(names)
        self._count(names, 1)
        self.held.update(names)
        self._changes()

    # What is read from the disk

    def read_manifests(self, repository: RepositoryName, found: Iterable[tuple[Digest, Held]]) -> None:
        """As the disk has it, but for those that the store told of meanwhile: what it tells is never older."""
        for digest, held in found:
            if (repository, digest) not in self._told:
                self._put(repository, digest, held)

    def read_tags(self, repository: RepositoryName, found: Iterable[tuple[Tag, Digest]]) -> None:
        for tag, digest in found:
            if (repository, tag) not in self._told:
                self.repositories.setdefault(repository, Contents()).tag(tag, digest)

    def read_blobs(self, found: Iterable[tuple[Digest, int, bool]]) -> None:
        """Digest, size, and whether it came through an upstream."""
        for digest, size, filled in found:
            if packed(digest) not in self._told_blobs:
                self._blob(packed(digest), size, filled=filled)

    def finish(self) -> None:
        """All of the disk was read."""
        self.complete = True
        self._told.clear()
        self._told_blobs.clear()
        self._interned.clear()  # what comes from now on is little
        self._changes()

    def copy(self) -> "ContentIndex":
        """The same as it is now, for another thread to read; made in another thread, only where nothing changed meanwhile."""
        copied = ContentIndex()
        copied.complete, copied.changes = self.complete, self.changes
        copied.repositories = {name: contents.copy() for name, contents in list(self.repositories.items())}
        copied.blobs, copied.filled = dict(self.blobs), set(self.filled)
        copied.references, copied.held = dict(self.references), set(self.held)
        return copied

    def tags_of(self, repository: RepositoryName, digest: Digest) -> list[Tag]:
        """The tags that name a manifest."""
        contents = self.repositories.get(repository)
        return contents.tags_of(digest) if contents is not None else []

    def naming(self, repository: RepositoryName, blob: Digest) -> Digest | None:
        """A manifest of the repository that names a blob; None where there is none, or it's not among those that came last."""
        name, contents = packed(blob), self.repositories.get(repository)
        if contents is None or name not in self.references:
            return None
        last = islice(reversed(contents.manifests.items()), _LOOKED_AT)
        return next((digest for digest, held in last if name in held.names), None)

    def descendants(self, repository: RepositoryName, digest: Digest) -> set[Digest]:
        """A manifest and all that it lists, those that they list, and so on: as far as they are here."""
        contents = self.repositories.get(repository)
        found: set[Digest] = set()
        left = [digest]
        while left and contents is not None:
            each = left.pop()
            held = contents.manifests.get(each)
            if held is not None and each not in found:
                found.add(each)
                left += held.children
        return found

    def _put(self, repository: RepositoryName, digest: Digest, held: Held) -> None:
        if not self.complete:
            names = tuple(self._interned.setdefault(name, name) for name in held.names)
            held = replace(held, names=names)
        before = self.repositories.setdefault(repository, Contents()).put(digest, held)
        if before is not None:
            self._count(before.names, -1)
        self._count(held.names, 1)

    def _blob(self, name: Packed, size: int, *, filled: bool) -> None:
        if not self.complete:
            name = self._interned.setdefault(name, name)
        self.blobs[name] = size
        if filled:
            self.filled.add(name)
        else:
            self.filled.discard(name)

    def _count(self, names: Iterable[Packed], by: int) -> None:
        for name in names:
            count = self.references.get(name, 0) + by
            if count > 0:
                self.references[name] = count
            else:
                self.references.pop(name, None)

    def _prune(self, repository: RepositoryName) -> None:
        contents = self.repositories.get(repository)
        if contents is not None and not contents.manifests and not contents.tags:
            del self.repositories[repository]

    def _note(self, repository: RepositoryName, reference: str) -> None:
        self._changes()
        if not self.complete:
            self._told.add((repository, reference))

    def _note_blob(self, name: Packed) -> None:
        self._changes()
        if not self.complete:
            self._told_blobs.add(name)

    def _changes(self) -> None:
        self.changes += 1
        if self.changed is not None:
            self.changed()


async def copied(index: ContentIndex) -> ContentIndex:
    """A copy, taken beside what goes on where that leaves it time enough, since a large one takes a while."""
    for _ in range(_TRIES):
        changes = index.changes
        copy = await in_thread(index.copy)
        if index.changes == changes:
            return copy
    return index.copy()


def held_of(manifest: Manifest, stored: float) -> Held:
    return Held(
        size=len(manifest.content),
        stored=stored,
        names=tuple(dict.fromkeys(named_in(manifest.content))),
        children=tuple(child.digest for child in manifest.manifests),
        subject=manifest.subject.digest if manifest.subject is not None else None,
        readable=manifest.media_type in ALL_MANIFESTS,
    )


def held_on_disk(digest: Digest, content: bytes, media_type: Callable[[], str], stored: float) -> Held:
    """What a manifest's file says; of one that is damaged, or of a type that isn't known to us, only what it names."""
    names = tuple(dict.fromkeys(named_in(content)))
    if digest.matches(content):
        if _is_plain_image(content):  # as most are: there is nothing more to find in it
            return Held(len(content), stored, names)
        try:
            return held_of(parse_manifest(content, media_type(), digest=digest, lenient=True), stored)
        except YarddeskError:
            pass
    return Held(len(content), stored, names, readable=False)


def _is_plain_image(content: bytes) -> bool:
    """Whether it's certainly one that lists no manifests and is about none."""
    return any(kind in content for kind in _CONFIGS) and not any(word in content for word in _MORE)


def unpacked(name: Packed) -> Digest:
    """The digest that `references.packed` packed."""
    return Digest.parse(f"{'sha256' if len(name) == 32 else 'sha512'}:{name.hex()}")


def named_by(contents: Contents, digests: Iterable[Digest]) -> Iterator[Packed]:
    """What these manifests name, each as often as it's named."""
    for digest in digests:
        yield from contents.manifests[digest].names
