"""A yard without a server: a store on disk, what pulls and pushes do to it, and eviction, with upstreams in memory."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.content import image, push_blob
from tests.support.fake_upstreams import FakeRoutes, FakeUpstream
from yarddesk.cache.eviction import Evictor, Known
from yarddesk.cache.ledger import At
from yarddesk.cache.pull_through import CachedPulls
from yarddesk.cache.standing import Survey
from yarddesk.content.clock import SystemClock
from yarddesk.content.listener import Arrival, ManifestPush
from yarddesk.content.target import NotFound
from yarddesk.events import EventBus, ImageSynced, JobRemoved
from yarddesk.oci.digest import Digest
from yarddesk.oci.manifest import Manifest
from yarddesk.oci.name import Reference, RepositoryName, Tag
from yarddesk.registry.intake import ManifestIntake
from yarddesk.registry.locks import Gate
from yarddesk.service.keeping import Keeping, NotedArrivals
from yarddesk.service.pushes import AnnouncedPushes
from yarddesk.settings.model import CacheSettings, Settings
from yarddesk.storage import images, promises
from yarddesk.storage.filesystem import FilesystemStore

REPOSITORY = RepositoryName.parse("team/app")
OTHER = RepositoryName.parse("team/other")
PUSHED = RepositoryName.parse("corp/app")
ALONE = RepositoryName.parse("mine/app")
V1, V2, V3 = (Tag.parse(text) for text in ("v1", "v2", "v3"))


class HandQueue:
    """In place of the sync worker: images stay queued until the test says what becomes of them. Outlives a restart."""

    def __init__(self, routes: FakeRoutes) -> None:
        self.routes = routes
        self.jobs: dict[tuple[RepositoryName, Reference], Digest] = {}

    async def manifest_pushed(self, push: ManifestPush) -> None:
        if self.routes.push_upstreams(push.repository):
            for reference in push.tags or (push.manifest.digest,):
                self.jobs[push.repository, reference] = push.manifest.digest

    async def push_done(self, push: ManifestPush) -> None:
        """Nothing more."""

    async def push_failed(self, push: ManifestPush) -> None:
        """Nothing more."""

    async def tag_deleted(self, repository: RepositoryName, tag: Tag) -> None:
        self.jobs.pop((repository, tag), None)

    async def manifest_deleted(self, repository: RepositoryName, digest: Digest, tags: tuple[Tag, ...]) -> None:
        raise AssertionError("eviction deletes nothing from the queue")

    def is_queued(self, repository: RepositoryName, reference: Reference) -> bool:
        return (repository, reference) in self.jobs

    def queued(self) -> dict[RepositoryName, frozenset[Digest]]:
        found: dict[RepositoryName, set[Digest]] = {}
        for (repository, _), digest in self.jobs.items():
            found.setdefault(repository, set()).add(digest)
        return {repository: frozenset(digests) for repository, digests in found.items()}

    def queued_in(self, repository: RepositoryName) -> frozenset[Digest]:
        return self.queued().get(repository, frozenset())


class NobodyElse:
    async def image_arrived(self, arrival: Arrival) -> None:
        """Nothing more."""


class BoundedYard:
    """One run on a data folder."""

    def __init__(
        self, store: FilesystemStore, keeping: Keeping, queue: HandQueue, routes: FakeRoutes, settings: Settings
    ) -> None:
        self.store = store
        self.keeping = keeping
        self.queue = queue
        self.routes = routes
        self.events = EventBus()
        self.gate = Gate()
        self.arrivals = NotedArrivals(keeping.ledger, store, NobodyElse())
        self.intake = ManifestIntake(
            store, AnnouncedPushes(queue, self.events, keeping.ledger, store.images), self.gate
        )
        self.pulls = CachedPulls(
            store=store,
            routes=routes,
            settings=settings,
            events=self.events,
            is_queued=lambda name, each: queue.is_queued(name, each) or self.intake.is_changing(name, each),
            used=keeping.uses.used,
            ledger=keeping.ledger,
            room=keeping.room,
        )
        self.evictor = Evictor(
            store,
            Known(keeping.ledger, keeping.pins, keeping.uses, queue.queued, queue.queued_in, self.pulls.followed),
            routes=routes,
            settings=settings.cache,
            closed=self.gate.closed,
            events=self.events,
            clock=SystemClock(),
            used_changed=lambda: None,
        )
        keeping.room.lacking = self.evictor.make_room

    async def push(self, repository: RepositoryName, manifest: Manifest, blobs: Iterable[bytes], *tags: Tag) -> None:
        """As a client does that looks first what is here."""
        for content in blobs:
            if await self.store.promise_blob(Digest.of(content)) is None:
                await push_blob(self.store, content, repository)
        await self.intake.take(repository, manifest, tags)

    async def pull(self, repository: RepositoryName, reference: Reference, *, only: Sequence[Digest] = ()) -> None:
        """An image or an index with all of it, or `only` some of its children. Raises NotFound, UpstreamFailure."""
        manifest = await self.manifest(repository, reference)
        for blob in manifest.blobs:
            async with self.pulls.open_blob(repository, blob.digest) as content:
                got = b"".join([piece async for piece in content.read(0, content.size)])
                assert blob.digest.matches(got)
        for child in manifest.manifests:
            if not only or child.digest in only:
                await self.pull(repository, child.digest)

    async def manifest(self, repository: RepositoryName, reference: Reference) -> Manifest:
        """As the registry finds it: in the store, where it's fresh."""
        if isinstance(reference, Digest) or self.pulls.is_fresh(repository, reference):
            try:
                manifest = await self.store.get_manifest(repository, reference)
            except NotFound:
                pass
            else:
                self.pulls.used(repository, manifest.digest)
                return manifest
        fetched = await self.pulls.fetch_manifest(repository, reference)
        if fetched is None:
            raise NotFound(f"no {reference}")
        return fetched.manifest

    async def sync(self, repository: RepositoryName, reference: Reference, upstream: FakeUpstream) -> None:
        """The worker has brought it to an upstream and read it back; its job ends when all have it."""
        digest = self.queue.jobs[repository, reference]
        await self._copy(repository, digest, upstream)
        if isinstance(reference, Tag):
            await upstream.store.put_tag(repository, reference, digest)
        now = SystemClock().now()
        where = (upstream.name, upstream.registry, upstream.place_of(repository))
        await self.arrivals.image_arrived(Arrival(repository, reference, digest, *where, None, 0, now))
        entry = self.keeping.ledger.get(repository, digest)
        if entry is not None and entry.at >= {
            At.of(each, repository) for each in self.routes.push_upstreams(repository)
        }:
            del self.queue.jobs[repository, reference]
        self.events.publish(
            ImageSynced(repository=repository, reference=reference, digest=digest, upstream=upstream.name)
        )

    def cancel(self, repository: RepositoryName, reference: Reference) -> None:
        del self.queue.jobs[repository, reference]
        self.events.publish(JobRemoved(job_id=f"{repository}:{reference}", outcome="cancelled"))

    async def settle(self) -> Survey:
        """Let the evictor do what is to be done now, whatever it does by itself."""
        while True:
            found = await self.evictor.survey()
            await self.evictor.evict(found)
            again = await self.evictor.survey()
            if again == found:
                return again

    def bound(self, size: int, *, offline: bool = False) -> None:
        self.evictor.reload(self.routes, CacheSettings(max_size=size, min_free=0, offline=offline))

    async def _copy(self, repository: RepositoryName, digest: Digest, upstream: FakeUpstream) -> None:
        manifest = await self.store.get_manifest(repository, digest)
        for blob in manifest.blobs:
            async with self.store.read_blob(blob.digest) as pieces:
                content = b"".join([piece async for piece in pieces])
            await push_blob(upstream.store, content, repository)
        for child in manifest.manifests:
            await self._copy(repository, child.digest, upstream)
        await upstream.store.put_manifest(repository, manifest)


@asynccontextmanager
async def bounded_yard(
    folder: Path, queue: HandQueue, routes: FakeRoutes, *, running: bool = False, min_free: int = 0
) -> AsyncIterator[BoundedYard]:
    """`running`: the evictor works by itself, too; else only when it's told to."""
    settings = Settings(data_dir=folder, cache=CacheSettings(max_size=0, min_free=min_free))
    async with FilesystemStore.open(folder) as store, Keeping.open(settings, SystemClock()) as keeping:
        yard = BoundedYard(store, keeping, queue, routes, settings)
        async with yard.pulls:
            await store.stock_taken()
            if running:
                async with yard.evictor:
                    yield yard
            else:
                yield yard


def small_image(name: str, *shared: bytes, size: int = 1000) -> tuple[Manifest, list[bytes]]:
    """An image with a layer of its own of that size, and others that it shares; all its blobs."""
    config = json.dumps({"name": name}).encode()
    seed = hashlib.sha256(name.encode()).digest()
    layer = (seed * (size // len(seed) + 1))[:size]
    return image(layer, *shared, config=config), [config, layer, *shared]


def nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if all that clients sent or asked for had been long ago: nobody is about to name it."""
    monkeypatch.setattr(images, "LATE_SECONDS", -1.0)
    monkeypatch.setattr(promises, "LEAST_SECONDS", -1.0)


class World:
    """The upstreams, the queue and the folder, which outlive a run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.hub = FakeUpstream(name="hub", push=False)
        self.corp = FakeUpstream(name="corp", push=True)
        self.routes = FakeRoutes([self.hub, self.corp], only={"hub": "team/", "corp": "corp/"})
        self.queue = HandQueue(self.routes)

    async def publish(
        self, manifest: Manifest, blobs: list[bytes], *tags: Tag, to: RepositoryName = REPOSITORY
    ) -> None:
        upstream = self.hub if to.startswith("team/") else self.corp
        for content in blobs:
            await push_blob(upstream.store, content, to)
        await upstream.store.put_manifest(to, manifest)
        for tag in tags:
            await upstream.store.put_tag(to, tag, manifest.digest)


async def pulled(yard: BoundedYard, world: World, name: str, tag: Tag, *shared: bytes) -> Manifest:
    manifest, blobs = small_image(name, *shared)
    await world.publish(manifest, blobs, tag)
    await yard.pull(REPOSITORY, tag)
    return manifest


async def here(yard: BoundedYard, manifest: Manifest, repository: RepositoryName = REPOSITORY) -> bool:
    """Whether all of it is; it's all or nothing."""
    there = [await yard.store.blob_size(blob.digest) is not None for blob in manifest.blobs]
    there.append(manifest.digest in await yard.store.digests(repository))
    assert all(there) or not there[-1]
    return there[-1]
