"""The queue as others see it: immutable snapshots, made anew only where something changed."""

from collections.abc import Mapping
from operator import attrgetter
from typing import Final

from yarddesk.sync.marker import Job, Part
from yarddesk.sync.outcomes import Attempt
from yarddesk.sync.queue import Queue
from yarddesk.sync.schedule import PartKey
from yarddesk.sync.snapshot import JobSnapshot, SetAsideMarker, SyncSnapshot, UpstreamHealth, UpstreamPart

_RECENT: Final = 50

_Stamp = tuple[int, int, int, tuple[SetAsideMarker, ...]]
_order: Final = attrgetter("order")


class Views:
    """Makes snapshots. The same revision is the same object; a job in which nothing changed keeps its own."""

    def __init__(self, queue: Queue, attempts: Mapping[PartKey, Attempt]) -> None:
        self._queue = queue
        self._attempts = attempts
        self._revision = 0
        self._stamp: _Stamp | None = None
        self._snapshot: SyncSnapshot | None = None

    def snapshot(self) -> SyncSnapshot:
        """Costs a look at the counters of what runs while nothing changes, and one pass over the queue otherwise."""
        queue = self._queue
        meters = [attempt.part.meter for attempt in self._attempts.values() if attempt.part.meter is not None]
        progress = [meter.snapshot() for meter in meters]
        rate = sum(each.bytes_per_second for each in progress)
        stamp = (queue.changes, sum(each.revision for each in progress), round(rate), queue.journal.set_aside)
        if self._snapshot is not None and stamp == self._stamp:
            return self._snapshot
        self._stamp = stamp
        self._revision += 1
        moving = {attempt.key.job_id for attempt in self._attempts.values()}
        self._snapshot = SyncSnapshot(
            revision=self._revision,
            paused=queue.pauses.everything,
            paused_until=queue.pauses.until,
            paused_repositories=queue.pauses.repositories,
            set_aside=queue.journal.set_aside,
            jobs=tuple(self._job(job, job.id in moving) for job in sorted(queue.journal.jobs.values(), key=_order)),
            recent=tuple(queue.history.recent(_RECENT)),
            upstreams=self._upstreams(),
            bytes_per_second=rate,
        )
        return self._snapshot

    def _job(self, job: Job, moving: bool) -> JobSnapshot:
        stamp = (job.version, self._queue.world)
        if moving or job.view is None or job.view_stamp != stamp:
            job.view = JobSnapshot(
                id=job.id,
                repository=job.repository,
                reference=job.reference,
                digest=job.digest,
                generation=job.generation,
                created=job.created,
                parts=tuple(self._part(job, part) for part in job.parts.values()),
                paused=job.paused,
                repository_paused=job.repository in self._queue.pauses.repositories,
                priority=job.priority,
            )
            # What moves is made anew each time, and once more when it came to rest.
            job.view_stamp = (-1, -1) if moving else stamp
        return job.view

    def _part(self, job: Job, part: Part) -> UpstreamPart:
        shown = self._queue.shown(job, part)
        return UpstreamPart(
            upstream=part.upstream,
            registry=self._queue.registry_of(part.upstream),
            state=shown.state,
            reason=shown.reason,
            tries=part.tries,
            next_attempt=shown.next_attempt,
            progress=part.meter.snapshot() if part.meter is not None else None,
            needs_credentials=shown.needs_credentials,
            conflict=part.conflict.there if part.asks and part.conflict else None,
            plan=part.plan,
            size=job.size,
        )

    def _upstreams(self) -> tuple[UpstreamHealth, ...]:
        queue = self._queue
        health = []
        for upstream in queue.routes.all():
            gate = queue.schedule.gate(upstream.name)
            paused = upstream.name in queue.pauses.upstreams
            health.append(
                UpstreamHealth(
                    upstream.name, upstream.registry, gate.state, gate.reason, paused, gate.needs_credentials
                )
            )
        return tuple(health)
