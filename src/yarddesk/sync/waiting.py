"""`yarddesk wait`: whether, and when, an image is upstream."""

import asyncio
import logging
from dataclasses import dataclass, field

from yarddesk.content.target import NotFound
from yarddesk.content.upstream import Upstream, UpstreamFailure, place_at
from yarddesk.errors import YarddeskError
from yarddesk.events import JobAdded, JobRemoved, JobStateChanged, UpstreamStateChanged
from yarddesk.oci.digest import Digest
from yarddesk.oci.name import ImageReference, Reference, RepositoryName, format_reference
from yarddesk.sync.marker import Job
from yarddesk.sync.queue import Queue
from yarddesk.sync.selection import is_meant, is_upstream, select
from yarddesk.sync.snapshot import HistoryEntry
from yarddesk.sync.states import JobState

_log = logging.getLogger(__name__)

_HOPELESS = frozenset({JobState.BLOCKED, JobState.FAILED, JobState.CANCELLED})


@dataclass(frozen=True, slots=True)
class SyncOutcome:
    """Whether it's upstream at all its push upstreams; if not, `reason` says what of which image keeps it."""

    synced: bool
    reason: str = ""


@dataclass(slots=True)
class _News:
    """What was heard since the last look: a queue may be long, so only the jobs that events name are looked at."""

    changed: asyncio.Event = field(default_factory=asyncio.Event)
    everything: bool = True
    touched: set[str] = field(default_factory=set)
    removed: list[tuple[str, str]] = field(default_factory=list)

    def heard(self, event: JobAdded | JobRemoved | JobStateChanged | UpstreamStateChanged) -> None:
        if isinstance(event, UpstreamStateChanged):
            self.everything = True
        else:
            self.touched.add(event.job_id)
        if isinstance(event, JobRemoved):
            self.removed.append((event.job_id, event.outcome))
        self.changed.set()

    def take(self) -> tuple[bool, set[str], list[tuple[str, str]]]:
        """Whether all is to be looked at, the jobs that changed, and those that left and how."""
        taken = self.everything, self.touched, self.removed
        self.everything, self.touched, self.removed = False, set(), []
        self.changed.clear()
        return taken


class Waiting:
    """Answers from what is queued, from the history, and where that doesn't tell from the upstreams themselves."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue

    async def wait_synced(self, target: str | None) -> SyncOutcome:
        """Return when it's decided; goes on waiting while it's paused or an upstream is away. Cancel it to stop waiting."""
        news = _News()
        with self._queue.events.subscribe(news.heard, JobAdded, JobRemoved, JobStateChanged, UpstreamStateChanged):
            waited: set[str] = set()
            left: set[str] = set()
            while True:
                everything, touched, removed = news.take()
                for job_id, outcome in removed:
                    if job_id in waited and outcome in ("cancelled", "gone"):
                        return SyncOutcome(False, f"{job_id}: {_words(outcome)}")
                if everything:
                    jobs = self._queued(target)
                    left = {job.id for job in jobs}
                else:
                    jobs = self._meant(target, touched, left)
                    left.difference_update(job_id for job_id in touched if self._queue.journal.get(job_id) is None)
                    left.update(job.id for job in jobs)
                if not left:
                    # What waits now may be another one: an index that took a platform's manifest along, say.
                    jobs = self._queued(target)
                    left.update(job.id for job in jobs)
                waited |= left
                hopeless = self._hopeless(jobs)
                if hopeless is not None:
                    return await self._arrived_before(target, jobs) or hopeless
                if not left:
                    return SyncOutcome(True) if target is None else await self._not_queued(target)
                await news.changed.wait()

    def _meant(self, target: str | None, job_ids: set[str], left: set[str]) -> list[Job]:
        """Those of the jobs that are queued and waited for."""
        jobs = [job for job_id in job_ids if (job := self._queue.journal.get(job_id)) is not None]
        return [job for job in jobs if job.id in left or is_meant(self._queue, target, job)]

    def _queued(self, target: str | None) -> list[Job]:
        jobs = list(select(self._queue, target))
        image = _image(target)
        if not jobs and image is not None and isinstance(image.reference, Digest):
            # A platform's manifest travels with the index that carries it.
            return self._queue.carriers(self._queue.routes.canonical(image.repository), image.reference)
        return jobs

    def _hopeless(self, jobs: list[Job]) -> SyncOutcome | None:
        for job in jobs:
            for part in job.parts.values():
                shown = self._queue.shown(job, part)
                if shown.state in _HOPELESS:
                    words = shown.reason or _words(str(shown.state))
                    return SyncOutcome(False, f"{job.id} to {part.upstream}: {words}")
        return None

    async def _arrived_before(self, target: str | None, jobs: list[Job]) -> SyncOutcome | None:
        """Where it's a platform's manifest that is waited for, and its index that can't go on: it may be there by itself."""
        image = _image(target)
        if target is None or image is None or not isinstance(image.reference, Digest):
            return None
        if any(job.reference == image.reference for job in jobs):
            return None
        outcome = await self._not_queued(target)
        return outcome if outcome.synced else None

    async def _not_queued(self, target: str) -> SyncOutcome:
        if is_upstream(self._queue, target):
            return SyncOutcome(True)
        image = _image(target)
        if image is None:
            return SyncOutcome(False, f"“{target}” is neither an image nor an upstream.")
        repository = self._queue.routes.canonical(image.repository)
        references: list[Reference] = []
        if image.reference is not None:
            references.append(image.reference)
        else:
            try:
                references += await self._queue.store.tags(repository)
            except NotFound:
                # It may have gone to make room, once it was upstream.
                references += self._queue.history.synced_of(repository)
                if not references:
                    return SyncOutcome(False, f"{repository} is not here.")
        for reference in references:
            outcome = await self._settled(repository, reference)
            if not outcome.synced:
                return outcome
        return SyncOutcome(True) if references else SyncOutcome(False, f"{repository} has no tags here.")

    async def _settled(self, repository: RepositoryName, reference: Reference) -> SyncOutcome:
        name = format_reference(repository, reference)
        try:
            digest: Digest | None = (await self._queue.store.resolve(repository, reference)).digest
        except NotFound:
            digest = None
        wanted = set(self._queue.upstreams_of(repository, reference))
        upstreams = [each for each in self._queue.routes.push_upstreams(repository) if each.name in wanted]
        if digest is None:
            if upstreams and all(self._was_synced(repository, reference, upstream) for upstream in upstreams):
                return SyncOutcome(True)
            return SyncOutcome(False, f"{name} is not here.")
        if not upstreams:
            return SyncOutcome(False, f"{name} has no push upstream: it stays here.")
        for upstream in upstreams:
            outcome = await self._is_there(upstream, repository, reference, digest)
            if not outcome.synced:
                return outcome
        return SyncOutcome(True)

    def _was_synced(self, repository: RepositoryName, reference: Reference, upstream: Upstream) -> bool:
        """Whether that is the last that is known of it: what is upstream may have gone here, to make room."""
        latest = self._latest(repository, reference, upstream)
        return latest is not None and latest.outcome is JobState.DONE

    def _latest(self, repository: RepositoryName, reference: Reference, upstream: Upstream) -> HistoryEntry | None:
        place = place_at(upstream, repository)
        return self._queue.history.latest(repository, reference, upstream.name, place)

    async def _is_there(
        self, upstream: Upstream, repository: RepositoryName, reference: Reference, digest: Digest
    ) -> SyncOutcome:
        latest = self._latest(repository, reference, upstream)
        name = format_reference(repository, reference)
        if latest is not None and latest.digest == digest:
            if latest.outcome is JobState.DONE:
                return SyncOutcome(True)
            return SyncOutcome(False, f"{name} to {upstream.name}: {latest.reason or _words(str(latest.outcome))}")
        try:
            there = (await upstream.repository(repository).resolve(reference)).digest
        except NotFound:
            return SyncOutcome(False, f"{name} was never synced to {upstream.name}.")
        except (UpstreamFailure, YarddeskError) as error:
            return SyncOutcome(False, f"{name} is not in the queue, and {upstream.name} can't be asked: {error.title}")
        if there == digest:
            return SyncOutcome(True)
        return SyncOutcome(False, f"{name} names another image at {upstream.name}, and is not in the queue.")


def _image(target: str | None) -> ImageReference | None:
    try:
        return ImageReference.parse(target) if target is not None else None
    except YarddeskError:
        return None


def _words(outcome: str) -> str:
    return {"cancelled": "it was cancelled.", "gone": "it was deleted here."}.get(outcome, f"it is {outcome}.")
