"""The queue as others see it: immutable snapshots, made anew only where something changed."""

from collections.abc import Mapping
from operator import attrgetter
from typing import Final

from yarddesk.oci.digest import Digest
from yarddesk.sync.marker import Job, Part
from yarddesk.sync.outcomes import Attempt
from yarddesk.sync.queue import Queue, Shown
from yarddesk.sync.schedule import PartKey
from yarddesk.sync.snapshot import (
    JobSnapshot,
    SendPlan,
    SetAsideMarker,
    SyncSnapshot,
    UpstreamHealth,
    UpstreamPart,
)

_RECENT: Final = 50
_MOST_ALIKE: Final = 4_000

_Said = tuple[str, Shown, int, Digest | None, SendPlan | None, int | None]
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
        self._world = -1
        self._parts: dict[_Said, UpstreamPart] = {}
        self._lots: dict[tuple[int, ...], tuple[UpstreamPart, ...]] = {}

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
        self._snapshot = SyncSnapshot(
            revision=self._revision,
            paused=queue.pauses.everything,
            paused_until=queue.pauses.until,
            paused_repositories=queue.pauses.repositories,
            set_aside=queue.journal.set_aside,
            jobs=self._jobs(),
            recent=tuple(queue.history.recent(_RECENT)),
            upstreams=self._upstreams(),
            bytes_per_second=rate,
        )
        return self._snapshot

    def _jobs(self) -> tuple[JobSnapshot, ...]:
        queue = self._queue
        jobs = list(
            queue.journal.jobs.values()
        )  # by sequence: whoever comes is put last, and a newer push in the older's place
        if any(job.priority for job in jobs):
            jobs.sort(key=_order)
        if self._world != queue.world:
            self._world = queue.world
            self._forget_alike()
            for job in jobs:
                job.view = None
        elif len(self._parts) + len(self._lots) > _MOST_ALIKE:
            self._forget_alike()
        views = tuple([job.view or self._viewed(job) for job in jobs])
        for key in self._attempts:
            # What moves is made anew each time, and once more when it came to rest.
            if (moving := queue.journal.get(key.job_id)) is not None:
                moving.view = None
        return views

    def _forget_alike(self) -> None:
        self._parts.clear()
        self._lots.clear()

    def _viewed(self, job: Job) -> JobSnapshot:
        job.view = JobSnapshot(
            id=job.id,
            repository=job.repository,
            reference=job.reference,
            digest=job.digest,
            generation=job.generation,
            created=job.created,
            parts=self._parts_of(job),
            paused=job.paused,
            repository_paused=job.repository in self._queue.pauses.repositories,
            priority=job.priority,
        )
        return job.view

    def _parts_of(self, job: Job) -> tuple[UpstreamPart, ...]:
        """What says the same is the same object, for most images that wait: it's added up at once then (snapshot.add_up)."""
        parts = tuple([self._part(job, part) for part in job.parts.values()])
        for part in parts:
            if part.progress is not None:
                return parts
        return self._lots.setdefault(tuple(map(id, parts)), parts)

    def _part(self, job: Job, part: Part) -> UpstreamPart:
        shown = self._queue.shown(job, part)
        conflict = part.conflict.there if part.asks and part.conflict else None
        key = (part.upstream, shown, part.tries, conflict, part.plan, job.size)
        made = self._parts.get(key) if part.meter is None else None
        if made is None:
            by_settings = part.upstream in self._queue.signed_in_by_settings
            made = UpstreamPart(
                upstream=part.upstream,
                registry=self._queue.registry_of(part.upstream),
                state=shown.state,
                reason=shown.reason,
                tries=part.tries,
                next_attempt=shown.next_attempt,
                progress=part.meter.snapshot() if part.meter is not None else None,
                needs_credentials=shown.needs_credentials and not by_settings,
                needs_settings=shown.needs_credentials and by_settings,
                conflict=conflict,
                plan=part.plan,
                size=job.size,
            )
            if part.meter is None:
                self._parts[key] = made
        return made

    def _upstreams(self) -> tuple[UpstreamHealth, ...]:
        queue = self._queue
        health = []
        for upstream in queue.routes.all():
            gate = queue.schedule.gate(upstream.name)
            paused = upstream.name in queue.pauses.upstreams
            by_settings = upstream.name in queue.signed_in_by_settings
            health.append(
                UpstreamHealth(
                    upstream.name,
                    upstream.registry,
                    gate.state,
                    gate.reason,
                    paused,
                    needs_credentials=gate.needs_credentials and not by_settings,
                    needs_settings=gate.needs_credentials and by_settings,
                )
            )
        return tuple(health)
