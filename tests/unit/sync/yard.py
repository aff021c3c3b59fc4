"""A sync service over a store and upstreams in memory, with a clock that tests turn, and what a client's push does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

from tests.support.clocks import HandClock
from tests.support.fake_upstreams import FakeRoutes, FakeUpstream
from tests.support.images import Graph
from tests.support.waiting import until_async
from yarddesk.content.listener import ArrivalListener, ManifestPush
from yarddesk.events import Event, EventBus
from yarddesk.oci.manifest import Manifest, parse_manifest
from yarddesk.oci.name import RepositoryName, Tag
from yarddesk.settings.model import Settings, SyncSettings
from yarddesk.storage.memory import MemoryStore
from yarddesk.sync.service import SyncService
from yarddesk.sync.snapshot import JobSnapshot, UpstreamPart

REPOSITORY = RepositoryName.parse("team/app")


@dataclass
class Yard:
    """`restart` starts another service over the same folder and store, as after a crash."""

    folder: Path
    upstreams: list[FakeUpstream] = field(default_factory=lambda: [FakeUpstream()])
    sync: SyncSettings = field(default_factory=lambda: SyncSettings(interval=timedelta(seconds=3600)))
    store: MemoryStore = field(default_factory=MemoryStore)
    clock: HandClock = field(default_factory=HandClock)
    arrivals: ArrivalListener | None = None
    routes: FakeRoutes = field(init=False)

    def __post_init__(self) -> None:
        self.routes = FakeRoutes(self.upstreams)
        self.seen: list[Event] = []
        self._make()

    def _make(self) -> None:
        self.events = EventBus()
        self.events.subscribe(self.seen.append)
        self.service = SyncService(
            data_dir=self.folder,
            store=self.store,
            routes=self.routes,
            settings=Settings(data_dir=self.folder, sync=self.sync),
            events=self.events,
            arrivals=self.arrivals,
            clock=self.clock,
            random=Random(7),
        )

    @property
    def upstream(self) -> FakeUpstream:
        return self.upstreams[0]

    async def restart(self) -> None:
        await self.service.stop()
        self._make()
        await self.service.start()

    async def put_blobs(self, image: Graph, repository: RepositoryName = REPOSITORY) -> None:
        for blob in image.blobs:
            upload = await self.store.start_upload(repository)
            await upload.write(blob.content)
            await upload.commit(parse_digest(blob.digest))

    async def push_manifest(
        self, content: Any, *tags: str, repository: RepositoryName = REPOSITORY, move_tag: bool = True
    ) -> Manifest:
        """A manifest's PUT: stored, queued, then the tags move."""
        manifest = parse_manifest(content.content, content.media_type)
        parsed = tuple(Tag.parse(tag) for tag in tags)
        await self.store.put_manifest(repository, manifest)
        push = ManifestPush(repository, manifest, parsed)
        await self.service.manifest_pushed(push)
        if move_tag:
            for tag in parsed:
                await self.store.put_tag(repository, tag, manifest.digest)
            await self.service.push_done(push)
        return manifest

    async def push(self, image: Graph, *tags: str, repository: RepositoryName = REPOSITORY) -> Manifest:
        """As clients push: blobs, children by digest, and the top by its tags."""
        await self.put_blobs(image, repository)
        for manifest in image.manifests[:-1]:
            await self.push_manifest(manifest, repository=repository)
        return await self.push_manifest(image.manifest, *(tags or ("v1",)), repository=repository)

    def job(self, name: str = "team/app:v1") -> JobSnapshot | None:
        return next((job for job in self.service.snapshot().jobs if job.id == name), None)

    def part(self, name: str = "team/app:v1", upstream: str = "corp") -> UpstreamPart:
        job = self.job(name)
        assert job is not None, f"{name} is not queued: {[each.id for each in self.service.snapshot().jobs]}"
        return next(part for part in job.parts if part.upstream == upstream)

    async def until(self, condition: Callable[[], object], what: str = "") -> Any:
        return await until_async(condition, 5.0, what)

    async def until_empty(self) -> None:
        await self.until(lambda: not self.service.snapshot().jobs, "the queue is empty")

    async def until_state(self, state: str, name: str = "team/app:v1", upstream: str = "corp") -> UpstreamPart:
        await self.until(lambda: self.job(name) and self.part(name, upstream).state == state, f"{name} is {state}")
        return self.part(name, upstream)

    def marker(self, name: str = "v1", repository: str = "team/app") -> Path:
        return self.folder / "pending" / repository / f"{name}.json"


def parse_digest(text: str) -> Any:
    from yarddesk.oci.digest import Digest

    return Digest.parse(text)


@asynccontextmanager
async def running(folder: Path, **options: Any) -> Any:
    yard = Yard(folder, **options)
    await yard.service.start()
    try:
        yield yard
    finally:
        await yard.service.stop()


async def settle(turns: int = 50) -> None:
    """Let everything that can go on without time passing go on."""
    for _ in range(turns):
        await asyncio.sleep(0)
