"""How the queue is taken up at the start: from its markers, and from what is here of their images."""

import asyncio
import logging
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from yarddesk.content.target import Damaged, NotFound
from yarddesk.errors import YarddeskError
from yarddesk.events import MarkerSetAside
from yarddesk.oci import media_types
from yarddesk.oci.descriptor import Descriptor
from yarddesk.oci.digest import Digest
from yarddesk.oci.name import Reference, RepositoryName, format_reference
from yarddesk.sync.intake import Intake
from yarddesk.sync.marker import ALSO_WANTED, Job, Marker, Part, job_of
from yarddesk.sync.queue import Queue, seconds_from
from yarddesk.sync.rerouting import reroute
from yarddesk.sync.schedule import FIRST_BACKOFF_SECONDS, LONGEST_BACKOFF_SECONDS
from yarddesk.sync.states import JobState
from yarddesk.sync.verdicts import in_words
from yarddesk.sync.worker import Worker

_log = logging.getLogger(__name__)

_AT_ONCE: Final = 16


class Startup:
    """Reads the queue back."""

    def __init__(self, queue: Queue, worker: Worker, intake: Intake) -> None:
        self._queue = queue
        self._worker = worker
        self._intake = intake

    async def load(self) -> None:
        """Take up the queue as the markers have it, put right what a crash left between marker and tag, and go on."""
        queue = self._queue
        markers = await queue.journal.read(queue.clock.now)
        for aside in queue.journal.set_aside:
            queue.events.publish(MarkerSetAside(file=aside.file, reason=aside.reason))
        found = await self._found(markers)
        jobs, gone = [], []
        for marker, content in zip(markers, found, strict=True):
            if content is None:
                gone.append(marker)
            elif (job := await self._take_up(marker, content)) is not None:
                jobs.append(job)
        for job in jobs:
            if job.carries:
                queue.carry(job, job.carries)
                await self._intake.supersede(job)
            elif job.media_type in media_types.INDEXES:
                await self._carry_again(job)
        for job in jobs:
            if job.extra.get(ALSO_WANTED):
                await self._intake.orphaned(job, goes_on=True)
                await self._intake.let_go(job)
        for marker in gone:
            await self._gone(marker)
        for job in jobs:
            if queue.journal.is_current(job):
                for part in job.open_parts:
                    if part.state is not JobState.BLOCKED or part.missing or part.asks:
                        queue.enqueue(job, part)

    async def _found(self, markers: Sequence[Marker]) -> list[Descriptor | Exception | None]:
        """What the markers are about now, in their order. Of most a look at names tells that it's what they say."""
        by_repository: dict[RepositoryName, list[Marker]] = {}
        for marker in markers:
            by_repository.setdefault(marker.repository, []).append(marker)
        turns = asyncio.Semaphore(_AT_ONCE)
        found: dict[int, Descriptor | Exception | None] = {}

        async def look(repository: RepositoryName, those: Sequence[Marker]) -> None:
            async with turns:
                named = await self._glance(repository, [marker.reference for marker in those])
            for marker, digest in zip(those, named, strict=True):
                if digest is not None and digest == marker.digest and marker.media_type:
                    found[id(marker)] = Descriptor(marker.media_type, digest, 0, manifest=True)

        async def look_closely(marker: Marker) -> None:
            async with turns:
                try:
                    found[id(marker)] = await self._content_of(marker)
                except Exception as error:  # noqa: BLE001 - logged later; one image's trouble must not keep us from starting
                    found[id(marker)] = error

        await asyncio.gather(*(look(repository, those) for repository, those in by_repository.items()))
        await asyncio.gather(*(look_closely(marker) for marker in markers if id(marker) not in found))
        return [found[id(marker)] for marker in markers]

    async def _glance(self, repository: RepositoryName, references: Sequence[Reference]) -> Sequence[Digest | None]:
        try:
            return await self._queue.store.glance(repository, references)
        except (YarddeskError, OSError) as error:
            _log.warning("%s is looked at image by image: %s", repository, error)
            return [None] * len(references)

    async def _take_up(self, marker: Marker, content: Descriptor | Exception) -> Job | None:
        """The job for a marker and what was found of its image."""
        if not isinstance(content, Exception):
            return await self._adopt(marker, content)
        name = format_reference(marker.repository, marker.reference)
        if marker.digest is None:
            _log.error("%s can't be read; its marker is looked at with the next start", name, exc_info=content)
            return None
        _log.error("%s can't be read, and is tried again later", name, exc_info=content)
        job = await self._adopt(marker, Descriptor(marker.media_type, marker.digest, 0, manifest=True))
        for part in job.open_parts:
            if part.state is JobState.QUEUED:
                part.move(JobState.WAITING)
                part.reason = in_words(content)
                part.next_attempt = seconds_from(self._queue.clock.now(), FIRST_BACKOFF_SECONDS)
        return job

    async def _content_of(self, marker: Marker) -> Descriptor | None:
        """What the marker is about now: what the tag names, else the marker's digest; None where neither is here.

        Raises Damaged where it was here: nobody has deleted it.
        """
        references = [marker.reference, *([marker.digest] if marker.digest else [])]
        damaged: Damaged | None = None
        for reference in references:
            try:
                return await self._queue.store.resolve(marker.repository, reference)
            except Damaged as error:
                damaged = error
            except NotFound:
                continue
        if damaged is not None:
            raise damaged
        return None

    async def _gone(self, marker: Marker) -> None:
        queue = self._queue
        words = "The image was deleted here before it was synced."
        _log.warning("%s leaves the queue: %s", format_reference(marker.repository, marker.reference), words)
        ended = marker.digest and job_of(marker, marker.digest, "", marker.upstreams or {}, marker.generation)
        if ended:
            await self._intake.orphaned(ended)
        try:
            await queue.journal.discard(marker)
        except YarddeskError as error:
            _log.error("its marker could not be removed: %s", error)
            return
        if ended:
            queue.ended(*(queue.entry(ended, part, JobState.CANCELLED, words) for part in ended.open_parts))
            await queue.history.write()

    async def _adopt(self, marker: Marker, content: Descriptor) -> Job:
        queue = self._queue
        route = queue.upstreams_of(marker.repository, marker.reference)
        same = marker.digest in (content.digest, None)
        if same and marker.upstreams is not None:
            parts = dict(marker.upstreams)
        else:
            parts = {name: Part(name, tries=marker.tries) for name in route or marker.upstreams or ()}
        generation = marker.generation if same else marker.generation + 1
        job = job_of(marker, content.digest, content.media_type, parts, generation)
        if job.paused_until is not None and job.paused_until <= queue.clock.now():
            job.paused, job.paused_until = False, None
        elif job.paused_until is not None:
            queue.timed_jobs[job.id] = job.paused_until
        queue.journal.adopt(job)
        rerouted = reroute(queue, self._worker, job)
        for part in job.open_parts:
            self._freshen(part, rerouted)
        if rerouted or not same or marker.upstreams is None:
            try:
                await queue.journal.write(job)
            except YarddeskError as error:
                # What the marker says is still true enough to come to the same after the next start.
                _log.error("the marker of %s could not be written: %s", job.id, error)
        return job

    def _freshen(self, part: Part, rerouted: bool) -> None:
        """What was true before the restart may not be any more: no wait is longer than a back-off, what was blocked is tried."""
        clock = self._queue.clock
        if part.began is not None:
            part.since = clock.monotonic() - max(0.0, (clock.now() - part.began).total_seconds())
        latest = clock.now() + timedelta(seconds=LONGEST_BACKOFF_SECONDS)
        if part.next_attempt is not None:
            part.next_attempt = min(part.next_attempt, latest)
        stays = part.missing or part.asks
        if part.state is JobState.BLOCKED and not stays and self._queue.routes.upstream(part.upstream):
            part.move(JobState.QUEUED)
            part.reason, part.needs_credentials = "", False

    async def _carry_again(self, job: Job) -> None:
        queue = self._queue
        try:
            manifest = await queue.store.get_manifest(job.repository, job.digest)
            carried = await self._intake.carried(job.repository, manifest)
        except (YarddeskError, OSError) as error:
            # Its attempt will meet the same error, and make it the job's reason.
            _log.warning("%s can't be read yet: %s", job.id, error)
            return
        queue.carry(job, carried)
        await self._intake.supersede(job)
