"""What of an image is at an upstream already, can be mounted from another repository there, or must be sent."""

from collections.abc import Callable, Collection
from dataclasses import dataclass

from yarddesk.content.graph import Graph
from yarddesk.content.target import Damaged, MountingTarget, NotFound, Target
from yarddesk.oci.descriptor import Descriptor
from yarddesk.oci.digest import Digest
from yarddesk.oci.name import RepositoryName
from yarddesk.progress import LayerState, ProgressMeter
from yarddesk.sync.errors import LocalContentDamaged, LocalContentMissing
from yarddesk.sync.known import KnownContent
from yarddesk.sync.schedule import PartKey
from yarddesk.sync.snapshot import SendPlan


@dataclass(frozen=True, slots=True)
class Way:
    """Whose copy this is, under which repository's name, and what is known of the other side. `priority` is its job's."""

    holder: PartKey
    repository: RepositoryName
    known: KnownContent
    priority: Callable[[], int] = lambda: 0


class Survey:
    """Without `trust` nothing that the other side says it has is believed."""

    def __init__(
        self, source: Target, destination: MountingTarget, way: Way, meter: ProgressMeter, *, trust: bool
    ) -> None:
        self._source = source
        self._destination = destination
        self._way = way
        self._meter = meter
        self._trust = trust
        self._mountable: set[Digest] = set()

    def found(self, descriptor: Descriptor) -> None:
        """It came to light that this is there."""
        if not descriptor.is_manifest:
            self._way.known.add(descriptor.digest, self._way.repository)
        self.finish(descriptor, LayerState.THERE)

    async def has(self, manifest: Descriptor) -> bool:
        """Whether a manifest is there; what was asked ahead isn't asked again."""
        says_so = self._way.known.says(manifest.digest, self._way.repository) if self._trust else None
        return await self._destination.exists(manifest) if says_so is None else says_so

    async def lacks(self, blob: Descriptor) -> bool:
        """Whether it must be mounted or sent; only looks, but for what isn't here and can be had by a mount alone."""
        known, repository = self._way.known, self._way.repository
        if self._trust:
            says_so = known.says(blob.digest, repository)
            if says_so is None:
                # Before the question, not after a “no”: another job's transfer may end while that is on its way.
                known.forget(blob.digest, repository)
                says_so = await self._destination.exists(blob)
            if says_so:
                if await self._destination.is_readable(blob):
                    known.add(blob.digest, repository)
                    self.finish(blob, LayerState.THERE)
                    return False
                known.forget(blob.digest, repository)
        if await self._source.exists(blob):
            if self._trust and known.elsewhere(blob.digest, repository):
                self._mountable.add(blob.digest)
            return True
        if self._trust and await self.mounted(blob):
            return False
        if not blob.may_be_missing and not await self._destination.is_readable(blob):
            raise await self._why_missing(blob)
        self.finish(blob, LayerState.THERE)
        return False

    async def _why_missing(self, blob: Descriptor) -> LocalContentMissing | LocalContentDamaged:
        try:
            async with self._source.fetch(blob):
                pass  # it has come meanwhile: the next try finds it
        except Damaged as error:
            return LocalContentDamaged.of(error)
        except NotFound:
            pass
        return LocalContentMissing.of(blob)

    def is_mountable(self, blob: Descriptor) -> bool:
        """Whether the plan is to mount it."""
        return blob.digest in self._mountable

    async def mounted(self, blob: Descriptor) -> bool:
        """Whether another repository there had it, and this one has it now, too."""
        known, repository = self._way.known, self._way.repository
        for other in known.elsewhere(blob.digest, repository)[:2]:
            mounted = await self._destination.mount(blob, other)
            known.tried_to_mount(other, mounted)
            if mounted:
                known.add(blob.digest, repository)
                self.finish(blob, LayerState.MOUNTED)
                return True
        self._mountable.discard(blob.digest)
        return False

    def plan(self) -> SendPlan:
        return plan_of(self._meter, self._mountable)

    def finish(self, descriptor: Descriptor, state: LayerState) -> None:
        """Count it as dealt with."""
        self._meter.plan(descriptor.digest, descriptor.size)
        self._meter.finish(descriptor.digest, state)


async def count_contents(source: Target, graph: Graph, meter: ProgressMeter) -> None:
    """All of a graph belongs to what is counted, but what may be missing and is."""
    for blob in graph.blobs.values():
        if not blob.may_be_missing or await source.exists(blob):
            meter.plan(blob.digest, blob.size)
    for node in graph.nodes.values():
        meter.plan(node.descriptor.digest, node.descriptor.size)


def plan_of(meter: ProgressMeter, mountable: Collection[Digest] = ()) -> SendPlan:
    """What must be done, as far as it's known by now; `mountable`: what is to be mounted and wasn't yet."""
    there = mounts = total = 0
    for layer in meter.snapshot().layers:
        total += layer.size
        if layer.state is LayerState.THERE:
            there += layer.size
        elif layer.state is LayerState.MOUNTED or layer.digest in mountable:
            mounts += layer.size
    return SendPlan(there, mounts, total - there - mounts)
