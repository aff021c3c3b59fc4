"""Carries out what the schedule says: starts attempts, ends them, and makes of each outcome the next state."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from contextlib import AbstractContextManager, suppress
from functools import partial
from typing import Any

from yarddesk.content.target import NotFound
from yarddesk.content.upstream import Upstream
from yarddesk.errors import YarddeskError
from yarddesk.events import TryBegun
from yarddesk.oci.digest import Digest
from yarddesk.oci.name import Tag
from yarddesk.progress import LayerState, ProgressMeter
from yarddesk.sync.attempt import Errand, sync_image
from yarddesk.sync.conflicts import TagGuard, TagKept
from yarddesk.sync.copy import Wires
from yarddesk.sync.errors import LocalContentGone
from yarddesk.sync.hints import take_hints
from yarddesk.sync.history import KEPT as HISTORY_KEPT
from yarddesk.sync.known import KnownContent
from yarddesk.sync.marker import Job, Look, Part
from yarddesk.sync.outcomes import Attempt, Outcomes
from yarddesk.sync.queue import Queue, no_route
from yarddesk.sync.schedule import PartKey
from yarddesk.sync.snapshot import SendPlan
from yarddesk.sync.states import JobState
from yarddesk.sync.survey import Way

_log = logging.getLogger(__name__)


class _Hooks:
    """Moves the part along while its image is copied."""

    def __init__(self, worker: "Worker", attempt: Attempt) -> None:
        self._worker = worker
        self._attempt = attempt

    def answered(self) -> None:
        self._worker.answered(self._attempt)

    def planned(self, plan: SendPlan) -> None:
        self._worker.planned(self._attempt, plan)

    def sending(self) -> None:
        # When all is sent a second time it's still the same commit that goes on.
        if self._attempt.part.state is JobState.PREPARING:
            self._worker.move(self._attempt, JobState.TRANSFERRING)

    def committing(self) -> None:
        self._worker.move(self._attempt, JobState.COMMITTING)

    def left_out(self, reason: str) -> None:
        self._attempt.left_out = reason


class Worker:
    """Attempts by part. `spawn` makes tasks that the service owns."""

    def __init__(
        self, queue: Queue, wires: Wires, spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]
    ) -> None:
        self._queue = queue
        self._wires = wires
        self._spawn = spawn
        self._known: dict[str, KnownContent] = {}
        self._hints: dict[str, asyncio.Task[None]] = {}
        self.orphaned: Callable[[Job], Awaitable[None]] | None = None
        """Told of jobs that are about to leave while others, that they took along, stay."""
        self._outcomes = Outcomes(queue, self.answered, self._orphaned)
        self.attempts: dict[PartKey, Attempt] = {}
        self.wake = queue.wake

    async def run(self) -> None:
        """Start what is due, for ever."""
        queue = self._queue
        while True:
            self.wake.clear()
            now = queue.clock.monotonic()
            for key in queue.schedule.take(now):
                self._start(key)
            queue.taken.set()
            due = queue.schedule.next_due(now)
            await queue.clock.wait(self.wake, None if due is None else max(0.0, due - now))

    def stop(self, keys: Iterable[PartKey], *, keep_transfers: bool = False) -> list[asyncio.Task[None]]:
        """End attempts, and their transfers for good; the tasks that are ending.

        `keep_transfers`: another attempt goes on with what is halfway through.
        """
        ending = []
        for key in keys:
            if not keep_transfers:
                ending += self._wires.transfers.release(key)
            ending += self._stopped(key)
        return ending

    def rest(self, keys: Iterable[PartKey]) -> list[asyncio.Task[None]]:
        """End attempts and transfers that are to go on later; the tasks that are ending."""
        ending = []
        for key in keys:
            ending += self._wires.transfers.rest(key)
            ending += self._stopped(key)
        return ending

    def rest_all(self, upstream: str | None = None) -> list[asyncio.Task[None]]:
        """`rest` for everything that goes on, or all that goes to one upstream."""
        keys = [key for key in self.attempts if upstream in (None, key.upstream)]
        return self.rest(keys) + self._wires.transfers.end(upstream)

    def _stopped(self, key: PartKey) -> list[asyncio.Task[None]]:
        attempt = self.attempts.get(key)
        if attempt is None or attempt.task is None:
            return []
        if not attempt.settling:
            attempt.task.cancel()
        return [attempt.task]

    def replaced(self, job: Job) -> None:
        """A newer push took the job's place: what goes on for other content ends, unless it's about to be done anyway."""
        for key in [key for key in self.attempts if key.job_id == job.id]:
            if self.attempts[key].part.state is not JobState.COMMITTING:
                self.stop([key], keep_transfers=True)

    def carry_on(self, job: Job) -> None:
        """The same content was pushed again: what runs for it goes on as the new generation's."""
        for attempt in self.attempts.values():
            name = attempt.key.upstream
            # One that settles has judged by the generation before: what it holds would be tried by nobody any more.
            if attempt.settling or attempt.key.job_id != job.id or name not in job.parts:
                continue
            # One that is being cancelled ends; what was pushed since goes up anew.
            if attempt.part.state.is_active and attempt.part.state is not JobState.CANCELLING:
                attempt.job = job
                job.parts[name] = attempt.part

    def is_trying(self, key: PartKey, part: Part) -> bool:
        """Whether an attempt runs for this very part."""
        attempt = self.attempts.get(key)
        return attempt is not None and attempt.part is part

    def answered(self, attempt: Attempt) -> None:
        """Its upstream is there: the others may follow."""
        gate = self._queue.schedule.gate(attempt.key.upstream)
        if gate.opened():
            self._queue.gate_changed(attempt.key.upstream, gate)
            self.wake.set()
        attempt.epoch = gate.epoch

    def move(self, attempt: Attempt, state: JobState) -> None:
        if attempt.part.state is not state:
            with self._watched(attempt):
                attempt.part.move(state)
                if state is JobState.TRANSFERRING:
                    attempt.part.look = None

    def planned(self, attempt: Attempt, plan: SendPlan) -> None:
        self._queue.planned(attempt.job, attempt.part, plan)

    def is_asking(self, upstream: str) -> bool:
        """Whether some attempt finds out what an upstream has, or is about to."""
        return any(
            not attempt.settling and attempt.part.state not in (JobState.TRANSFERRING, JobState.COMMITTING)
            for key, attempt in self.attempts.items()
            if key.upstream == upstream
        )

    def known(self, upstream: str) -> KnownContent:
        """What we know that an upstream has."""
        if upstream not in self._known:
            self._known[upstream] = KnownContent(self._queue.clock.monotonic)
        return self._known[upstream]

    def forget(self, upstream: str) -> None:
        """It's another registry now, or another place in it: what we know of it isn't true any more."""
        self._known.pop(upstream, None)
        self._hints.pop(upstream, None)

    def _watched(self, attempt: Attempt) -> AbstractContextManager[None]:
        return self._queue.changing(attempt.job, [attempt.part])

    def _start(self, key: PartKey) -> None:
        queue = self._queue
        job = queue.journal.get(key.job_id)
        part = job.parts.get(key.upstream) if job else None
        if job is None or part is None or part.state.is_over:
            queue.schedule.finished(key)
            return
        if (first := queue.goes_before(job, part)) is not None:
            queue.hold_back(key, first)
            queue.schedule.finished(key)
            self.wake.set()  # there is room for another one
            return
        attempt = Attempt(job, part, key, queue.schedule.gate(key.upstream).epoch)
        self.attempts[key] = attempt
        attempt.task = self._spawn(self._attempt(attempt))
        # Not in the task itself: one that's cancelled before its first step never runs a line of it.
        attempt.task.add_done_callback(lambda _: self._ended(attempt))

    async def _orphaned(self, job: Job) -> None:
        if self.orphaned is not None:
            await self.orphaned(job)

    def _ended(self, attempt: Attempt) -> None:
        del self.attempts[attempt.key]
        if not self._is_wanted(attempt.key):
            self._wires.transfers.release(attempt.key)
        self._queue.schedule.finished(attempt.key)
        self.wake.set()
        try:
            self._put_back(attempt)
        except Exception:
            # The loop would only say it in passing, and nothing tries this part any more.
            _log.critical("%s to %s is not tried any more", attempt.job.id, attempt.key.upstream, exc_info=True)
            raise

    def _is_wanted(self, key: PartKey) -> bool:
        job = self._queue.journal.get(key.job_id)
        part = job.parts.get(key.upstream) if job is not None else None
        return part is not None and not part.state.is_over

    def _put_back(self, attempt: Attempt) -> None:
        """One that was ended from outside is tried again when there is room for it."""
        queue, part = self._queue, attempt.part
        if attempt.task is not None and attempt.task.cancelled() and queue.journal.is_current(attempt.job):
            with self._watched(attempt):
                if part.state.is_active and part.state is not JobState.CANCELLING:
                    part.move(JobState.QUEUED)
                    part.tries = max(0, part.tries - 1)
                part.look = None
                if part.meter is not None:
                    _take_back(part.meter)
                    part.uncounted = True
            if part.state in (JobState.QUEUED, JobState.WAITING):
                queue.enqueue(attempt.job, part)

    async def _attempt(self, attempt: Attempt) -> None:
        try:
            await self._tried(attempt)
        except Exception:  # noqa: BLE001 - logged with its traceback, and shown to the person
            # What follows from an attempt could not be written, or is wrong: that is this image's trouble, not the queue's.
            _log.exception("%s to %s: what came of it could not be kept", attempt.job.id, attempt.key.upstream)
            self._outcomes.unsettled(attempt)

    async def _tried(self, attempt: Attempt) -> None:
        outcomes, part = self._outcomes, attempt.part
        try:
            if part.missing and not await self._has_come(attempt):
                if part.missing:  # else one came while the upstream was asked, and put it into the queue again
                    outcomes.still_missing(attempt)
                return
            if part.asks and await self._is_still_moved(attempt):
                if part.asks:
                    outcomes.still_moved(attempt)
                return
            await self._take_hints(part.upstream)
            part.asked = part.asked or bool(part.missing or part.conflict)  # it is known that nothing blocks it now
            self._begin(attempt)
            await sync_image(self._errand(attempt), self._meter(part), self._wires, _Hooks(self, attempt))
        except TagKept as error:
            attempt.settling = True
            await outcomes.kept(attempt, error)
        except LocalContentGone as gone:
            attempt.settling = True
            job = attempt.job  # the newest generation, where the same was pushed again meanwhile
            self.stop([key for key in self.attempts if key.job_id == job.id and key != attempt.key])
            await outcomes.gone(job, gone)
        except Exception as error:  # noqa: BLE001 - whatever it is becomes the part's state, in words and in the log
            attempt.settling = True
            await outcomes.failed(attempt, error)
        else:
            attempt.settling = True
            await outcomes.synced(attempt)

    def _begin(self, attempt: Attempt) -> None:
        part = attempt.part
        shown = self._queue.shown(attempt.job, part)
        looks = shown.state is JobState.BLOCKED and not part.asked
        with self._watched(attempt):
            part.look = Look(shown.reason, shown.needs_credentials) if looks else None
            part.move(JobState.QUEUED)
            part.move(JobState.PREPARING)
            part.tries += 1
            part.asked = part.away = part.uncounted = False
            part.arrived = frozenset()
            part.reason, part.next_attempt, part.needs_credentials, part.missing = "", None, False, ()
            if part.conflict is not None and not part.conflict.overwrite:
                part.conflict = None
            if part.meter is not None:
                part.bytes_sent += part.meter.snapshot().bytes_sent
            part.meter = ProgressMeter(self._queue.clock.monotonic)
            if part.started is not None:
                part.plan = None  # what was asked ahead, before the first try, stands until that knows better
            else:
                part.started = self._queue.clock.monotonic()
            if part.began is None or part.since is None:
                part.began, part.since = self._queue.clock.now(), part.started
        self._queue.events.publish(TryBegun(job_id=attempt.job.id, upstream=part.upstream, number=part.tries))

    async def _take_hints(self, upstream: str) -> None:
        """Before the first try after the start; the others wait for that as well."""
        if upstream not in self._hints:
            queue, found = self._queue, self._queue.routes.upstream(upstream)
            entries = queue.history.recent(HISTORY_KEPT)
            if found is None or not entries:
                return
            self._hints[upstream] = self._spawn(take_hints(entries, queue.store, found, self.known(upstream)))
        await asyncio.wait([self._hints[upstream]])

    def _meter(self, part: Part) -> ProgressMeter:
        if part.meter is None:
            raise RuntimeError("an attempt has a meter from its begin on")
        return part.meter

    def _errand(self, attempt: Attempt) -> Errand:
        job, upstream = attempt.job, self._queue.routes.upstream(attempt.key.upstream)
        if upstream is None:
            raise YarddeskError(
                f"{attempt.key.upstream} is not among the upstreams any more.", hint="Add it again, or cancel this."
            )
        if not self._queue.has_route(job, attempt.part):
            raise YarddeskError(no_route(upstream.name))
        way = Way(attempt.key, job.repository, self.known(attempt.key.upstream), lambda: attempt.job.priority)
        source = self._queue.store.repository(job.repository)
        destination = upstream.repository(job.repository)
        guard = self._guard(attempt, upstream)
        is_left = partial(self._queue.goes_by_itself, job.repository, attempt.key.upstream)
        return Errand(source, destination, job.reference, job.digest, way, guard, is_left)

    def _guard(self, attempt: Attempt, upstream: Upstream) -> TagGuard | None:
        queue, job = self._queue, attempt.job
        if not isinstance(job.reference, Tag):
            return None
        return TagGuard(
            queue.seen,
            upstream.place_of(job.repository),
            upstream.registry,
            job.reference,
            job.digest,
            attempt.part,
            policy=lambda: queue.on_conflict,
            save=lambda: queue.journal.save(attempt.job),
        )

    async def _is_still_moved(self, attempt: Attempt) -> bool:
        """Whether a tag that somebody else moved still keeps the image from going: one question, that changes nothing."""
        errand = self._errand(attempt)
        if errand.guard is None:
            return False
        try:
            there: Digest | None = (await errand.destination.resolve(errand.guard.tag)).digest
        except NotFound:
            return False
        except (YarddeskError, OSError) as error:
            _log.debug("whether %s can go on could not be told: %s", attempt.job.id, error)
            return True
        part = attempt.part
        return part.conflict is not None and there == part.conflict.there and errand.guard.holds_back(there)

    async def _has_come(self, attempt: Attempt) -> bool:
        """Whether one of the manifests that an index waits for is here by now, or all are upstream."""
        errand, missing = self._errand(attempt), attempt.part.missing
        for digest in missing:
            with suppress(NotFound):
                await errand.source.resolve(digest)
                return True
        try:
            for digest in missing:
                await errand.destination.resolve(digest)
        except (YarddeskError, OSError) as error:
            _log.debug("%s still waits for what it carries: %s", attempt.job.id, error)
            return False
        return True


def _take_back(meter: ProgressMeter) -> None:
    """What was halfway through when an attempt was ended doesn't count."""
    for layer in meter.snapshot().layers:
        if layer.state is LayerState.SENDING:
            meter.rewind(layer.digest)
