"""One image from a target to another: what is there is left alone, what another repository there has is mounted, the rest is sent.

Blobs go before the manifests that name them, children before their index, and nothing goes out that doesn't hash to its name.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeVar

from yarddesk.content.target import ContentSource, DigestMismatch, MountingTarget, NotFound, Target
from yarddesk.content.upstream import UpstreamFailure, UpstreamUntrue
from yarddesk.oci.descriptor import Descriptor
from yarddesk.oci.digest import Digest
from yarddesk.oci.name import RepositoryName
from yarddesk.progress import LayerState, ProgressMeter
from yarddesk.sync.errors import ChildrenMissing, LocalContentDamaged, LocalContentMissing
from yarddesk.sync.known import KnownContent
from yarddesk.sync.plan import Graph, Node
from yarddesk.sync.schedule import PartKey
from yarddesk.sync.slots import Bandwidth, TransferSlots
from yarddesk.sync.transfers import Transfer, TransferAbandoned, TransferKey, Transfers

_T = TypeVar("_T")

_AT_ONCE: Final = 8
"""Questions of one image under way to an upstream; bytes are bounded by the transfer slots."""


class CopyHooks(Protocol):
    """Told how far a copy is."""

    def sending(self) -> None:
        """It's known what lacks, and now it goes."""
        ...

    def committing(self) -> None:
        """All blobs are there; the manifests follow."""
        ...


@dataclass(frozen=True, slots=True)
class Wires:
    """What all copies share."""

    transfers: Transfers
    slots: TransferSlots
    bandwidth: Bandwidth


@dataclass(frozen=True, slots=True)
class Way:
    """Whose copy this is, under which repository's name, and what is known of the other side."""

    holder: PartKey
    repository: RepositoryName
    known: KnownContent


@dataclass(slots=True)
class _Survey:
    """What must be done: manifests that lack (children first) and blobs that must be sent."""

    manifests: list[Node] = field(default_factory=list)
    blobs: list[Descriptor] = field(default_factory=list)
    missing: list[Digest] = field(default_factory=list)


async def copy_graph(
    source: Target,
    destination: MountingTarget,
    graph: Graph,
    *,
    way: Way,
    meter: ProgressMeter,
    wires: Wires,
    hooks: CopyHooks,
    trust: bool = True,
) -> None:
    """Put all of a graph there, its root last, by digest; moves no tag.

    Without `trust` nothing that the other side says it has is believed, and all is sent. Raises ChildrenMissing when all
    else is there, LocalContentMissing, LocalContentDamaged, and what the destination raises.
    """
    copy = _Copy(source, destination, graph, way, meter, wires, trust)
    await copy.run(hooks)


class _Copy:
    def __init__(
        self,
        source: Target,
        destination: MountingTarget,
        graph: Graph,
        way: Way,
        meter: ProgressMeter,
        wires: Wires,
        trust: bool,
    ) -> None:
        self._source = source
        self._destination = destination
        self._graph = graph
        self._way = way
        self._meter = meter
        self._wires = wires
        self._trust = trust

    async def run(self, hooks: CopyHooks) -> None:
        survey = await self._survey()
        wires, holder = self._wires, self._way.holder
        # What an earlier push of this tag left halfway and this one doesn't need ends here.
        wires.transfers.release(holder, except_for={blob.digest for blob in survey.blobs})
        hooks.sending()
        await in_pool(self._send_blob, survey.blobs)
        if survey.missing:
            await self._send_manifests([node for node in survey.manifests if not self._lacks_children(node, survey)])
            raise ChildrenMissing(survey.missing)
        hooks.committing()
        await self._send_manifests(survey.manifests)

    async def _survey(self) -> _Survey:
        survey = _Survey()
        there = await self._manifests_there()
        lacks = [node for node in self._graph.nodes.values() if node.descriptor.digest not in there]
        for node in self._graph.nodes.values():
            if node.descriptor.digest in there:
                self._finish(node.descriptor, LayerState.THERE)
        # The root goes in any case: a tag is about to name it, and a PUT costs no more than the question would.
        survey.manifests = lacks or [self._graph.nodes[self._graph.root.digest]]
        needed = {blob.digest: blob for node in lacks for blob in node.blobs}
        for blob in self._graph.blobs.values():
            if blob.digest not in needed and not blob.may_be_missing:
                self._way.known.add(blob.digest, self._way.repository)
                self._finish(blob, LayerState.THERE)
        lacking = await in_pool(self._lacks_blob, needed.values())
        survey.blobs = [blob for blob, lacks in zip(needed.values(), lacking, strict=True) if lacks]
        # An index that is there was taken with its children.
        wanted = {child for node in lacks for child in node.children}
        absent = [missing for missing in self._graph.missing.values() if missing.digest in wanted]
        found = await in_pool(self._destination.exists, absent)
        survey.missing = [each.digest for each, is_there in zip(absent, found, strict=True) if not is_there]
        return survey

    async def _manifests_there(self) -> set[Digest]:
        """Manifests that the other side has: it took them only with all that they name, so there's no need to look below."""
        there: set[Digest] = set()
        if not self._trust:
            return there
        root = self._graph.root
        if await self._destination.exists(root):
            return {node.descriptor.digest for node in self._graph.below(root.digest)}
        others = [node.descriptor for node in self._graph.nodes.values() if node.descriptor.digest != root.digest]
        for descriptor, is_there in zip(others, await in_pool(self._destination.exists, others), strict=True):
            if is_there:
                there |= {node.descriptor.digest for node in self._graph.below(descriptor.digest)}
        return there

    async def _lacks_blob(self, blob: Descriptor) -> bool:
        """Whether it must be sent, after all that spares sending it was tried."""
        known, repository = self._way.known, self._way.repository
        if self._trust:
            says_so = known.is_fresh(blob.digest, repository) or await self._destination.exists(blob)
            if says_so and await self._destination.is_readable(blob):
                known.add(blob.digest, repository)
                self._finish(blob, LayerState.THERE)
                return False
            known.forget(blob.digest, repository)
            if await self._mounted(blob):
                return False
        if await self._source.exists(blob):
            return True
        if not blob.may_be_missing and not await self._destination.is_readable(blob):
            raise LocalContentMissing(f"{blob.digest} is neither here nor upstream.", hint="Push the image again.")
        self._finish(blob, LayerState.THERE)
        return False

    async def _mounted(self, blob: Descriptor) -> bool:
        known, repository = self._way.known, self._way.repository
        if not known.mounts_work:
            return False
        for other in known.elsewhere(blob.digest, repository)[:2]:
            mounted = await self._destination.mount(blob, other)
            known.tried_to_mount(mounted)
            if mounted:
                known.add(blob.digest, repository)
                self._finish(blob, LayerState.MOUNTED)
                return True
        return False

    async def _send_blob(self, blob: Descriptor) -> None:
        way, transfers = self._way, self._wires.transfers
        key = TransferKey(way.holder.upstream, way.repository, blob.digest)
        while True:
            other = None if transfers.find(key) else transfers.elsewhere(key.upstream, key.digest, key.repository)
            if other is not None and self._trust and way.known.mounts_work:
                await _ended(transfers, other)
                if await self._mounted(blob):
                    return
            try:
                await transfers.deliver(key, way.holder, self._meter, self._transfer(blob))
            except TransferAbandoned:
                continue
            self._finish(blob, LayerState.SENT)
            return

    def _transfer(self, blob: Descriptor) -> Callable[[Transfer], Awaitable[None]]:
        async def send(transfer: Transfer) -> None:
            source = _Outgoing(self._source, blob, self._wires.bandwidth, transfer)
            async with self._wires.slots.slot(self._way.holder.upstream, self._way.holder.job_id):
                await source.push_to(self._destination)
            self._way.known.add(blob.digest, self._way.repository)

        return send

    async def _send_manifests(self, nodes: list[Node]) -> None:
        """Children before those that name them; those of one level several at once."""
        left = list(nodes)
        waiting = {node.descriptor.digest for node in nodes}
        while left:
            now = [node for node in left if not waiting.intersection(node.children)]
            left = [node for node in left if waiting.intersection(node.children)]
            await in_pool(self._send_manifest, [node.descriptor for node in now])
            waiting -= {node.descriptor.digest for node in now}

    async def _send_manifest(self, descriptor: Descriptor) -> None:
        source = _Outgoing(self._source, descriptor, self._wires.bandwidth, None)
        await source.push_to(self._destination)
        self._finish(descriptor, LayerState.SENT)

    def _lacks_children(self, node: Node, survey: _Survey) -> bool:
        missing = set(survey.missing)
        return any(missing.intersection(below.children) for below in self._graph.below(node.descriptor.digest))

    def _finish(self, descriptor: Descriptor, state: LayerState) -> None:
        self._meter.plan(descriptor.digest, descriptor.size)
        self._meter.finish(descriptor.digest, state)


class _Outgoing:
    """Our copy of some content on its way out; what is wrong with it is kept apart from what fails over there.

    That it hashes to its name is seen to by the target that takes it, before it's complete there (Target.push).
    """

    def __init__(self, source: Target, descriptor: Descriptor, bandwidth: Bandwidth, transfer: Transfer | None) -> None:
        self._source = source
        self._descriptor = descriptor
        self._bandwidth = bandwidth
        self._transfer = transfer
        self._gone: LocalContentMissing | None = None

    async def push_to(self, destination: Target) -> None:
        """Raises LocalContentMissing, LocalContentDamaged, and what the destination raises."""
        opener: ContentSource = self._open
        try:
            await destination.push(self._descriptor, opener)
        except DigestMismatch as error:
            raise LocalContentDamaged(
                f"Our copy of {self._descriptor.digest} is damaged and was not sent.",
                str(error),
                hint="Push the image again.",
            ) from error
        except Exception as error:
            if self._gone is not None and error is not self._gone:
                raise self._gone from error
            raise

    def _open(self, offset: int) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        return self._opened(offset)

    @asynccontextmanager
    async def _opened(self, offset: int) -> AsyncIterator[AsyncIterator[bytes]]:
        if self._transfer is not None:
            self._transfer.opened(offset)
        async with aclosing(self._pieces(offset)) as pieces:
            yield pieces

    async def _pieces(self, offset: int) -> AsyncGenerator[bytes, None]:
        descriptor = self._descriptor
        try:
            async with self._source.fetch(descriptor, offset=offset) as content:
                async for piece in content:
                    for part in self._cut(piece):
                        await self._bandwidth.take(len(part))
                        if self._transfer is not None:
                            self._transfer.sent(len(part))
                        yield part
        except NotFound as error:
            self._gone = LocalContentMissing(
                f"{descriptor.digest} is neither here nor upstream.", hint="Push the image again."
            )
            raise self._gone from error

    def _cut(self, piece: bytes) -> Iterable[bytes]:
        if not self._bandwidth.is_limited:
            return (piece,)
        size = self._bandwidth.PIECE_BYTES
        return (piece[start : start + size] for start in range(0, len(piece), size))


def lacks_content(failure: UpstreamFailure) -> bool:
    """Whether the upstream misses, at the end, content that it said it had, or took."""
    codes = {"MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN", "MANIFEST_UNKNOWN"}
    return bool(codes.intersection(failure.codes)) or (
        isinstance(failure, UpstreamUntrue) and failure.status in (400, 404)
    )


async def in_pool(work: Callable[[Descriptor], Awaitable[_T]], over: Iterable[Descriptor]) -> list[_T]:
    """Do it with each, a few at once; the results in order.

    After a failure none is begun any more, but those under way come to their end, so that what they sent counts; then the
    first failure rises.
    """
    waiting = list(enumerate(over))
    waiting.reverse()
    results: dict[int, _T] = {}
    failures: list[Exception] = []

    async def take_turns() -> None:
        while waiting and not failures:
            index, descriptor = waiting.pop()
            try:
                results[index] = await work(descriptor)
            except Exception as error:  # noqa: BLE001 - rises below, when all are through
                failures.append(error)

    async with asyncio.TaskGroup() as group:
        for _ in range(min(_AT_ONCE, len(waiting))):
            group.create_task(take_turns())
    if failures:
        raise failures[0]
    return [results[index] for index in range(len(results))]


async def _ended(transfers: Transfers, transfer: Transfer) -> None:
    """Wait for another job's transfer; that it failed is that job's affair."""
    if transfer.task is not None:
        await asyncio.wait([transfer.task])
