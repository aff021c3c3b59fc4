"""One image to an upstream: what is there is left alone, what another repository there has is mounted, the rest is sent.

The order is that of `content.copying`, and nothing goes out that doesn't hash to its name.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

from yarddesk.content.copying import copy_graph
from yarddesk.content.graph import Graph
from yarddesk.content.target import ContentSource, Damaged, DigestMismatch, MountingTarget, NotFound, Target
from yarddesk.content.upstream import UpstreamFailure, UpstreamUntrue
from yarddesk.oci.descriptor import Descriptor
from yarddesk.oci.name import RepositoryName
from yarddesk.progress import LayerState, ProgressMeter
from yarddesk.sync.errors import ChildrenMissing, LocalContentDamaged, LocalContentMissing
from yarddesk.sync.known import KnownContent
from yarddesk.sync.schedule import PartKey
from yarddesk.sync.slots import Bandwidth, TransferSlots
from yarddesk.sync.transfers import Transfer, TransferAbandoned, TransferKey, Transfers


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


async def copy_upstream(
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
    carrier = _UpstreamCarrier(source, destination, way, meter, wires, hooks, trust)
    missing = await copy_graph(graph, destination, carrier, trust=trust)
    if missing:
        raise ChildrenMissing(missing)


class _UpstreamCarrier:
    """Mounts, shares transfers with other jobs, takes slots and bandwidth."""

    def __init__(
        self,
        source: Target,
        destination: MountingTarget,
        way: Way,
        meter: ProgressMeter,
        wires: Wires,
        hooks: CopyHooks,
        trust: bool,
    ) -> None:
        self._source = source
        self._destination = destination
        self._way = way
        self._meter = meter
        self._wires = wires
        self._hooks = hooks
        self._trust = trust

    def found(self, descriptor: Descriptor) -> None:
        if not descriptor.is_manifest:
            self._way.known.add(descriptor.digest, self._way.repository)
        self._finish(descriptor, LayerState.THERE)

    async def lacks(self, blob: Descriptor) -> bool:
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
            raise await self._why_missing(blob)
        self._finish(blob, LayerState.THERE)
        return False

    async def _why_missing(self, blob: Descriptor) -> LocalContentMissing | LocalContentDamaged:
        try:
            async with self._source.fetch(blob):
                pass  # it has come meanwhile: the next try finds it
        except Damaged as error:
            return LocalContentDamaged.of(error)
        except NotFound:
            pass
        return _missing(blob)

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

    def sending(self, blobs: Sequence[Descriptor]) -> None:
        # What an earlier push of this tag left halfway and this one doesn't need ends here.
        self._wires.transfers.release(self._way.holder, except_for={blob.digest for blob in blobs})
        self._hooks.sending()

    async def send(self, blob: Descriptor) -> None:
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

    def committing(self) -> None:
        self._hooks.committing()

    async def send_manifest(self, manifest: Descriptor) -> None:
        source = _Outgoing(self._source, manifest, self._wires.bandwidth, None)
        await source.push_to(self._destination)
        self._finish(manifest, LayerState.SENT)

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
        self._gone: LocalContentMissing | LocalContentDamaged | None = None

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
            self._gone = LocalContentDamaged.of(error) if isinstance(error, Damaged) else _missing(descriptor)
            raise self._gone from error

    def _cut(self, piece: bytes) -> Iterable[bytes]:
        if not self._bandwidth.is_limited:
            return (piece,)
        size = self._bandwidth.PIECE_BYTES
        return (piece[start : start + size] for start in range(0, len(piece), size))


def _missing(content: Descriptor) -> LocalContentMissing:
    return LocalContentMissing(f"{content.digest} is neither here nor upstream.", hint="Push the image again.")


def lacks_content(failure: UpstreamFailure) -> bool:
    """Whether the upstream misses, at the end, content that it said it had, or took."""
    codes = {"MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN", "MANIFEST_UNKNOWN"}
    return bool(codes.intersection(failure.codes)) or (
        isinstance(failure, UpstreamUntrue) and failure.status in (400, 404)
    )


async def _ended(transfers: Transfers, transfer: Transfer) -> None:
    """Wait for another job's transfer; that it failed is that job's affair."""
    if transfer.task is not None:
        await asyncio.wait([transfer.task])
