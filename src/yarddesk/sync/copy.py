"""One image to an upstream: what is there is left alone, what another repository there has is mounted, the rest is sent.

The order is that of `content.copying`, and nothing goes out that doesn't hash to its name.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from yarddesk.content.copying import copy_graph
from yarddesk.content.graph import Graph, Node
from yarddesk.content.target import MountingTarget, Target
from yarddesk.content.upstream import UpstreamFailure
from yarddesk.oci.descriptor import Descriptor
from yarddesk.oci.digest import Digest
from yarddesk.progress import LayerState, ProgressMeter
from yarddesk.sync.errors import ChildrenMissing
from yarddesk.sync.outgoing import Outgoing
from yarddesk.sync.slots import Bandwidth, Questions, TransferSlots
from yarddesk.sync.snapshot import SendPlan
from yarddesk.sync.survey import Survey, Way
from yarddesk.sync.transfers import Transfer, TransferAbandoned, TransferKey, Transfers


class CopyHooks(Protocol):
    """Told how far a copy is."""

    def planned(self, plan: SendPlan) -> None:
        """It's known what lacks; told again where a mount was refused."""
        ...

    def sending(self) -> None:
        """Now it goes."""
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
    questions: Questions = field(default_factory=Questions)


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
    missing = await copy_graph(graph, carrier, trust=trust)
    await list_with_subjects(source, destination, [graph.nodes[digest] for digest in carrier.there], wires.bandwidth)
    if missing:
        raise ChildrenMissing(missing)


async def list_with_subjects(
    source: Target, destination: MountingTarget, there: Iterable[Node], bandwidth: Bandwidth
) -> None:
    """See to it that what is about another manifest is listed among its referrers there, though it was there already.

    A try that ended between the two may have left it there and not listed: it's put once more, which lists it.
    """
    listed = Listed(destination)
    for node in there:
        if node.subject is not None and not await listed.has(node.descriptor.digest, node.subject):
            await Outgoing(source, node.descriptor, bandwidth, None).push_to(destination)


class Listed:
    """What the other side lists of who refers to whom, asked once for each subject."""

    def __init__(self, destination: Target) -> None:
        self._destination = destination
        self._referrers: dict[Digest, set[Digest]] = {}

    async def has(self, referrer: Digest, subject: Digest) -> bool:
        if subject not in self._referrers:
            self._referrers[subject] = {each.digest for each in await self._destination.referrers(subject)}
        return referrer in self._referrers[subject]


class _UpstreamCarrier:
    """Sends what the survey says must be sent: shares transfers with other jobs, takes slots and bandwidth."""

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
        self._survey = Survey(source, destination, way, meter, trust=trust)
        self.there: dict[Digest, None] = {}
        """The manifests that it had, and was not sent again."""
        self._asked: dict[Digest, int] = {}

    def found(self, descriptor: Descriptor) -> None:
        if descriptor.is_manifest:
            self.there[descriptor.digest] = None
        self._survey.found(descriptor)

    async def has(self, manifest: Descriptor) -> bool:
        return await self._survey.has(manifest)

    async def lacks(self, blob: Descriptor) -> bool:
        self._asked[blob.digest] = self._wires.transfers.broken(self._key(blob))
        async with self._wires.questions.at(self._way.holder.upstream):
            return await self._survey.lacks(blob)

    def sending(self, blobs: Sequence[Descriptor]) -> None:
        # What an earlier push of this tag left halfway and this one doesn't need ends here.
        self._wires.transfers.release(self._way.holder, except_for={blob.digest for blob in blobs})
        self._hooks.planned(self._survey.plan())
        if blobs:
            self._hooks.sending()

    async def send(self, blob: Descriptor) -> None:
        way, transfers = self._way, self._wires.transfers
        key = self._key(blob)
        while True:
            if self._trust and transfers.broken(key) != self._asked.get(blob.digest):
                # A transfer of it broke since we asked: it may have come to its end, and only the answer got lost.
                if not await self.lacks(blob):
                    return
                continue
            if self._trust and way.known.is_fresh(blob.digest, way.repository):
                # Another job's transfer of it has ended since we asked whether it was there.
                self._survey.finish(blob, LayerState.THERE)
                return
            if self._survey.is_mountable(blob):
                if await self._survey.mounted(blob):
                    return
                self._hooks.planned(self._survey.plan())
                continue
            other = None if transfers.find(key) else transfers.elsewhere(key.upstream, key.digest, key.repository)
            if other is not None and self._trust and way.known.may_mount_from(other.key.repository):
                await _ended(transfers, other)
                if await self._survey.mounted(blob):
                    return
            try:
                await transfers.deliver(key, way.holder, self._meter, self._transfer(blob))
            except TransferAbandoned:
                continue
            self._survey.finish(blob, LayerState.SENT)
            return

    def _key(self, blob: Descriptor) -> TransferKey:
        return TransferKey(self._way.holder.upstream, self._way.repository, blob.digest)

    def _transfer(self, blob: Descriptor) -> Callable[[Transfer], Awaitable[None]]:
        async def send(transfer: Transfer) -> None:
            source = Outgoing(self._source, blob, self._wires.bandwidth, transfer)
            holder = self._way.holder
            try:
                async with self._wires.slots.slot(holder.upstream, holder.job_id, self._way.priority) as slot:
                    await source.push_to(self._destination, slot.turn)
            except BaseException:
                # It may be there now, whatever was said before.
                self._way.known.forget(blob.digest, self._way.repository)
                raise
            self._way.known.add(blob.digest, self._way.repository)

        return send

    def committing(self) -> None:
        self._hooks.committing()

    async def send_manifest(self, manifest: Descriptor) -> None:
        source = Outgoing(self._source, manifest, self._wires.bandwidth, None)
        await source.push_to(self._destination)
        self._way.known.forget(manifest.digest, self._way.repository)
        self.there.pop(manifest.digest, None)
        self._survey.finish(manifest, LayerState.SENT)


def lacks_content(failure: UpstreamFailure) -> bool:
    """Whether the upstream misses, at the end, content that it said it had, or took."""
    return not {"MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN", "MANIFEST_UNKNOWN"}.isdisjoint(failure.codes)


async def _ended(transfers: Transfers, transfer: Transfer) -> None:
    """Wait for another job's transfer; that it failed is that job's affair."""
    if transfer.task is not None:
        await asyncio.wait([transfer.task])
