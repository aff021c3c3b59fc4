"""What follows from an attempt: the part's next state, the upstream's gate, the marker, the history."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from yarddesk.content.listener import Arrival
from yarddesk.content.upstream import UpstreamFailure, UpstreamTrouble, UpstreamUntrue
from yarddesk.errors import YarddeskError
from yarddesk.events import CredentialRequired, ImageSynced, TagConflict, TryFailed
from yarddesk.sync.conflicts import LOOK_AGAIN_SECONDS as TAG_AGAIN_SECONDS
from yarddesk.sync.conflicts import TagKept
from yarddesk.sync.errors import LocalContentGone
from yarddesk.sync.marker import Conflict, Job, Part
from yarddesk.sync.queue import Queue, seconds_from
from yarddesk.sync.schedule import PartKey, backoff_seconds
from yarddesk.sync.snapshot import HistoryEntry
from yarddesk.sync.states import JobState
from yarddesk.sync.verdicts import Verdict, in_words, judge, look_seconds

_log = logging.getLogger(__name__)

_UNLUCKY: Final = 3
"""So many attempts in a row that fail for an upstream's trouble mean the upstream."""

_HELD_BY_GATE: Final = frozenset({"away", "needs_you"})
"""States of a gate whose opening is all that those wait for that found it so."""

_MISSING_AGAIN_SECONDS: Final = 30.0
_MISSING_AGAIN_AT_MOST_SECONDS: Final = 300.0


def _arrival(entry: HistoryEntry) -> Arrival:
    return Arrival(
        repository=entry.repository,
        reference=entry.reference,
        digest=entry.digest,
        upstream=entry.upstream,
        registry=entry.registry,
        place=entry.place,
        replaced=entry.replaced,
        bytes_sent=entry.bytes_sent,
        at=entry.at,
    )


@dataclass(slots=True, eq=False)
class Attempt:
    """One that runs. `epoch` is that of its upstream's gate when the upstream last answered it, or when it began.

    `settling`: it's over, and what follows is being written; there is nothing left to stop. `left_out`: why some of what is
    about the image didn't go with it.
    """

    job: Job
    part: Part
    key: PartKey
    epoch: int
    task: asyncio.Task[None] | None = None
    settling: bool = False
    left_out: str = ""


class Outcomes:
    """`answered` is called for an attempt whose upstream did what it was asked, `orphaned` for jobs that are about to leave while
    others stay."""

    def __init__(
        self, queue: Queue, answered: Callable[[Attempt], None], orphaned: Callable[[Job], Awaitable[None]]
    ) -> None:
        self._queue = queue
        self._orphaned = orphaned
        self._answered = answered
        self._troubles: dict[str, int] = {}

    async def synced(self, attempt: Attempt) -> None:
        """It's there, and was read back. A newer push of the tag keeps its place in the queue."""
        queue, job, part = self._queue, attempt.job, attempt.part
        self._troubles.pop(attempt.key.upstream, None)
        self._answered(attempt)
        entry = queue.entry(job, part, JobState.DONE, attempt.left_out)
        if queue.arrivals is not None:
            await queue.arrivals.image_arrived(_arrival(entry))
        _log.info("%s is synced to %s (%s)", job.id, part.upstream, job.digest)
        queue.ended(entry)
        if queue.journal.is_current(job) and not part.state.is_over:
            with queue.changing(job, [part]):
                part.move(JobState.DONE)
            await self._out_or_again(attempt)
        queue.changes += 1
        await queue.history.write()
        queue.events.publish(
            ImageSynced(
                repository=job.repository,
                reference=job.reference,
                digest=job.digest,
                upstream=part.upstream,
                replaced=part.replaced,
            )
        )

    async def kept(self, attempt: Attempt, error: TagKept) -> None:
        """Somebody else's image stays under the tag, as the settings have it. A newer push of the tag keeps its place."""
        queue, job, part = self._queue, attempt.job, attempt.part
        self._troubles.pop(attempt.key.upstream, None)
        if self._is_moot(attempt):
            return
        _log.warning("%s to %s: %s", job.id, part.upstream, in_words(error))
        queue.events.publish(TagConflict(job_id=job.id, upstream=part.upstream, there=error.there, kept=True))
        queue.ended(queue.entry(job, part, JobState.CANCELLED, in_words(error)))
        with queue.changing(job, [part]):
            part.move(JobState.CANCELLING)
            part.move(JobState.CANCELLED)
        await self._orphaned(job)
        await self._out_or_again(attempt)
        queue.changes += 1
        await queue.history.write()

    async def gone(self, job: Job, error: LocalContentGone) -> None:
        """There is nothing left to sync."""
        queue = self._queue
        _log.warning("%s leaves the queue: %s", job.id, in_words(error))
        entries = [queue.entry(job, part, JobState.CANCELLED, in_words(error)) for part in job.open_parts]
        await self._orphaned(job)
        if await queue.journal.remove(job):
            queue.ended(*entries)
            queue.left(job, "gone")
            await queue.history.write()

    async def failed(self, attempt: Attempt, error: Exception) -> None:
        """It waits for its next try, or for a person."""
        verdict = judge(error)
        if isinstance(error, YarddeskError):
            _log.warning("%s to %s: %s", attempt.job.id, attempt.key.upstream, verdict.reason)
        else:
            _log.error("%s to %s failed", attempt.job.id, attempt.key.upstream, exc_info=error)
        self._mind_the_gate(attempt, error, verdict)
        queue, job, part = self._queue, attempt.job, attempt.part
        if self._is_moot(attempt):
            return
        queue.events.publish(
            TryFailed(job_id=job.id, upstream=part.upstream, kind=str(verdict.kind), reason=verdict.reason)
        )
        waits_for_gate = verdict.gate in _HELD_BY_GATE and not queue.schedule.gate(part.upstream).is_open
        if verdict.gate == "away":
            part.tries = max(0, part.tries - 1)  # that the network is away is not this image's doing
        again = self._next(attempt, verdict)
        with queue.changing(job, [part]):
            looked, part.look = part.look, None
            part.move(verdict.state)
            part.away = waits_for_gate and verdict.state is JobState.WAITING
            part.reason = part.error = verdict.reason
            part.next_attempt = again if verdict.state is JobState.WAITING else None
            part.needs_credentials = verdict.needs_credentials
            part.missing = verdict.missing
            if verdict.conflict is not None:
                part.conflict = Conflict(verdict.conflict)
        if verdict.conflict is not None:
            queue.events.publish(TagConflict(job_id=job.id, upstream=part.upstream, there=verdict.conflict))
        if part.arrived.intersection(verdict.missing):
            queue.requeue(job, part)  # it came in after the attempt had looked for it
        elif again is not None:
            self._schedule(attempt, None if waits_for_gate else again)
        if verdict.needs_credentials and not (looked and looked.needs_credentials):
            registry = queue.registry_of(part.upstream)
            queue.events.publish(CredentialRequired(upstream=part.upstream, registry=registry, reason=verdict.reason))
        await self._saved(job)

    def unsettled(self, attempt: Attempt) -> None:
        """Something in here failed: the part waits for its next try like any other."""
        queue, job, part = self._queue, attempt.job, attempt.part
        if self._is_moot(attempt):
            return
        again = seconds_from(queue.clock.now(), backoff_seconds(part.tries, queue.random))
        with queue.changing(job, [part]):
            if part.state is not JobState.WAITING:
                part.move(JobState.QUEUED)
                part.move(JobState.WAITING)
            part.reason, part.next_attempt = (
                "yarddesk could not keep what came of the last try; its log says why.",
                again,
            )
        self._schedule(attempt, again)

    def still_missing(self, attempt: Attempt) -> None:
        """An index whose children were looked for, in vain: it stays blocked, and is looked at again later, ever less often."""
        self._schedule(attempt, self._look_again(attempt))

    def still_moved(self, attempt: Attempt) -> None:
        """A tag that somebody else moved was looked at, and waits for a person still."""
        self._schedule(attempt, seconds_from(self._queue.clock.now(), TAG_AGAIN_SECONDS))

    def _mind_the_gate(self, attempt: Attempt, error: Exception, verdict: Verdict) -> None:
        queue, upstream = self._queue, attempt.key.upstream
        state = verdict.gate
        gate = queue.schedule.gate(upstream)
        if not state and gate.state == "away" and isinstance(error, UpstreamFailure) and not error.temporary:
            self._answered(attempt)  # it refuses this image, so it's there
        if not state and isinstance(error, UpstreamTrouble | UpstreamUntrue):
            self._troubles[upstream] = self._troubles.get(upstream, 0) + 1
            state = "trouble" if self._troubles[upstream] >= _UNLUCKY else ""
        if not state or attempt.epoch != gate.epoch:
            return
        seconds = verdict.retry_seconds
        if seconds is None:
            seconds = backoff_seconds(gate.failures + 1, queue.random)
        elif verdict.state is JobState.BLOCKED:
            seconds = look_seconds(seconds, gate.failures if gate.state == state else 0)
        now = queue.clock.monotonic()
        moment = seconds_from(queue.clock.now(), seconds)
        gate.shut(state, verdict.reason, now + seconds, moment, needs_credentials=verdict.needs_credentials)
        queue.gate_changed(upstream, gate)

    def _next(self, attempt: Attempt, verdict: Verdict) -> datetime | None:
        queue, gate = self._queue, self._queue.schedule.gate(attempt.key.upstream)
        if verdict.missing:
            return self._look_again(attempt)
        if verdict.retry_seconds is None and verdict.state is JobState.BLOCKED:
            return None
        if verdict.gate and gate.next_attempt is not None:
            return gate.next_attempt
        seconds = verdict.retry_seconds
        if seconds is None:
            seconds = backoff_seconds(attempt.part.tries, queue.random)
        elif verdict.state is JobState.BLOCKED:
            seconds = look_seconds(seconds, attempt.part.looks)
            attempt.part.looks += 1
        return seconds_from(queue.clock.now(), seconds)

    def _look_again(self, attempt: Attempt) -> datetime:
        attempt.part.looks += 1
        seconds = min(_MISSING_AGAIN_SECONDS * attempt.part.looks, _MISSING_AGAIN_AT_MOST_SECONDS)
        return seconds_from(self._queue.clock.now(), seconds)

    def _schedule(self, attempt: Attempt, at: datetime | None) -> None:
        """None: as soon as its upstream's gate opens."""
        queue = self._queue
        if queue.is_held(attempt.job):
            return  # when it's resumed it's put there again
        moment = None if at is None else queue.clock.monotonic() + (at - queue.clock.now()).total_seconds()
        queue.schedule.add(attempt.key, attempt.job.order, moment)

    async def _saved(self, job: Job) -> None:
        try:
            await self._queue.journal.save(job)
        except YarddeskError as error:
            # What the marker says is still true enough to go on from after a restart.
            _log.error("the marker of %s could not be written: %s", job.id, error)

    def _is_moot(self, attempt: Attempt) -> bool:
        """Nobody waits for what came of it: a newer push has its place, or it is being cancelled, or is over."""
        state = attempt.part.state
        return not self._queue.journal.is_current(attempt.job) or state.is_over or state is JobState.CANCELLING

    async def _out_or_again(self, attempt: Attempt) -> None:
        """It leaves the queue. Where its marker can't be taken out it's tried again, which then costs one question."""
        queue, part = self._queue, attempt.part
        try:
            await queue.out_or_saved(attempt.job)
        except YarddeskError as error:
            _log.error("the marker of %s could not be removed: %s", attempt.job.id, error)
            if not queue.journal.is_current(attempt.job):
                return
            again = seconds_from(queue.clock.now(), backoff_seconds(part.tries, queue.random))
            with queue.changing(attempt.job, [part]):
                part.move(JobState.QUEUED)
                part.move(JobState.WAITING)
                part.reason, part.next_attempt = in_words(error), again
            self._schedule(attempt, again)
