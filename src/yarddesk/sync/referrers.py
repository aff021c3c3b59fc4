"""What is here about an image (signatures, attestations, SBOMs): it goes where the image goes, after it and before its tag moves."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from yarddesk.content.graph import Graph, read_graph
from yarddesk.content.target import MountingTarget, NotFound, Target
from yarddesk.content.upstream import UpstreamAway, UpstreamNotAsked, UpstreamTrouble
from yarddesk.errors import YarddeskError
from yarddesk.oci.digest import Digest
from yarddesk.progress import LayerState, ProgressMeter
from yarddesk.sync.copy import CopyHooks, Listed, Wires, copy_upstream
from yarddesk.sync.survey import Way

_log = logging.getLogger(__name__)

MAX_REFERRERS: Final = 1_000
"""More than these of one image don't go along."""

_NAMED: Final = 3


@dataclass(frozen=True, slots=True)
class Referrer:
    """One manifest about another, with all below it."""

    subject: Digest
    graph: Graph

    @property
    def digest(self) -> Digest:
        return self.graph.root.digest


async def read_referrers(source: Target, graph: Graph, is_left: Callable[[Digest], bool]) -> list[Referrer]:
    """All about any manifest of the graph, and about those in turn (an SBOM's signature), each after what it's about.

    Not what the graph holds itself, nor what `is_left` to others.
    """
    found: list[Referrer] = []
    subjects = list(graph.nodes)
    seen = set(subjects)
    for subject in subjects:  # grows
        for descriptor in await source.referrers(subject):
            if descriptor.digest in seen or is_left(descriptor.digest):
                continue
            if len(found) == MAX_REFERRERS:
                _log.warning(
                    "more than %d manifests are about %s: the rest stays here", MAX_REFERRERS, graph.root.digest
                )
                return found
            try:
                below = await read_graph(source, descriptor.digest)
            except NotFound as error:
                _log.warning("%s, which is about %s, stays here: %s", descriptor.digest, subject, error)
                seen.add(descriptor.digest)
                continue
            found.append(Referrer(subject, below))
            subjects += [digest for digest in below.nodes if digest not in seen]
            seen.update(below.nodes)
    return found


async def bring_referrers(
    referrers: list[Referrer],
    source: Target,
    destination: MountingTarget,
    *,
    way: Way,
    meter: ProgressMeter,
    wires: Wires,
    hooks: CopyHooks,
) -> str:
    """Those that aren't listed there yet. One that isn't taken holds up neither its image nor the others: why, in words.

    Raises what is true of the whole upstream for now, and what is no failure of its.
    """
    listed = Listed(destination)
    refused: list[tuple[Referrer, YarddeskError]] = []
    for referrer in referrers:
        try:
            if await listed.has(referrer.digest, referrer.subject):
                _there(referrer, meter)
            else:
                await copy_upstream(source, destination, referrer.graph, way=way, meter=meter, wires=wires, hooks=hooks)
        except YarddeskError as error:
            if _will_pass(error):
                raise
            _log.warning("%s, which is about %s, was left out: %s", referrer.digest, referrer.subject, error)
            refused.append((referrer, error))
    return _words(refused)


def _there(referrer: Referrer, meter: ProgressMeter) -> None:
    for blob in referrer.graph.blobs.values():
        meter.plan(blob.digest, blob.size)
        meter.finish(blob.digest, LayerState.THERE)
    for node in referrer.graph.nodes.values():
        meter.plan(node.descriptor.digest, node.descriptor.size)
        meter.finish(node.descriptor.digest, LayerState.THERE)


def _will_pass(error: YarddeskError) -> bool:
    """Whether it would meet the image as well. A registry that has no idea of artifacts may answer one with 500, for ever."""
    return isinstance(error, UpstreamAway | UpstreamNotAsked) or (
        isinstance(error, UpstreamTrouble) and error.status != 500
    )


def _words(refused: list[tuple[Referrer, YarddeskError]]) -> str:
    if not refused:
        return ""
    named = ", ".join(referrer.digest.short for referrer, _ in refused[:_NAMED])
    more = f" and {len(refused) - _NAMED} more" if len(refused) > _NAMED else ""
    return f"Without what is about it ({named}{more}): {refused[0][1].title}"
