"""What a person can do: pause, resume, cancel, retry, move up. Each is durable before it takes effect."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Final

from yarddesk.content.errors import StorageError
from yarddesk.content.target import NotFound
from yarddesk.errors import YarddeskError
from yarddesk.events import JobMoved, PauseChanged
from yarddesk.oci.digest import Digest
from yarddesk.oci.name import RepositoryName, Tag, format_reference
from yarddesk.sync.errors import NothingToTry
from yarddesk.sync.keeping_back import kept_back
from yarddesk.sync.marker import Job, Part
from yarddesk.sync.pauses import EVERYTHING, Paused
from yarddesk.sync.queue import PUSH_FAILED, Queue
from yarddesk.sync.selection import is_upstream, names_one, paused_by, select
from yarddesk.sync.states import JobState
from yarddesk.sync.worker import Worker

_log = logging.getLogger(__name__)

_END_SECONDS: Final = 0.9
"""How long a person waits at most for transfers to end; they are no longer in the queue by then in any case."""


class Steering:
    """Implements SyncController's commands. `orphaned` is told of jobs that are about to be cancelled while others stay."""

    def __init__(self, queue: Queue, worker: Worker, orphaned: Callable[[Job], Awaitable[None]]) -> None:
        self._queue = queue
        self._worker = worker
        self._orphaned = orphaned

    async def pause(self, target: str | None = None, *, for_seconds: float | None = None) -> int:
        """Raises StorageError, and then nothing is paused."""
        queue = self._queue
        until = queue.clock.now() + timedelta(seconds=for_seconds) if for_seconds is not None else None
        selected = list(select(queue, target))
        paused = paused_by(queue, target)
        if paused is None:
            jobs = [job for each in selected if (job := await self._pause_job(each, True, until)) is not None]
            ending = self._rest(jobs)
        elif paused.repository is not None and not selected and not await self._is_here(paused.repository):
            return 0
        else:
            await queue.pauses.pause(paused, until)
            self.follow_pauses(paused)
            # What began while the pause was written is among them.
            ending = self._worker.rest_all(target) if paused.repository is None else self._rest(select(queue, target))
        queue.timer.set()
        await self._ended(ending)
        return len(selected) if paused in (None, EVERYTHING) else max(1, len(selected))

    async def resume(self, target: str | None = None) -> int:
        """None ends every pause that there is. Raises StorageError."""
        queue = self._queue
        selected = list(select(queue, target))
        paused = paused_by(queue, target)
        known = len(selected)
        if paused is not None:
            ended = [paused, *(Paused(repository=name) for name in queue.pauses.repositories if paused == EVERYTHING)]
            if (
                paused.upstream
                or paused.repository in queue.pauses.repositories
                or await self._is_here(paused.repository)
            ):
                known = max(1, known)
            await queue.pauses.resume(paused)
            for each in ended:
                self.follow_pauses(each)
        if paused is None or not paused.upstream:
            for job in selected:
                if job.paused:
                    await self._pause_job(job, False)
        self._worker.wake.set()
        return known

    def follow_pauses(self, changed: Paused) -> None:
        """Everything, an upstream or a repository is paused, or goes on: let the schedule and the observers know."""
        queue = self._queue
        queue.schedule.paused = queue.pauses.everything
        for upstream in queue.routes.all():
            queue.schedule.pause_upstream(upstream.name, upstream.name in queue.pauses.upstreams)
        if changed.repository is not None:
            for job in queue.journal.in_repository(changed.repository):
                self._follow_pause(job)
        queue.touch_world()
        paused = queue.pauses.holds(changed)
        queue.events.publish(PauseChanged(paused=paused, upstream=changed.upstream, repository=changed.repository))
        self._worker.wake.set()

    def _follow_pause(self, job: Job) -> None:
        queue = self._queue
        for part in job.open_parts:
            if queue.is_held(job):
                queue.schedule.drop(queue.key(job, part))
            else:
                queue.enqueue(job, part)

    def _rest(self, jobs: Iterable[Job]) -> list[asyncio.Task[None]]:
        queue = self._queue
        return self._worker.rest([queue.key(job, part) for job in jobs for part in job.parts.values()])

    async def _is_here(self, repository: RepositoryName | None) -> bool:
        if repository is None:
            return False
        try:
            await self._queue.store.tags(repository, limit=1)
        except NotFound:
            return False
        return True

    async def expire(self) -> None:
        """End the timed pauses whose time is over. Raises StorageError where one could not be ended; its end stays due."""
        queue = self._queue
        now = queue.clock.now()
        for ended in await queue.pauses.expire(now):
            self.follow_pauses(ended)
        failures = []
        for job_id in [job_id for job_id, until in queue.timed_jobs.items() if until <= now]:
            job = queue.journal.get(job_id)
            if job is None or not job.paused:
                queue.timed_jobs.pop(job_id, None)
                continue
            try:
                await self._pause_job(job, False)
            except StorageError as error:
                failures.append(error)
            self._worker.wake.set()
        if failures:
            raise failures[0]

    async def retry(self, target: str | None = None, *, only_waiting: bool = False) -> int:
        """Try now what waits, is blocked or failed; a shut gate is opened a little. `only_waiting`: not what needs a person.

        What is paused is tried as soon as it's resumed, and what the settings let go nowhere stays as it is. Neither is counted:
        NothingToTry where that is all that there is.
        """
        queue = self._queue
        now, moment = queue.clock.monotonic(), queue.clock.now()
        retried = {JobState.WAITING} if only_waiting else _RETRIED
        selected = select(queue, target)
        upstreams = {target} if target is not None and is_upstream(queue, target) else set()
        for job, parts in selected.items():
            for part in parts:
                if part.state.is_over or not queue.has_route(job, part):
                    continue
                if part.state in retried or self._is_held_up(part):
                    upstreams.add(part.upstream)
                    queue.requeue(job, part)
        for upstream in upstreams:
            queue.schedule.gate(upstream).ajar(now, moment)
        queue.touch_world()
        self._worker.wake.set()
        kept = kept_back(queue, selected)
        if kept.images and not kept.going and not only_waiting:
            raise NothingToTry(kept.images, kept.reasons(), kept.hint())
        return kept.going

    async def move_up(self, target: str) -> int:
        """Before all others; several keep their order among themselves. Raises StorageError: what was written by then is moved."""
        queue = self._queue
        selected = select(queue, target)
        priority = 1 + max((job.priority for job in queue.journal.jobs.values()), default=0)
        for job in selected:
            await self._move_up(job, priority)
        self._worker.wake.set()
        return len(selected)

    async def _move_up(self, job: Job, priority: int) -> None:
        queue, current = self._queue, self._queue.journal.get(job.id)
        while current is not None:
            await self._write_priority(current, priority)
            if queue.journal.is_current(current):
                for part in current.open_parts:
                    queue.schedule.reorder(queue.key(current, part), current.order)
                queue.touch(current)
                queue.events.publish(JobMoved(job_id=current.id))
                return
            current = queue.journal.get(job.id)  # a push brought a newer one meanwhile

    async def _write_priority(self, job: Job, priority: int) -> None:
        before, job.priority = job.priority, priority
        try:
            await self._queue.journal.save(job)
        except BaseException:
            job.priority = before
            raise

    async def cancel(self, target: str | None = None) -> int:
        """Out of the queue: the markers go first, then what is under way is ended. Raises StorageError."""
        queue = self._queue
        whole: list[Job] = []
        partly: list[tuple[Job, Part]] = []
        for job, parts in select(queue, target).items():
            left = [part for part in job.open_parts if part not in parts]
            if left:
                partly += [(job, part) for part in parts if not part.state.is_over]
            else:
                whole.append(job)
        cancelled = await self.cancel_jobs(whole, "Cancelled.", alone=names_one(queue, target))
        for job, part in partly:
            await self._cancel_part(job, part)
        return cancelled + len({job for job, _ in partly})

    async def cancel_jobs(self, jobs: list[Job], reason: str, *, alone: bool = True) -> int:
        """Whole jobs; how many there still were. Not `alone`: also what they take along. Raises StorageError."""
        for job in jobs if alone else ():
            await self._orphaned(job)
        gone = await self._queue.journal.remove_many(jobs) if jobs else []
        await self._cancelled(gone, reason)
        return len(gone)

    async def deleted_by_hand(self, jobs: list[Job]) -> None:
        """Their markers were deleted in the folder, and they left the index."""
        for job in jobs:
            _log.info("%s is cancelled: its marker was deleted", job.id)
        await self._cancelled(jobs, "Its file in the queue's folder was deleted.")
        for job in jobs:
            await self._orphaned(job)

    async def tag_deleted(self, repository: RepositoryName, tag: Tag) -> None:
        """Nothing is deleted upstream."""
        job = self._queue.journal.get(format_reference(repository, tag))
        await self.cancel_jobs([job] if job is not None else [], "The tag was deleted here.")

    async def manifest_deleted(self, repository: RepositoryName, digest: Digest) -> None:
        """Also the jobs of tags that named it, of which an earlier try to delete it may have taken some."""
        jobs = self._queue.journal.of_digest(repository, digest)
        await self.cancel_jobs(jobs, "The image was deleted here.")

    async def withdraw(self, jobs: list[Job]) -> None:
        """Jobs of a push that failed: nobody was promised anything."""
        try:
            await self.cancel_jobs(jobs, PUSH_FAILED)
        except YarddeskError as error:
            _log.error("images whose push failed are queued still: %s", error)

    async def _cancelled(self, jobs: list[Job], reason: str) -> None:
        queue = self._queue
        entries = []
        ending: list[asyncio.Task[None]] = []
        for job in jobs:
            entries += [queue.entry(job, part, JobState.CANCELLED, reason) for part in job.open_parts]
            keys = [queue.key(job, part) for part in job.parts.values()]
            with queue.changing(job):
                for part in job.open_parts:
                    part.move(JobState.CANCELLING if part.state.is_active else JobState.CANCELLED)
            ending += self._worker.stop(keys)
        queue.ended(*entries)
        await self._ended(ending)
        for job in jobs:
            with queue.changing(job):
                for part in job.open_parts:
                    part.move(JobState.CANCELLED)
            queue.left(job, "cancelled")
        await queue.history.write()

    async def end_part(self, job: Job, part: Part, reason: str) -> None:
        """One upstream's part is cancelled for this reason, and the job with it if it was the last. Raises StorageError."""
        await self._orphaned(job)
        await self._cancel_part(job, part, reason)

    async def _cancel_part(self, job: Job, part: Part, reason: str = "Cancelled.") -> None:
        queue = self._queue
        if part.state.is_over or not queue.journal.is_current(job):
            return  # it arrived, or was pushed again, while the parts before it were cancelled
        entry = queue.entry(job, part, JobState.CANCELLED, reason)
        with queue.changing(job, [part]):
            part.move(JobState.CANCELLING if part.state.is_active else JobState.CANCELLED)
        queue.schedule.drop(queue.key(job, part))
        await self._ended(self._worker.stop([queue.key(job, part)]))
        if part.state is JobState.CANCELLING:
            with queue.changing(job, [part]):
                part.move(JobState.CANCELLED)
        try:
            await queue.out_or_saved(job)
        except StorageError:
            queue.requeue(job, part)  # what isn't written isn't so
            raise
        queue.ended(entry)
        await queue.history.write()
        queue.changes += 1

    async def _pause_job(self, job: Job, paused: bool, until: datetime | None = None) -> Job | None:
        """Pause or resume an image; the job that it was done to (a push may bring a newer one meanwhile), None where it left."""
        queue, current = self._queue, self._queue.journal.get(job.id)
        while current is not None:
            shown = {name: queue.shown(current, part).state for name, part in current.parts.items()}
            await self._write_pause(current, paused, until)
            if queue.journal.is_current(current):
                self._paused(current, shown)
                return current
            current = queue.journal.get(job.id)
        return None

    async def _write_pause(self, job: Job, paused: bool, until: datetime | None) -> None:
        before = (job.paused, job.paused_until)
        job.paused, job.paused_until = paused, until
        try:
            await self._queue.journal.save(job)
        except BaseException:
            job.paused, job.paused_until = before
            raise

    def _paused(self, job: Job, shown: Mapping[str, JobState]) -> None:
        """It's written: let the schedule and the observers know."""
        queue = self._queue
        queue.timed_jobs.pop(job.id, None)
        if job.paused_until is not None:
            queue.timed_jobs[job.id] = job.paused_until
        queue.touch(job)
        queue.events.publish(PauseChanged(paused=job.paused, job_id=job.id))
        for name, part in job.parts.items():
            old, new = shown.get(name), queue.shown(job, part)
            if old is not None and new.state is not old:
                queue.tell(job, part, old, new)
            if job.paused:
                queue.schedule.drop(queue.key(job, part))
            elif not part.state.is_over:
                queue.enqueue(job, part)

    def _is_held_up(self, part: Part) -> bool:
        return part.state is JobState.QUEUED and not self._queue.schedule.gate(part.upstream).is_open

    async def _ended(self, tasks: list[asyncio.Task[None]]) -> None:
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=_END_SECONDS)
            if late:
                _log.warning("%d transfers take longer to end than they should", len(late))


_RETRIED: Final = frozenset({JobState.WAITING, JobState.BLOCKED, JobState.FAILED})
