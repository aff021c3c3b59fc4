"""A store and its sync worker before a real docker-registry, with the fault proxy between them and a clock in the test's hand."""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from tests.peers.fault_proxy import FaultProxy, Injection, Passed
from tests.peers.steps import Step
from tests.support.clocks import HandClock
from tests.support.images import OCI_CONFIG, OCI_LAYER, Content, Graph, Image, Index, index_of, manifest_of
from tests.support.upstreams import GivenCredentials, credential, settings_for
from tests.support.waiting import until_async
from yarddesk.content.credentials import AwsAccount
from yarddesk.content.listener import ManifestPush
from yarddesk.events import EventBus
from yarddesk.oci.descriptor import Descriptor
from yarddesk.oci.digest import Digest
from yarddesk.oci.manifest import parse_manifest
from yarddesk.oci.name import RepositoryName, Tag
from yarddesk.settings.model import Settings, SyncSettings
from yarddesk.storage.filesystem import FilesystemStore
from yarddesk.sync.service import SyncService
from yarddesk.sync.snapshot import HistoryEntry, UpstreamPart
from yarddesk.sync.states import JobState
from yarddesk.upstream.client import RegistryClient
from yarddesk.upstream.http import Timeouts
from yarddesk.upstream.profiles import Profile
from yarddesk.upstream.proxies import Proxies
from yarddesk.upstream.routes import UpstreamRoutes

USER = "ci"
PASSWORD = "c4nary of the faults"
LARGE_BYTES = 4 * 1024 * 1024 + 100_000
"""Enough to go as a streamed PATCH."""

_SHARED = random.Random("a layer").randbytes(LARGE_BYTES)


def build_case(seed: str, *, config: str = "") -> Index:
    """Two platforms under an index: one with a large layer, one with a small one; config: other configurations over the
    same layers."""
    return index_of([_image(seed, _SHARED, "linux/amd64", config), _image(seed, b"small", "linux/arm64", config)])


def build_small(seed: str, *, config: str = "") -> Image:
    """One platform with a small layer."""
    return _image(seed, b"small", "linux/amd64", config)


def _image(seed: str, filling: bytes, platform: str, config: str) -> Image:
    layer = Content(OCI_LAYER, f"{seed} {platform} ".encode() + filling)
    system, architecture = platform.split("/")
    document = {"os": system, "architecture": architecture, "seed": seed + config}
    described = Content(OCI_CONFIG, json.dumps(document).encode())
    return Image(manifest_of(described, [layer], annotations={"note": "a note"}), described, (layer,), platform)


def descriptor_of(content: Content, *, manifest: bool = False) -> Descriptor:
    return Descriptor(content.media_type, Digest.parse(content.digest), len(content.content), manifest=manifest)


class Shelf(Protocol):
    """A registry, and what lies on its disk."""

    def start(self) -> None: ...

    def stop(self) -> object: ...

    def kept(self, digest: str) -> bytes | None: ...

    def has_linked(self, repository: str, digest: str) -> bool: ...

    def tagged(self, repository: str, tag: str) -> str: ...

    def uploads_left(self, repository: str) -> list[str]: ...


@dataclass
class Door:
    """A registry, and the fault proxy before it."""

    registry: Shelf
    proxy: FaultProxy

    def passed(self, repository: str, *steps: Step) -> list[Passed]:
        """What came through for a repository."""
        return [
            each
            for each in self.proxy.passed
            if f"/v2/{repository}/" in each.path and (not steps or each.step in steps)
        ]

    @contextmanager
    def cleared(self) -> Iterator[None]:
        """For one test: nothing was seen before it; after it the proxy heals, and every connection that hangs in it ends."""
        self.proxy.passed.clear()
        self.proxy.strays.clear()
        try:
            yield
        finally:
            self.proxy.heal()
            self.proxy.go_away()
            self.proxy.come_back()

    def holds(self, repository: str, tag: str, image: Graph) -> bool:
        """Whether tag, manifests and blobs lie on the registry's disk, in this repository, byte for byte."""
        manifests = all(self.registry.kept(each.digest) == each.content for each in image.manifests)
        blobs = all(self.registry.kept(blob.digest) == blob.content for blob in image.blobs)
        linked = all(self.registry.has_linked(repository, blob.digest) for blob in image.blobs)
        return manifests and blobs and linked and self.registry.tagged(repository, tag) == image.manifest.digest


@dataclass
class FaultyYard:
    store: FilesystemStore
    sync: SyncService
    clock: HandClock
    credentials: GivenCredentials
    reasons: list[str] = field(default_factory=list)

    async def push(self, image: Graph, repository: str, tag: str = "v1", *, only: Sequence[Content] = ()) -> None:
        """As a client's push: durable, and in the queue. Nothing of it goes on before all is here, unless `only` some of its
        manifests are pushed. An empty tag: by its digest alone."""
        name = RepositoryName.parse(repository)
        if not only:
            await self.sync.pause()
        for blob in image.blobs:
            upload = await self.store.start_upload(name)
            await upload.write(blob.content)
            await upload.commit(Digest.parse(blob.digest))
        for content in only or image.manifests:
            manifest = parse_manifest(content.content, content.media_type)
            await self.store.put_manifest(name, manifest)
            tags = (Tag.parse(tag),) if tag and content is image.manifest else ()
            pushed = ManifestPush(name, manifest, tags)
            await self.sync.manifest_pushed(pushed)
            for each in tags:
                await self.store.put_tag(name, each, manifest.digest)
            await self.sync.push_done(pushed)
        if not only:
            await self.sync.resume()

    async def settled(self, tag: str = "v1") -> UpstreamPart | None:
        """The tag's part once it waits or is blocked; None once it's done."""

        def look() -> tuple[UpstreamPart | None] | None:
            parts = [part for job in self.sync.snapshot().jobs if job.reference == tag for part in job.parts]
            if not parts:
                return (None,)
            return (parts[0],) if parts[0].state in (JobState.WAITING, JobState.BLOCKED) else None

        [part] = await until_async(look, 30, "the image is there, waits or is blocked") or [None]
        return part

    async def settled_by(self, injection: Injection, tag: str = "v1") -> UpstreamPart | None:
        """As `settled`, once the fault was met: with short limits a slow machine may miss one of them before."""
        for _ in range(4):
            part = await self.settled(tag)
            if injection.hits or part is None or part.next_attempt is None:
                break
            await self._tried_again(part.next_attempt)
        assert injection.hits, f"the step was not taken: {part}"
        return part

    async def retry(self) -> None:
        """As a person does it; back when the next try has begun."""
        await self.sync.retry()
        await until_async(partial(self._is_past, self.sync.snapshot().revision), 30, "the next try begins")

    async def arrived(self, *, tries: int = 6) -> None:
        """Let the time of each back-off go by until the queue is empty."""
        for _ in range(tries):
            await until_async(self._rests, 30, "nothing goes on")
            if not self.sync.snapshot().jobs:
                return
            snapshot = self.sync.snapshot()
            waiting = [part for job in snapshot.jobs for part in job.parts if part.next_attempt is not None]
            assert waiting, f"nobody tries it again: {snapshot.jobs}"
            self.reasons += [part.reason for part in waiting]
            moment = min(part.next_attempt for part in waiting if part.next_attempt is not None)
            await self._tried_again(moment)
        raise AssertionError(f"it never arrived: {self.reasons}")

    async def _tried_again(self, moment: datetime) -> None:
        revision = self.sync.snapshot().revision
        self.clock.advance((moment - self.clock.now()).total_seconds() + 0.01)
        await until_async(partial(self._is_past, revision), 30, "the next try begins")

    def _is_past(self, revision: int) -> bool:
        return self.sync.snapshot().revision != revision

    def _rests(self) -> bool:
        states = [part.state for job in self.sync.snapshot().jobs for part in job.parts]
        return all(state in (JobState.WAITING, JobState.BLOCKED) for state in states)

    def outcomes(self, tag: str = "v1") -> list[HistoryEntry]:
        return [entry for entry in self.sync.history() if entry.reference == tag]

    async def holds(self, image: Graph, repository: str, tag: str = "v1") -> bool:
        """Whether our own copy is whole."""
        here = self.store.repository(RepositoryName.parse(repository))
        found = await here.resolve(Tag.parse(tag))
        blobs = [await here.exists(descriptor_of(blob)) for blob in image.blobs]
        manifests = [await here.exists(descriptor_of(each, manifest=True)) for each in image.manifests]
        return found.digest == image.manifest.digest and all(blobs) and all(manifests)


@asynccontextmanager
async def faulty_yard(
    folder: Path,
    host: str,
    timeouts: Timeouts | None = None,
    sync: SyncSettings | None = None,
    *,
    profile: Profile | None = None,
    aws: AwsAccount | None = None,
    **upstream: Any,
) -> AsyncIterator[FaultyYard]:
    """timeouts: short ones where a stall is to be noticed. profile: what the upstream is taken for."""
    upstreams = (settings_for(host, **upstream),)
    credentials = GivenCredentials({host: credential(USER, PASSWORD)})

    def client(settings: Any, store: Any) -> RegistryClient:
        made = RegistryClient(settings, store, timeouts=timeouts, proxies=Proxies({}))
        made.profile = profile or made.profile
        return made

    settings = Settings(data_dir=folder, upstreams=upstreams, sync=sync or SyncSettings())
    clock = HandClock()
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(FilesystemStore.open(folder))
        routes = UpstreamRoutes(upstreams, credentials, make_client=client, aws=aws)
        stack.push_async_callback(routes.aclose)
        service = SyncService(
            data_dir=folder, store=store, routes=routes, settings=settings, events=EventBus(), clock=clock
        )
        await stack.enter_async_context(service)
        yield FaultyYard(store, service, clock, credentials)
