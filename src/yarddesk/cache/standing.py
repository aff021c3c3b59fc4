"""Which images may be evicted, and how much they take: from what is stored, where it came from, and what is wanted of it."""

from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass

from yarddesk.cache.family import Family
from yarddesk.cache.ledger import At, Entry
from yarddesk.oci.digest import Digest
from yarddesk.oci.name import Reference, RepositoryName, Tag
from yarddesk.storage.contents import ContentIndex, Contents, named_by
from yarddesk.storage.images import left_over
from yarddesk.storage.references import Packed, packed


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a repository's content is wanted for: the upstreams of its route, what is queued, what is pinned (None: all)."""

    pulls: frozenset[At]
    pushes: frozenset[At]
    queued: Collection[Digest]
    pins: frozenset[Reference | None]


@dataclass(frozen=True, slots=True)
class Image:
    """One that may go, whole: `manifests` with its root first, and the tags that name them. `used` in seconds of the epoch."""

    repository: RepositoryName
    manifests: tuple[Digest, ...]
    tags: tuple[Tag, ...]
    used: float

    @property
    def root(self) -> Digest:
        return self.manifests[0]


@dataclass(frozen=True, slots=True)
class Survey:
    """The images that may go, what wasn't used for longest first, the blobs that nobody needs, and the bytes of both: of all
    that can be had again."""

    images: list[Image]
    left_over: list[Packed]
    used: int


@dataclass(frozen=True, slots=True)
class Standing:
    """The facts, asked for as they are at that moment, from any thread. `followed` gives what a tag was upstream when last heard of."""

    entry: Callable[[RepositoryName, Digest], Entry | None]
    followed: Callable[[RepositoryName, Tag], Digest | None]
    used: Callable[[RepositoryName, Digest], float]

    def image(
        self, index: ContentIndex, repository: RepositoryName, family: Family, root: Digest, wanted: Wanted
    ) -> Image | None:
        """The image of a root; None where it must stay. In doubt it must."""
        contents = index.repositories[repository]
        manifests = family.image(root)
        tags = family.tags(manifests)
        if None in wanted.pins or wanted.pins.intersection((*manifests, *tags)):
            return None
        for tag in tags:
            if self.followed(repository, tag) != contents.tags[tag]:
                return None  # pushed here, and not (yet) upstream under this tag
        for digest in manifests:
            entry = self.entry(repository, digest)
            if entry is None or not entry.can_be_had_again(wanted.pulls, wanted.pushes):
                return None
            if digest in wanted.queued or not contents.manifests[digest].readable or packed(digest) in index.held:
                return None
        return Image(repository, tuple(manifests), tuple(tags), self._last_use(repository, contents, manifests))

    def _last_use(self, repository: RepositoryName, contents: Contents, manifests: list[Digest]) -> float:
        """Of any of it: clients ask for an index once, and then for what it lists."""
        return max(max(self.used(repository, each), contents.manifests[each].stored) for each in manifests)


def survey(index: ContentIndex, standing: Standing, wanted: Callable[[RepositoryName], Wanted]) -> Survey:
    """Look at everything. `index` is a copy, so that it may take its time on a thread."""
    images: list[Image] = []
    going: Counter[Packed] = Counter()
    used = 0
    for repository, contents in index.repositories.items():
        family = Family(contents)
        asked = wanted(repository)
        gone: set[Digest] = set()
        for root in family.roots():
            image = standing.image(index, repository, family, root, asked)
            if image is not None:
                images.append(image)
                gone.update(image.manifests)
        used += sum(contents.manifests[digest].size for digest in gone)
        going.update(named_by(contents, gone))
    used += sum(
        index.blobs[name] for name, count in going.items() if name in index.blobs and index.references[name] == count
    )
    left = left_over(index)
    used += sum(index.blobs[name] for name in left)
    images.sort(key=lambda image: (image.used, image.repository, image.root))
    return Survey(images, left, used)
