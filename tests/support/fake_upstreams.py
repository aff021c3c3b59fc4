"""Upstreams in memory that do what a test tells them: be away, refuse, lie, hold a blob back. They count what they are asked."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

from yarddesk.content.target import ContentSource, DigestMismatch, NotFound, Turn
from yarddesk.content.upstream import Quota, UpstreamAway, UpstreamBroken, UpstreamUntrue
from yarddesk.oci.descriptor import Descriptor
from yarddesk.oci.digest import Digest
from yarddesk.oci.manifest import Manifest, parse_manifest
from yarddesk.oci.name import Reference, RepositoryName, Tag
from yarddesk.storage.memory import MemoryStore


@dataclass
class FakeUpstream:
    """One registry. `fault` is asked before everything it does (what, digest or tag) and may give what is to be raised."""

    name: str = "corp"
    registry: str = "registry.corp"
    push: bool = True
    pull: bool = True
    mounts: bool = True
    away: bool = False
    fault: Callable[[str, str], Exception | None] | None = None
    lost: Callable[[str, str], Exception | None] | None = None
    """As `fault`, asked when something is done already, and only its answer can be lost still."""
    pace: Callable[[], float] | None = None
    """How many seconds the next question, or its answer, is on its way."""
    taken: Counter[tuple[RepositoryName, Digest]] = field(default_factory=Counter)
    """How often each blob was sent here, whole."""
    held: asyncio.Event | None = None
    """While it's set to an event that isn't set, blobs stop after their first piece."""
    stops: dict[str, asyncio.Event] = field(default_factory=dict)
    """By what it's asked (`tag`, `push_manifest`): it answers only once the event is set. `list`: a manifest is there, and then
    it's listed among its subject's referrers."""
    unlisted: set[Digest] = field(default_factory=set)
    """Manifests that are there and are not (yet) listed among their subject's referrers."""
    store: MemoryStore = field(default_factory=MemoryStore)
    asked: Counter[str] = field(default_factory=Counter)
    log: list[tuple[str, str, str]] = field(default_factory=list)
    blobs: dict[RepositoryName, set[Digest]] = field(default_factory=dict)
    claimed: set[Digest] = field(default_factory=set)
    """Blobs that it says it has though it hasn't."""
    piece_bytes: int = 64 * 1024
    hold_after: int = 1
    """A blob that is fetched is held before the piece that begins at or behind this byte."""
    takes_pieces: bool = False
    """Whether others get their turn between two pieces of a blob."""
    cut_after: int | None = None
    corrupt: bool = False
    exaggerates: int = 0
    """How many bytes more its answer to a HEAD says that a manifest has."""
    served: int = 0
    sending: int = 0
    most_at_once: int = 0
    cut_off: int = 0
    probed: int = 0
    """How often it was asked whether it's there at all."""
    reachable: bool | None = None
    """What it answers then; None: the truth."""
    quota: Quota | None = None
    pinged: int = 0
    """How often it was asked for its `/v2/`."""
    forgotten: int = 0
    """How often it was told to forget its connections."""
    abandoned: list[str] = field(default_factory=list)
    """The blobs that nobody goes on with."""

    def release(self) -> None:
        """What was held goes on."""
        assert self.held is not None
        self.held.set()

    def repository(self, name: RepositoryName) -> FakeRepository:
        return FakeRepository(self, name)

    def place_of(self, name: RepositoryName) -> str:
        return f"{self.registry}/{name}"

    async def is_reachable(self) -> bool:
        await asyncio.sleep(0)
        self.probed += 1
        return not self.away if self.reachable is None else self.reachable

    async def ping(self) -> None:
        await asyncio.sleep(0)
        self.pinged += 1
        if self.away:
            raise UpstreamAway(self.name, f"{self.registry} could not be reached.", temporary=True)
        error = self.fault("ping", "") if self.fault else None
        if error is not None:
            raise error

    def forget_connections(self) -> None:
        self.forgotten += 1

    def abandon(self, name: RepositoryName, digest: Digest) -> None:
        self.abandoned.append(digest)

    async def come(self, what: str, repository: str, of: str) -> None:
        """A question on its way, and then asked."""
        await asyncio.sleep(self.pace() if self.pace else 0)
        self.ask(what, repository, of)

    async def did(self, what: str, of: str) -> None:
        """It's done, and the answer on its way back."""
        if self.pace:
            await asyncio.sleep(self.pace())
        error = self.lost(what, of) if self.lost else None
        if error is not None:
            raise error

    def ask(self, what: str, repository: str, of: str) -> None:
        self.asked[what] += 1
        self.log.append((what, repository, of))
        if self.away:
            raise UpstreamAway(self.name, f"{self.registry} could not be reached.", temporary=True)
        error = self.fault(what, of) if self.fault else None
        if error is not None:
            raise error

    async def stop_at(self, what: str) -> None:
        if what in self.stops:
            await self.stops[what].wait()

    async def tag_of(self, repository: str, tag: str) -> Digest | None:
        try:
            return (await self.store.resolve(RepositoryName.parse(repository), Tag.parse(tag))).digest
        except NotFound:
            return None


@dataclass
class AskedAtOnce(FakeUpstream):
    """Counts how many blobs it's asked for at once; an answer takes `answer_seconds`."""

    answer_seconds: float = 0
    asking: int = 0
    most_asking: int = 0

    async def stop_at(self, what: str) -> None:
        if what == "exists":
            self.asking += 1
            self.most_asking = max(self.most_asking, self.asking)
            await asyncio.sleep(self.answer_seconds)
            self.asking -= 1


class FakeRepository:
    """content.target.MountingTarget and content.upstream.UpstreamRepository."""

    def __init__(self, upstream: FakeUpstream, name: RepositoryName) -> None:
        self._upstream = upstream
        self._name = name
        self._target = upstream.store.repository(name)

    @property
    def _blobs(self) -> set[Digest]:
        return self._upstream.blobs.setdefault(self._name, set())

    async def resolve(self, reference: Reference) -> Descriptor:
        await self._upstream.come("resolve", self._name, reference)
        found = await self._target.resolve(reference)
        return replace(found, size=found.size + self._upstream.exaggerates)

    async def exists(self, descriptor: Descriptor) -> bool:
        await self._upstream.come("exists", self._name, descriptor.digest)
        if descriptor.is_manifest:
            return await self._target.exists(descriptor)
        await self._upstream.stop_at("exists")
        return descriptor.digest in self._blobs | self._upstream.claimed

    async def is_readable(self, descriptor: Descriptor) -> bool:
        await self._upstream.come("is_readable", self._name, descriptor.digest)
        return descriptor.digest in self._blobs

    async def fetch_manifest(self, reference: Reference) -> Manifest:
        await self._upstream.come("fetch_manifest", self._name, reference)
        await self._upstream.stop_at("fetch_manifest")
        return await self._target.fetch_manifest(reference)

    @asynccontextmanager
    async def fetch(self, descriptor: Descriptor, *, offset: int = 0) -> AsyncIterator[AsyncIterator[bytes]]:
        await self._upstream.come("fetch", self._name, descriptor.digest)
        await self._upstream.stop_at("fetch")
        if await self._upstream.store.blob_size(descriptor.digest) is None:
            raise NotFound(f"no {descriptor.digest}")
        async with self._target.fetch(descriptor, offset=offset) as content:
            whole = b"".join([piece async for piece in content])
        pieces = self._pieces(whole)
        try:
            yield pieces
        finally:
            await pieces.aclose()

    async def _pieces(self, content: bytes) -> AsyncGenerator[bytes, None]:
        upstream = self._upstream
        size = upstream.piece_bytes
        for start in range(0, len(content), size):
            if start >= upstream.hold_after and upstream.held is not None:
                await upstream.held.wait()
            if upstream.cut_after is not None and start >= upstream.cut_after:
                raise UpstreamBroken(upstream.name, f"The connection to {upstream.registry} broke.", temporary=True)
            piece = content[start : start + size]
            upstream.served += len(piece)
            yield bytes(len(piece)) if upstream.corrupt else piece
            await asyncio.sleep(0)

    async def blob_size(self, digest: Digest) -> int:
        await self._upstream.come("blob_size", self._name, digest)
        await self._upstream.stop_at("blob_size")
        size = await self._upstream.store.blob_size(digest)
        if size is None:
            raise NotFound(f"no {digest}")
        return size

    async def push(self, descriptor: Descriptor, source: ContentSource, *, turn: Turn | None = None) -> None:
        upstream = self._upstream
        what = "push_manifest" if descriptor.is_manifest else "push"
        await upstream.come(what, self._name, descriptor.digest)
        if descriptor.is_manifest:
            await upstream.stop_at(what)
            await self._push_manifest(descriptor, await self._read(descriptor, source))
            await upstream.did(what, descriptor.digest)
            return
        upstream.sending += 1
        upstream.most_at_once = max(upstream.most_at_once, upstream.sending)
        try:
            content = await self._read(descriptor, source, turn)
        except asyncio.CancelledError:
            upstream.cut_off += 1
            raise
        finally:
            upstream.sending -= 1
        upload = await upstream.store.start_upload(self._name)
        await upload.write(content)
        await upload.commit(descriptor.digest)
        self._blobs.add(descriptor.digest)
        upstream.taken[self._name, descriptor.digest] += 1
        await upstream.did(what, descriptor.digest)

    async def _read(self, descriptor: Descriptor, source: ContentSource, turn: Turn | None = None) -> bytes:
        content = b""
        async with source(0) as pieces:
            async for piece in pieces:
                content += piece
                await asyncio.sleep(0)
                if turn is not None and self._upstream.takes_pieces and len(content) < descriptor.size:
                    await turn()
                if self._upstream.held is not None and not descriptor.is_manifest:
                    await self._upstream.held.wait()
        if not descriptor.digest.matches(content):
            raise DigestMismatch(f"not {descriptor.digest}")
        return content

    async def _push_manifest(self, descriptor: Descriptor, content: bytes) -> None:
        manifest = parse_manifest(content, descriptor.media_type)
        for blob in manifest.required_blobs:
            if blob.digest not in self._blobs | self._upstream.claimed:
                raise UpstreamUntrue(
                    self._upstream.name, f"{blob.digest} is unknown", temporary=True, codes=("MANIFEST_BLOB_UNKNOWN",)
                )
        for child in manifest.manifests:
            if not await self._target.exists(child):
                raise UpstreamUntrue(
                    self._upstream.name, f"{child.digest} is unknown", temporary=True, codes=("MANIFEST_BLOB_UNKNOWN",)
                )
        if self._upstream.fault and self._upstream.fault("forget_manifest", descriptor.digest):
            return
        await self._upstream.store.put_manifest(self._name, manifest)
        if manifest.subject is not None:
            self._upstream.unlisted.add(manifest.digest)
            self._upstream.ask("list", self._name, manifest.digest)
            await self._upstream.stop_at("list")
            self._upstream.unlisted.discard(manifest.digest)

    async def tag(self, descriptor: Descriptor, tag: Tag) -> None:
        await self._upstream.come("tag", self._name, tag)
        await self._upstream.stop_at("tag")
        if self._upstream.fault and self._upstream.fault("forget_manifest", descriptor.digest):
            return
        await self._upstream.store.put_tag(self._name, tag, descriptor.digest)
        await self._upstream.did("tag", tag)

    async def mount(self, descriptor: Descriptor, source: RepositoryName) -> bool:
        await self._upstream.come("mount", self._name, descriptor.digest)
        await self._upstream.stop_at("mount")
        if not self._upstream.mounts or descriptor.digest not in self._upstream.blobs.get(source, ()):
            return False
        self._blobs.add(descriptor.digest)
        await self._upstream.did("mount", descriptor.digest)
        return True

    async def referrers(self, digest: Digest, artifact_type: str = "") -> Sequence[Descriptor]:
        await self._upstream.come("referrers", self._name, digest)
        found = await self._target.referrers(digest, artifact_type)
        return [descriptor for descriptor in found if descriptor.digest not in self._upstream.unlisted]

    async def tags(self, *, last: str = "", limit: int | None = None) -> Sequence[Tag]:
        await self._upstream.come("tags", self._name, "")
        await self._upstream.stop_at("tags")
        return await self._upstream.store.tags(self._name, last=last, limit=limit)


@dataclass
class FakeRoutes:
    """Every upstream is of every route, but for those that `only` gives other prefixes."""

    upstreams: list[FakeUpstream]
    only: dict[str, str] = field(default_factory=dict)

    def _of(self, repository: RepositoryName) -> list[FakeUpstream]:
        return [each for each in self.upstreams if repository.startswith(self.only.get(each.name, ""))]

    def push_upstreams(self, repository: RepositoryName) -> Sequence[FakeUpstream]:
        return [each for each in self._of(repository) if each.push]

    def pull_upstreams(self, repository: RepositoryName) -> Sequence[FakeUpstream]:
        return [each for each in self._of(repository) if each.pull]

    def upstream(self, name: str) -> FakeUpstream | None:
        return next((each for each in self.upstreams if each.name == name), None)

    def all(self) -> Sequence[FakeUpstream]:
        return self.upstreams

    def canonical(self, repository: RepositoryName) -> RepositoryName:
        return repository
