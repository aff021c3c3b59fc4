"""A look ahead: what of the images that are next in line an upstream has, and what must be sent, before their turn comes.

It's asked while no image that is being tried has questions of its own, one at a time at each upstream, and only where that
takes what is in line: not while it's paused, away or in want of somebody. The answers are what the try goes by later, so that
nothing is asked twice; the try still makes sure that what is there can be read. An image's size is known without asking.
"""

import logging
from asyncio import TaskGroup
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from yarddesk.content.graph import Graph, read_graph
from yarddesk.content.upstream import Upstream
from yarddesk.errors import YarddeskError
from yarddesk.oci.descriptor import Descriptor
from yarddesk.oci.digest import Digest
from yarddesk.oci.name import RepositoryName, Tag
from yarddesk.progress import ProgressMeter
from yarddesk.sync.known import KnownContent
from yarddesk.sync.marker import Job, Part
from yarddesk.sync.queue import Queue
from yarddesk.sync.referrers import read_referrers
from yarddesk.sync.schedule import PartKey
from yarddesk.sync.snapshot import SendPlan
from yarddesk.sync.survey import count_contents

_log = logging.getLogger(__name__)

AHEAD: Final = 20
"""How many images of each upstream are looked at."""

MOST_CONTENTS: Final = 500
"""Of an image with more than these only the size is found out: it would take as many questions, one after the other."""

REST_SECONDS: Final = 60.0
"""An upstream that didn't answer is let alone for so long: what is wrong is for the tries to find out, and to say."""


@dataclass(slots=True, eq=False)
class _Prospect:
    """An image in line. `graph`: None before it was read, and where it's not to be asked about. `sizes`: of all of its contents.

    `planned_at`: KnownContent.changes when its plan was made.
    """

    job: Job
    part: Part
    is_read: bool = False
    graph: Graph | None = None
    sizes: dict[Digest, int] = field(default_factory=dict)
    planned_at: int = -1


@dataclass(slots=True)
class _Lane:
    known: KnownContent
    prospects: dict[PartKey, _Prospect] = field(default_factory=dict)
    is_looked_at: bool = False
    rests_until: float = 0.0


class Outlook:
    """`known` is what is known of an upstream, `is_asking` whether some try has questions to it."""

    def __init__(self, queue: Queue, known: Callable[[str], KnownContent], is_asking: Callable[[str], bool]) -> None:
        self._queue = queue
        self._known = known
        self._is_asking = is_asking
        self._lanes: dict[str, _Lane] = {}

    async def run(self) -> None:
        """Look ahead whenever something changed, for ever."""
        async with TaskGroup() as group:
            while True:
                self._queue.changed.clear()
                for upstream in self._queue.routes.all():
                    lane = self._lane(upstream.name)
                    if upstream.push and not lane.is_looked_at:
                        lane.is_looked_at = True
                        group.create_task(self._look(lane, upstream), name="sync outlook")
                await self._queue.changed.wait()

    def _lane(self, upstream: str) -> _Lane:
        """Another one where it's another registry now: nothing of what was known counts any more."""
        lane, known = self._lanes.get(upstream), self._known(upstream)
        if lane is None or lane.known is not known:
            lane = self._lanes[upstream] = _Lane(known)
        return lane

    async def _look(self, lane: _Lane, upstream: Upstream) -> None:
        try:
            while await self._step(lane, upstream):
                pass
        except Exception:  # noqa: BLE001 - logged with its traceback; what is synced must not end over it
            _log.exception("what is in line for %s can't be looked at", upstream.name)
        finally:
            lane.is_looked_at = False

    async def _step(self, lane: _Lane, upstream: Upstream) -> bool:
        """Read one image, or ask one question; False where there is nothing to do for now."""
        prospects = self._in_line(lane, upstream.name)
        for prospect in prospects:
            if not prospect.is_read:
                await self._read(prospect, upstream.name)
                return True
        if not prospects or not self._may_ask(lane, upstream.name):
            return False
        for prospect in prospects:
            if prospect.graph is None:
                continue
            question = self._planned(prospect, prospect.graph, lane.known)
            if question is not None and self._is_worth_asking(prospect, upstream):
                await self._ask(lane, upstream, prospect.job.repository, question)
                return True
        return False

    def _in_line(self, lane: _Lane, upstream: str) -> list[_Prospect]:
        """Those that were never tried: a try knows better."""
        queue, before = self._queue, lane.prospects
        lane.prospects = {}
        for key in queue.schedule.next_in_line(upstream, AHEAD):
            job = queue.journal.get(key.job_id)
            part = job.parts.get(upstream) if job is not None else None
            if job is not None and part is not None and part.started is None:
                prospect = before.get(key)
                lane.prospects[key] = prospect if prospect and prospect.job is job else _Prospect(job, part)
        return list(lane.prospects.values())

    async def _read(self, prospect: _Prospect, upstream: str) -> None:
        queue, job, meter = self._queue, prospect.job, ProgressMeter()
        prospect.is_read = True
        source = queue.store.repository(job.repository)
        try:
            graph = await read_graph(source, job.digest)
            referrers = await read_referrers(source, graph, partial(queue.goes_by_itself, job.repository, upstream))
            for each in (graph, *(referrer.graph for referrer in referrers)):
                await count_contents(source, each, meter)
        except (YarddeskError, OSError) as error:
            _log.debug("%s, which is in line, can't be read: %s", job.id, error)
            return
        prospect.sizes = {layer.digest: layer.size for layer in meter.snapshot().layers}
        prospect.graph = graph if len(prospect.sizes) <= MOST_CONTENTS else None
        if job.size is None:
            job.size = sum(prospect.sizes.values())
            queue.touch(job)

    def _may_ask(self, lane: _Lane, upstream: str) -> bool:
        queue = self._queue
        is_well = queue.schedule.gate(upstream).state == "ok" and queue.schedule.lacks_room(upstream)
        return is_well and not self._is_asking(upstream) and queue.clock.monotonic() >= lane.rests_until

    def _is_worth_asking(self, prospect: _Prospect, upstream: Upstream) -> bool:
        """Not where the settings let it go nowhere; nor where it's probably there: one question alone is what its try needs then."""
        job = prospect.job
        if not self._queue.has_route(job, prospect.part):
            return False
        if not isinstance(job.reference, Tag):
            return True
        seen = self._queue.seen.get(upstream.place_of(job.repository), job.reference)
        return seen is None or job.digest not in (seen.digest, seen.sent)

    def _planned(self, prospect: _Prospect, graph: Graph, known: KnownContent) -> Descriptor | None:
        """Make its plan of what is known; the next question where that's not enough, and never was."""
        if prospect.planned_at == known.changes:
            return None
        answers = _Answers(graph, known, prospect.job.repository)
        if answers.question is None:
            self._queue.planned(prospect.job, prospect.part, answers.plan(prospect.sizes))
        elif prospect.planned_at < 0:
            return answers.question
        prospect.planned_at = known.changes
        return None

    async def _ask(self, lane: _Lane, upstream: Upstream, repository: RepositoryName, question: Descriptor) -> None:
        try:
            is_there = await upstream.repository(repository).exists(question)
        except (YarddeskError, OSError) as error:
            _log.debug("%s could not be asked ahead: %s", upstream.name, error)
            lane.rests_until = self._queue.clock.monotonic() + REST_SECONDS
            return
        if is_there:
            lane.known.add(question.digest, repository)
        else:
            lane.known.lacks(question.digest, repository)


class _Answers:
    """What is known of a graph's contents at an upstream. `question`: the first that isn't, in the order in which a try asks."""

    def __init__(self, graph: Graph, known: KnownContent, repository: RepositoryName) -> None:
        self._graph = graph
        self._known = known
        self._repository = repository
        self._there: set[Digest] = set()
        self._lacking: list[Descriptor] = []
        self.question = self._first_question()

    def plan(self, sizes: dict[Digest, int]) -> SendPlan:
        mountable = {blob.digest for blob in self._lacking if self._known.elsewhere(blob.digest, self._repository)}
        there = sum(sizes.get(digest, 0) for digest in self._there)
        mounts = sum(sizes.get(digest, 0) for digest in mountable)
        return SendPlan(there, mounts, sum(sizes.values()) - there - mounts)

    def _first_question(self) -> Descriptor | None:
        root = self._graph.root
        nodes = [
            root,
            *(node.descriptor for node in self._graph.nodes.values() if node.descriptor.digest != root.digest),
        ]
        for manifest in nodes:
            if manifest.digest in self._there:
                continue
            says = self._known.says(manifest.digest, self._repository)
            if says is None:
                return manifest
            if says:
                self._take_as_there(manifest.digest)
        lacking = [node for node in self._graph.nodes.values() if node.descriptor.digest not in self._there]
        needed = {blob.digest: blob for node in lacking for blob in node.blobs}
        for blob in self._graph.blobs.values():
            if blob.digest not in needed:
                self._there.add(blob.digest)
        for blob in needed.values():
            says = self._known.says(blob.digest, self._repository)
            if says is None:
                return blob
            if says:
                self._there.add(blob.digest)
            else:
                self._lacking.append(blob)
        return None

    def _take_as_there(self, digest: Digest) -> None:
        """A registry took it only with all that it names."""
        self._there |= {node.descriptor.digest for node in self._graph.below(digest)}
