"""One attempt at bringing an image to one upstream, from the first question to the read-back."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from yarddesk.content.graph import Graph, read_graph
from yarddesk.content.target import Damaged, MountingTarget, NotFound, Target
from yarddesk.content.upstream import UpstreamDenied, UpstreamFailure, UpstreamRefused, UpstreamUntrue
from yarddesk.errors import YarddeskError
from yarddesk.oci.digest import Digest
from yarddesk.oci.name import Reference
from yarddesk.progress import LayerState, ProgressMeter
from yarddesk.sync.conflicts import TagGuard
from yarddesk.sync.copy import CopyHooks, Wires, copy_upstream, lacks_content, list_with_subjects
from yarddesk.sync.errors import LocalContentDamaged, LocalContentGone
from yarddesk.sync.referrers import Referrer, bring_referrers, read_referrers
from yarddesk.sync.survey import Way, count_contents, plan_of

_TAG_LOOKS: Final = 100
_TAG_LOOK_SECONDS: Final = 0.05
ROUNDS: Final = 3
"""How often all is sent to an upstream that then doesn't have it, before that is said."""


class AttemptHooks(CopyHooks, Protocol):
    """Told how far an attempt is."""

    def answered(self) -> None:
        """The upstream gave an answer: it's there, and lets us in."""
        ...

    def left_out(self, reason: str) -> None:
        """Some of what is about the image was not taken."""
        ...


@dataclass(frozen=True, slots=True)
class Errand:
    """What is to be brought where. `guard` is its tag's, None for one without a tag.

    `is_left`: whether what is about the image is left to others, being on its way by itself.
    """

    source: Target
    destination: MountingTarget
    reference: Reference
    digest: Digest
    way: Way
    guard: TagGuard | None = None
    is_left: Callable[[Digest], bool] = lambda _: False


async def sync_image(errand: Errand, meter: ProgressMeter, wires: Wires, hooks: AttemptHooks) -> None:
    """Bring the image there, and read it back.

    Raises LocalContentGone, ChildrenMissing, LocalContentMissing, LocalContentDamaged, TagMoved, TagKept, UpstreamFailure,
    NotFound.
    """
    try:
        graph = await read_graph(errand.source, errand.digest)
    except Damaged as error:
        raise LocalContentDamaged.of(error) from error
    except NotFound as error:
        raise LocalContentGone("The image was deleted here before it was synced.") from error
    await _wait_for_tag(errand)
    referrers = await read_referrers(errand.source, graph, errand.is_left)
    for each in (graph, *(referrer.graph for referrer in referrers)):
        await count_contents(errand.source, each, meter)
    before = await _named(errand.destination, errand.reference)
    hooks.answered()
    if errand.guard is not None:
        errand.guard.look(before)
    if before == errand.digest:
        await list_with_subjects(errand.source, errand.destination, graph.nodes.values(), wires.bandwidth)
        _all_there(graph, meter, errand.way)
        hooks.planned(plan_of(meter))
        await _bring_along(errand, referrers, meter, wires, hooks)
        hooks.committing()
        await _arrived(errand)
        return
    if not await _brought(errand, graph, referrers, meter, wires, hooks):
        raise UpstreamUntrue(
            errand.way.holder.upstream,
            f"{errand.way.holder.upstream} took the whole image and then doesn't have it.",
            f"It was sent {ROUNDS} times, the last time without asking what is there already.",
            hint="Its storage may be damaged, or it was cleaned up while it ran: restarting that registry may help.",
            temporary=True,
        )
    await _arrived(errand)


async def _wait_for_tag(errand: Errand) -> None:
    """The job is queued before the tag moves, which a disk may take its time for: upstream it must not move earlier."""
    for _ in range(_TAG_LOOKS):
        if errand.guard is None or await _named(errand.source, errand.reference) in (
            None,
            errand.digest,
        ):
            return
        await asyncio.sleep(_TAG_LOOK_SECONDS)
    raise YarddeskError("The tag names another image here still.", temporary=True)


async def _bring_along(
    errand: Errand, referrers: list[Referrer], meter: ProgressMeter, wires: Wires, hooks: AttemptHooks
) -> None:
    if referrers:
        reason = await bring_referrers(
            referrers, errand.source, errand.destination, way=errand.way, meter=meter, wires=wires, hooks=hooks
        )
        hooks.left_out(reason)


async def _brought(
    errand: Errand,
    graph: Graph,
    referrers: list[Referrer],
    meter: ProgressMeter,
    wires: Wires,
    hooks: AttemptHooks,
) -> bool:
    """Send until it can be read back; the first time what the upstream says it has is believed, then nothing."""
    for turn in range(ROUNDS):
        try:
            await copy_upstream(
                errand.source,
                errand.destination,
                graph,
                way=errand.way,
                meter=meter,
                wires=wires,
                hooks=hooks,
                trust=turn == 0,
            )
        except UpstreamFailure as failure:
            if not lacks_content(failure) or turn == ROUNDS - 1:
                raise
            _forget(graph, errand.way)
            continue
        await _bring_along(errand, referrers, meter, wires, hooks)
        if errand.guard is not None:
            await _move_tag(errand, graph, errand.guard)
        there = await _named(errand.destination, errand.reference)
        if there == errand.digest:
            return True
        if errand.guard is not None:
            errand.guard.look(there)  # somebody else may have moved it after us
        _forget(graph, errand.way)
    return False


async def _move_tag(errand: Errand, graph: Graph, guard: TagGuard) -> None:
    """All of it is there by digest: whatever keeps us from moving the tag, nothing is lost."""
    await guard.about_to_move(await _named(errand.destination, guard.tag))
    try:
        await errand.destination.tag(graph.root, guard.tag)
    except (UpstreamRefused, UpstreamDenied):
        guard.refused()
        raise


async def _arrived(errand: Errand) -> None:
    if errand.guard is not None:
        await errand.guard.arrived()


def _forget(graph: Graph, way: Way) -> None:
    for digest in (*graph.blobs, *graph.nodes):
        way.known.forget(digest, way.repository)


async def _named(target: Target, reference: Reference) -> Digest | None:
    try:
        return (await target.resolve(reference)).digest
    except NotFound:
        return None


def _all_there(graph: Graph, meter: ProgressMeter, way: Way) -> None:
    for node in graph.nodes.values():
        meter.finish(node.descriptor.digest, LayerState.THERE)
    planned = {layer.digest for layer in meter.snapshot().layers}
    for digest in planned.intersection(graph.blobs):
        meter.finish(digest, LayerState.THERE)
    for blob in graph.blobs.values():
        if not blob.may_be_missing:
            way.known.add(blob.digest, way.repository)
