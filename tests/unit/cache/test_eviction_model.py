"""Pushes, pulls, syncs, cancels, pins, evictions and crashes in any order: what must stay stays whole, and the figure is exact."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Collection
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.bounded_yard import BoundedYard, HandQueue, bounded_yard, nobody_waits, small_image
from tests.support.content import index, push_blob
from tests.support.fake_upstreams import FakeRoutes, FakeUpstream
from tests.support.stored_oracle import Walked
from tests.support.waiting import until_async
from yarddesk.oci.digest import Digest
from yarddesk.oci.manifest import Manifest
from yarddesk.oci.name import ImageReference, RepositoryName, Tag
from yarddesk.storage.contents import unpacked

HUB, CORP, MINE = (RepositoryName.parse(name) for name in ("hub/app", "corp/app", "mine/app"))
TAGS = [Tag.parse(f"v{number}") for number in range(2)]
BASE = b"base" * 200
PLAIN = [small_image(f"image {number}", *([BASE] if number % 2 else []), size=500 + number) for number in range(5)]
IMAGES: list[tuple[Manifest, list[bytes]]] = [
    *PLAIN,
    (index(PLAIN[0][0], PLAIN[1][0]), [*PLAIN[0][1], *PLAIN[1][1]]),
    (index(PLAIN[1][0], PLAIN[2][0]), [*PLAIN[1][1], *PLAIN[2][1]]),
]
NUMBER = st.integers(0, len(IMAGES) - 1)
TAG = st.sampled_from(TAGS)
REPOSITORY = st.sampled_from([HUB, CORP, MINE])

OPERATIONS = st.one_of(
    st.tuples(st.just("publish"), NUMBER, TAG),
    st.tuples(st.just("publish_and_pull"), NUMBER, TAG),
    st.tuples(st.just("pull"), TAG, st.booleans()),
    st.tuples(st.just("push"), REPOSITORY, NUMBER, st.one_of(TAG, st.none())),
    st.tuples(st.just("sync"), st.integers(0, 5)),
    st.tuples(st.just("cancel"), st.integers(0, 5)),
    st.tuples(st.just("pin"), REPOSITORY, st.one_of(TAG, st.none())),
    st.tuples(st.just("unpin"), st.integers(0, 3)),
    st.tuples(st.just("evict"), st.floats(0, 1)),
    st.tuples(st.just("evict"), st.just(0.0)),
    st.tuples(st.just("restart")),
    st.tuples(st.just("crash")),
)


class Model:
    """What is promised, kept apart from what keeps it: `ours` are pushed manifests and where they have arrived since."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.hub, self.corp = FakeUpstream(name="hub", push=False), FakeUpstream(name="corp")
        self.routes = FakeRoutes([self.hub, self.corp], only={"hub": "hub/", "corp": "corp/"})
        self.queue = HandQueue(self.routes)
        self.ours: dict[tuple[RepositoryName, Digest], bool] = {}
        self.tags: dict[tuple[RepositoryName, Tag], tuple[Digest, bool]] = {}
        self.stack = AsyncExitStack()
        self.runs = 0

    async def begin(self) -> None:
        self.yard = await self.stack.enter_async_context(bounded_yard(self.folder, self.queue, self.routes))

    async def run(self, operations: list[tuple[object, ...]]) -> None:
        await self.begin()
        try:
            for operation in operations:
                name, *arguments = operation
                await getattr(self, str(name))(*arguments)
                await self.check()
        finally:
            await self.stack.aclose()

    # What happens

    async def publish(self, number: int, tag: Tag) -> None:
        manifest, blobs = IMAGES[number]
        for content in blobs:
            await push_blob(self.hub.store, content, HUB)
        for child, _ in PLAIN:
            if any(child.digest == each.digest for each in manifest.manifests):
                await self.hub.store.put_manifest(HUB, child)
        await self.hub.store.put_manifest(HUB, manifest)
        await self.hub.store.put_tag(HUB, tag, manifest.digest)

    async def publish_and_pull(self, number: int, tag: Tag) -> None:
        await self.publish(number, tag)
        await self.pull(tag, True)

    async def pull(self, tag: Tag, all_of_it: bool) -> None:
        if await self.hub.tag_of(HUB, tag) is None and (HUB, tag) not in self.tags:
            return
        manifest = await self.yard.manifest(HUB, tag)
        named = self.tags.get((HUB, tag))
        assert named is None or named[0] == manifest.digest, "what was pushed here is served from here"
        if all_of_it:
            await self.yard.pull(HUB, manifest.digest)

    async def push(self, repository: RepositoryName, number: int, tag: Tag | None) -> None:
        manifest, blobs = IMAGES[number]
        for child, _ in PLAIN:
            if any(child.digest == each.digest for each in manifest.manifests):
                await self.yard.push(repository, child, blobs)
                self.ours[repository, child.digest] = False
        await self.yard.push(repository, manifest, [] if manifest.manifests else blobs, *([tag] if tag else []))
        self.ours[repository, manifest.digest] = False
        if tag is not None:
            self.tags[repository, tag] = manifest.digest, False

    async def sync(self, which: int) -> None:
        if not self.queue.jobs:
            return
        repository, reference = list(self.queue.jobs)[which % len(self.queue.jobs)]
        digest = self.queue.jobs[repository, reference]
        await self.yard.sync(repository, reference, self.corp)
        manifest = next(manifest for manifest, _ in IMAGES if manifest.digest == digest)
        for each in (digest, *(child.digest for child in manifest.manifests)):
            if (repository, each) in self.ours:
                self.ours[repository, each] = True
        if isinstance(reference, Tag):
            self.tags[repository, reference] = digest, True

    async def cancel(self, which: int) -> None:
        if self.queue.jobs:
            self.yard.cancel(*list(self.queue.jobs)[which % len(self.queue.jobs)])

    async def pin(self, repository: RepositoryName, tag: Tag | None) -> None:
        await self.yard.keeping.pins.add(ImageReference(repository, tag))

    async def unpin(self, which: int) -> None:
        pins = self.yard.keeping.pins.all()
        if pins:
            await self.yard.keeping.pins.remove(pins[which % len(pins)])

    async def evict(self, share: float) -> None:
        pinned = self.pinned()
        bound = max(1, int((await self.yard.evictor.survey()).used * share))
        self.yard.bound(bound)
        found = await self.yard.settle()
        self.yard.bound(0)
        assert found.used <= bound
        walked = Walked.folder(self.folder)
        for repository, tag, digest in pinned:
            assert walked.tags[repository][tag] == digest, "a pinned tag stays"

    async def restart(self) -> None:
        used = (await self.yard.evictor.survey()).used
        await self.stack.aclose()
        await self.begin()
        assert (await self.yard.evictor.survey()).used == used

    async def crash(self) -> None:
        """What was not on disk at this moment never will be."""
        self.runs += 1
        folder = self.folder.parent / f"run-{self.runs}"
        shutil.copytree(self.folder, folder)
        await self.stack.aclose()
        shutil.rmtree(self.folder)
        self.folder = folder
        await self.begin()

    # What must be true

    def pinned(self) -> list[tuple[str, str, str]]:
        walked = Walked.folder(self.folder)
        return [
            (repository, tag, digest)
            for repository, tags in walked.tags.items()
            for tag, digest in tags.items()
            if {None, tag} & self.yard.keeping.pins.of(RepositoryName.parse(repository))
            and digest in walked.manifests.get(repository, {})
        ]

    async def check(self) -> None:
        walked = Walked.folder(self.folder)
        for (repository, digest), arrived in list(self.ours.items()):
            if not arrived or (repository, digest) in {(name, each) for (name, _), each in self.queue.jobs.items()}:
                assert walked.is_whole(repository, digest), f"{repository}@{digest} is ours and not whole"
            elif digest not in walked.manifests.get(repository, {}):
                del self.ours[repository, digest]  # it may go, and it went
        for (repository, tag), (digest, arrived) in list(self.tags.items()):
            there = walked.tags.get(repository, {}).get(tag)
            if not arrived:
                assert there == digest, f"{repository}:{tag} is ours, and names {there}"
            elif there != digest:
                del self.tags[repository, tag]
        for name, tags in walked.tags.items():
            for text, named in tags.items():
                assert named in walked.manifests[name], f"{name}:{text} leads nowhere"
        await until_async(lambda: self.indexed() == Walked.folder(self.folder).blobs)  # a fill ends after its last byte
        walked = Walked.folder(self.folder)
        index = self.yard.store.contents
        assert {name: dict(each.tags) for name, each in index.repositories.items() if each.tags} == walked.tags
        assert {name: set(each.manifests) for name, each in index.repositories.items() if each.manifests} == {
            name: set(manifests) for name, manifests in walked.manifests.items()
        }
        assert (await self.yard.evictor.survey()).used == walked.can_be_had_again(self.may_go)
        assert await self.yard.store.used_bytes() == sum(size for size, _ in walked.blobs.values()) + sum(
            size for manifests in walked.manifests.values() for _, size in manifests.values()
        )

    def indexed(self) -> dict[str, tuple[int, bool]]:
        index = self.yard.store.contents
        return {str(unpacked(name)): (size, name in index.filled) for name, size in index.blobs.items()}

    def may_go(self, repository: str, image: Collection[str]) -> bool:
        name = RepositoryName.parse(repository)
        tags = {tag for tag, digest in Walked.folder(self.folder).tags.get(repository, {}).items() if digest in image}
        pins = self.yard.keeping.pins.of(name)
        if None in pins or pins & (tags | set(image)):
            return False
        if any(self.yard.pulls.followed(name, Tag.parse(tag)) not in image for tag in tags):
            return False
        return not any(self.stays(self.yard, name, Digest.parse(digest)) for digest in image)

    def stays(self, yard: BoundedYard, repository: RepositoryName, digest: Digest) -> bool:
        if digest in yard.queue.queued().get(repository, ()):
            return True
        entry = yard.keeping.ledger.get(repository, digest)
        if entry is None or (entry.pushed and repository == MINE):
            return True
        if entry.pushed:
            return repository != CORP or "corp" not in {each.upstream for each in entry.at}
        return not (repository == HUB and entry.source == "hub") and not (repository == CORP and entry.source == "corp")


@settings(max_examples=25, deadline=None)
@given(st.lists(OPERATIONS, min_size=15, max_size=30))
def test_what_must_stay_stays_and_what_can_be_had_again_is_counted_to_the_byte(
    operations: list[tuple[object, ...]],
) -> None:
    with (
        tempfile.TemporaryDirectory(prefix="yd-model-", dir="/dev/shm") as folder,
        pytest.MonkeyPatch.context() as patch,
    ):
        nobody_waits(patch)
        asyncio.run(Model(Path(folder) / "data").run(operations))
