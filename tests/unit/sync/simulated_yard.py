"""A sync service in a simulated process that can die at any step, between a store and upstreams that outlive it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any, TypeVar
from unittest.mock import patch

from tests.support.fake_upstreams import FakeRoutes, FakeUpstream
from tests.support.images import Graph
from tests.support.simulation import Died, SimulatedClock, SimulatedLoop
from yarddesk.content.upstream import (
    UpstreamAway,
    UpstreamBroken,
    UpstreamDenied,
    UpstreamFailure,
    UpstreamFull,
    UpstreamRefused,
    UpstreamTrouble,
    UpstreamUntrusted,
)
from yarddesk.events import EventBus
from yarddesk.oci.digest import Digest
from yarddesk.oci.manifest import Manifest, parse_manifest
from yarddesk.oci.name import RepositoryName, Tag
from yarddesk.registry.intake import ManifestIntake
from yarddesk.registry.locks import Gate
from yarddesk.settings.model import Settings, SyncSettings
from yarddesk.storage.memory import MemoryStore
from yarddesk.sync.service import SyncService

T = TypeVar("T")

FAILURES: dict[str, Callable[[str], UpstreamFailure]] = {
    "away": lambda name: UpstreamAway(name, f"{name} could not be reached.", temporary=True),
    "broken": lambda name: UpstreamBroken(name, f"The connection to {name} broke.", temporary=True),
    "busy": lambda name: UpstreamTrouble(name, f"{name} is busy.", temporary=True, status=429, retry_after_seconds=7.0),
    "down": lambda name: UpstreamTrouble(name, f"{name} can't just now.", temporary=True, status=503),
    "resting": lambda name: UpstreamTrouble(
        name, f"{name} can't just now.", temporary=True, status=503, retry_after_seconds=90.0
    ),
    "signed out": lambda name: UpstreamDenied(name, f"{name} wants you to sign in.", status=401),
    "denied": lambda name: UpstreamDenied(name, f"{name} doesn't let you.", status=403),
    "refused": lambda name: UpstreamRefused(name, f"{name} doesn't take this.", status=400),
    "full": lambda name: UpstreamFull(name, f"{name} has no room.", status=403),
    "untrusted": lambda name: UpstreamUntrusted(name, f"{name} could be anybody."),
}
CHANGES = ("push", "push_manifest", "tag")
"""What an upstream does that changes something there, beside mounts."""


@dataclass
class WatchedUpstream(FakeUpstream):
    """`failing`: how it fails, and at which questions (none: all). `once`: the next such question, or its answer, fails so.

    `named`: what each tag came to name, and when. `watch` is told of each question.
    """

    failing: tuple[str, tuple[str, ...]] | None = None
    once: tuple[str, str, str] | None = None
    named: dict[tuple[str, str], list[tuple[float, Digest]]] = field(default_factory=dict)
    watch: Callable[[WatchedUpstream, str, str, str], None] = lambda *_: None
    seconds: Callable[[], float] = lambda: 0.0

    def __post_init__(self) -> None:
        self.fault = self._fails
        self.lost = self._answer_fails
        self._put_tag, self.store.put_tag = self.store.put_tag, self._moved  # type: ignore[method-assign]

    def ask(self, what: str, repository: str, of: str) -> None:
        self.watch(self, what, repository, of)
        super().ask(what, repository, of)

    async def _moved(self, repository: RepositoryName, tag: Tag, digest: Digest) -> None:
        await self._put_tag(repository, tag, digest)
        self.named.setdefault((repository, tag), []).append((self.seconds(), digest))

    def _fails(self, what: str, of: str) -> Exception | None:
        if self.failing is not None and (not self.failing[1] or what in self.failing[1]):
            return FAILURES[self.failing[0]](self.name)
        return self._fails_once("question", what)

    def _answer_fails(self, what: str, of: str) -> Exception | None:
        return self._fails_once("answer", what)

    def _fails_once(self, where: str, what: str) -> Exception | None:
        if self.once is None or self.once[1:] != (where, what):
            return None
        kind, self.once = self.once[0], None
        return FAILURES[kind](self.name)

    def names(self, repository: str, reference: str) -> str:
        """What a tag names; empty for none."""
        changes = self.named.get((repository, reference), [])
        return str(changes[-1][1]) if changes else ""

    def has_named(self, repository: str, tag: str, digest: str, since: float) -> bool:
        """Whether the tag named that at some time since then."""
        changes = self.named.get((repository, tag), [])
        before = [each for at, each in changes if at <= since][-1:]
        return digest in [*before, *(each for at, each in changes if at > since)]

    async def has_all(self, repository: RepositoryName, manifest: Manifest) -> bool:
        """Whether the manifest is there, with all below it, and listed where it's about another one."""
        held = self.store._manifests.get(repository, {})
        blobs = self.blobs.get(repository, set())
        below = [manifest, *(held.get(child.digest) for child in manifest.manifests)]
        return (
            manifest.digest in held
            and manifest.digest not in self.unlisted
            and all(each is not None and all(blob.digest in blobs for blob in each.required_blobs) for each in below)
        )


class SlowStore(MemoryStore):
    """What changes something takes its time, and the process may die over it."""

    def __init__(self, turn: Callable[[], Coroutine[Any, Any, None]]) -> None:
        super().__init__()
        self._turn = turn

    async def put_manifest(self, repository: RepositoryName, manifest: Manifest) -> None:
        await self._turn()
        await super().put_manifest(repository, manifest)
        await self._turn()

    async def put_tag(self, repository: RepositoryName, tag: Tag, digest: Digest) -> None:
        await self._turn()
        await super().put_tag(repository, tag, digest)
        await self._turn()


class SimulatedYard:
    """One data folder and its store; the process over them is another one after each `crash` and `restart`."""

    def __init__(self, folder: Path, seed: int, upstreams: list[WatchedUpstream], policy: str) -> None:
        self.folder = folder
        self.store = SlowStore(self.turn)
        self.upstreams = {each.name: each for each in upstreams}
        self.there = list(self.upstreams)
        """The upstreams that the settings have."""
        self.policy = policy
        self.random = Random(seed)
        self.crashes = 0
        self._live(1000.0)
        for each in upstreams:
            each.pace = self._pace
            each.seconds = lambda: self.loop.seconds
        self.run(self.service.start())

    def _live(self, seconds: float) -> None:
        self.loop = SimulatedLoop(self.random, seconds)
        self.clock = SimulatedClock(self.loop)
        self.service = SyncService(
            data_dir=self.folder,
            store=self.store,
            routes=self.routes,
            settings=self.settings,
            events=EventBus(),
            clock=self.clock,
            random=self.random,
        )
        self.intake = ManifestIntake(self.store, self.service, Gate())

    @property
    def routes(self) -> FakeRoutes:
        return FakeRoutes([self.upstreams[name] for name in self.there])

    @property
    def settings(self) -> Settings:
        sync = SyncSettings(interval=timedelta(seconds=10), on_conflict=self.policy)
        return Settings(data_dir=self.folder, sync=sync)

    def run(self, work: Coroutine[Any, Any, T], dies_after: int | None = None) -> T:
        """Raises Died."""
        return self.loop.live(work, dies_after=dies_after)

    def rest(self, seconds: float) -> None:
        self.run(asyncio.sleep(seconds))

    def crash(self, again_after: int | None = None) -> None:
        """The process dies, if it hasn't, and the next one begins; so does that, after so many steps, and another one follows."""
        self.crashes += 1
        for dies_after in (again_after, None):
            self.loop.die()
            self._live(self.loop.seconds)
            try:
                self.run(self.service.start(), dies_after)
            except Died:
                continue
            return

    def restart(self) -> None:
        self.run(self.service.stop())
        self.loop.die()
        self._live(self.loop.seconds)
        self.run(self.service.start())

    def close(self) -> None:
        self.run(self.service.stop())
        self.loop.die()

    async def turn(self) -> None:
        """Some time goes by, in which the process may die."""
        await asyncio.sleep(self._pace())

    async def reload(self) -> None:
        await self.service.reload(self.routes, self.settings)

    async def push(self, image: Graph, repository: RepositoryName, tag: Tag | None) -> None:
        """As a client does it: blobs, children by digest, and the top by its tag, or by digest, too."""
        for blob in image.blobs:
            upload = await self.store.start_upload(repository)
            await upload.write(blob.content)
            await upload.commit(Digest.parse(blob.digest))
        for content in image.manifests:
            await self.turn()
            manifest = parse_manifest(content.content, content.media_type)
            await self.intake.take(repository, manifest, (tag,) if tag and content is image.manifest else ())

    async def delete(self, repository: RepositoryName, reference: Tag | Digest) -> None:
        """As the registry does it."""
        async with self.intake.alone(repository, reference):
            if isinstance(reference, Tag):
                await self.store.delete_tag(repository, reference)
                await self.service.tag_deleted(repository, reference)
            else:
                tags = await self.store.delete_manifest(repository, reference)
                await self.service.manifest_deleted(repository, reference, tuple(tags))

    def _pace(self) -> float:
        self.loop.step()
        return self.loop.delay()


def _unwatched(*_: object, **__: object) -> AsyncIterator[set[Any]]:
    raise OSError("no more watches")


@contextmanager
def nobody_watches_folders() -> Any:
    """Where the system can't watch, deleted markers are noticed by the look at the folder every `sync.interval`."""
    with patch("yarddesk.sync.watch.awatch", _unwatched):
        yield
