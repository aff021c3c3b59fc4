"""A graph of manifests and blobs from one target to another: the one way of a push upstream, an export and an import.

Blobs go before the manifests that name them, children before their index, the root last; what is there is left alone.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeVar

from yarddesk.content.graph import Graph, Node
from yarddesk.content.target import ContentStream, NotFound, Target
from yarddesk.oci.descriptor import Descriptor
from yarddesk.oci.digest import Digest
from yarddesk.progress import LayerState, ProgressMeter

_T = TypeVar("_T")

_AT_ONCE: Final = 8
"""Questions and transfers of one graph under way at once."""


class Carrier(Protocol):
    """Brings single contents to the other side, and is told how far the copy of their graph is."""

    def found(self, descriptor: Descriptor) -> None:
        """A manifest or blob that is there already, and won't be asked for."""
        ...

    async def has(self, manifest: Descriptor) -> bool:
        """Whether the other side has it, as far as it can tell."""
        ...

    async def lacks(self, blob: Descriptor) -> bool:
        """Whether the blob must be sent, after all that spares sending it was tried."""
        ...

    def sending(self, blobs: Sequence[Descriptor]) -> None:
        """It's known what lacks, and now these go."""
        ...

    async def send(self, blob: Descriptor) -> None: ...

    def committing(self) -> None:
        """All blobs are there; the manifests follow."""
        ...

    async def send_manifest(self, manifest: Descriptor) -> None: ...


@dataclass(slots=True)
class _Survey:
    """What must be done: manifests that lack (children first) and blobs that must be sent."""

    manifests: list[Node] = field(default_factory=list)
    blobs: list[Descriptor] = field(default_factory=list)
    missing: list[Digest] = field(default_factory=list)


async def copy_graph(graph: Graph, carrier: Carrier, *, trust: bool, sparse: bool = False) -> Sequence[Digest]:
    """Put all of a graph there, its root last, by digest; moves no tag. Raises what the carrier raises.

    `trust`: a manifest that the other side says it has needs no look at what is below it. The manifests that an index names
    and neither side has are returned; the indexes above them were then sent only where `sparse` is set.
    """
    return await _Copy(graph, carrier, trust).run(sparse)


class _Copy:
    def __init__(self, graph: Graph, carrier: Carrier, trust: bool) -> None:
        self._graph = graph
        self._carrier = carrier
        self._trust = trust

    async def run(self, sparse: bool) -> Sequence[Digest]:
        survey = await self._survey()
        self._carrier.sending(survey.blobs)
        await in_pool(self._carrier.send, survey.blobs)
        if survey.missing and not sparse:
            await self._send_manifests([node for node in survey.manifests if not self._lacks_children(node, survey)])
        else:
            self._carrier.committing()
            await self._send_manifests(survey.manifests)
        return survey.missing

    async def _survey(self) -> _Survey:
        survey = _Survey()
        there = await self._manifests_there()
        lacks = [node for node in self._graph.nodes.values() if node.descriptor.digest not in there]
        for node in self._graph.nodes.values():
            if node.descriptor.digest in there:
                self._carrier.found(node.descriptor)
        # The root goes in any case: a tag is about to name it, and a PUT costs no more than the question would.
        survey.manifests = lacks or [self._graph.nodes[self._graph.root.digest]]
        needed = {blob.digest: blob for node in lacks for blob in node.blobs}
        for blob in self._graph.blobs.values():
            if blob.digest not in needed and not blob.may_be_missing:
                self._carrier.found(blob)
        lacking = await in_pool(self._carrier.lacks, needed.values())
        survey.blobs = [blob for blob, lacks in zip(needed.values(), lacking, strict=True) if lacks]
        # An index that is there was taken with its children.
        wanted = {child for node in lacks for child in node.children}
        absent = [missing for missing in self._graph.missing.values() if missing.digest in wanted]
        found = await in_pool(self._carrier.has, absent)
        survey.missing = [each.digest for each, is_there in zip(absent, found, strict=True) if not is_there]
        return survey

    async def _manifests_there(self) -> set[Digest]:
        """Manifests that the other side has: it took them only with all that they name, so there's no need to look below."""
        there: set[Digest] = set()
        if not self._trust:
            return there
        root = self._graph.root
        if await self._carrier.has(root):
            return {node.descriptor.digest for node in self._graph.below(root.digest)}
        others = [node.descriptor for node in self._graph.nodes.values() if node.descriptor.digest != root.digest]
        for descriptor, is_there in zip(others, await in_pool(self._carrier.has, others), strict=True):
            if is_there:
                there |= {node.descriptor.digest for node in self._graph.below(descriptor.digest)}
        return there

    async def _send_manifests(self, nodes: list[Node]) -> None:
        """Children before those that name them; those of one level several at once."""
        left = list(nodes)
        waiting = {node.descriptor.digest for node in nodes}
        while left:
            now = [node for node in left if not waiting.intersection(node.children)]
            left = [node for node in left if waiting.intersection(node.children)]
            await in_pool(self._carrier.send_manifest, [node.descriptor for node in now])
            waiting -= {node.descriptor.digest for node in now}

    def _lacks_children(self, node: Node, survey: _Survey) -> bool:
        missing = set(survey.missing)
        return any(missing.intersection(below.children) for below in self._graph.below(node.descriptor.digest))


class DirectCarrier:
    """A Carrier between two targets on this machine: nothing to be spared but what is there already."""

    def __init__(self, source: Target, destination: Target, meter: ProgressMeter) -> None:
        self._source = source
        self._destination = destination
        self._meter = meter

    def found(self, descriptor: Descriptor) -> None:
        self._finish(descriptor, LayerState.THERE)

    async def has(self, manifest: Descriptor) -> bool:
        return await self._destination.exists(manifest)

    async def lacks(self, blob: Descriptor) -> bool:
        """Raises NotFound for a blob that is on neither side and may not be missing."""
        if await self._destination.exists(blob):
            self.found(blob)
            return False
        if await self._source.exists(blob):
            return True
        if blob.may_be_missing:
            return False
        raise NotFound(f"The blob {blob.digest} ({blob.size:,} bytes), which the image needs, is not there.")

    def sending(self, blobs: Sequence[Descriptor]) -> None:
        for blob in blobs:
            self._meter.plan(blob.digest, blob.size)

    async def send(self, blob: Descriptor) -> None:
        self._meter.plan(blob.digest, blob.size)
        await self._destination.push(blob, lambda offset: self._opened(blob, offset))
        self._finish(blob, LayerState.SENT)

    def committing(self) -> None:
        pass  # the meter tells all there is to tell

    async def send_manifest(self, manifest: Descriptor) -> None:
        await self.send(manifest)

    def _opened(self, descriptor: Descriptor, offset: int) -> ContentStream:
        return self._counted(descriptor, offset)

    @asynccontextmanager
    async def _counted(self, descriptor: Descriptor, offset: int) -> AsyncIterator[AsyncIterator[bytes]]:
        self._meter.rewind(descriptor.digest, offset, LayerState.SENDING)
        async with (
            self._source.fetch(descriptor, offset=offset) as content,
            aclosing(self._pieces(descriptor, content)) as pieces,
        ):
            yield pieces

    async def _pieces(self, descriptor: Descriptor, content: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
        async for piece in content:
            self._meter.add(descriptor.digest, len(piece))
            yield piece

    def _finish(self, descriptor: Descriptor, state: LayerState) -> None:
        self._meter.plan(descriptor.digest, descriptor.size)
        self._meter.finish(descriptor.digest, state)


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
