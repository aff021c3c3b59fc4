"""How images get into the queue by a push, and what of it an index takes along."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

from yarddesk.content.graph import descendants
from yarddesk.content.listener import ManifestPush
from yarddesk.content.target import NotFound
from yarddesk.errors import YarddeskError
from yarddesk.events import JobAdded
from yarddesk.oci.digest import Digest
from yarddesk.oci.manifest import Manifest
from yarddesk.oci.name import Reference, RepositoryName, Tag, format_reference
from yarddesk.sync.conflicts import shown
from yarddesk.sync.marker import ALSO_WANTED, Job
from yarddesk.sync.queue import PUSH_FAILED, Queue
from yarddesk.sync.schedule import PartKey
from yarddesk.sync.states import JobState
from yarddesk.sync.transfers import Transfers
from yarddesk.sync.worker import Worker

_log = logging.getLogger(__name__)

_ENDED_BADLY: Final = frozenset({JobState.CANCELLING, JobState.CANCELLED, JobState.FAILED})
_MOST_KEPT: Final = 1000


class Intake:
    """Implements PushListener's manifest_pushed and push_done."""

    def __init__(self, queue: Queue, worker: Worker, transfers: Transfers) -> None:
        self._queue = queue
        self._worker = worker
        self._transfers = transfers

    async def manifest_pushed(self, push: ManifestPush) -> None:
        """Queue it for each push upstream of its route, durably. Raises StorageError, which fails the push."""
        queue = self._queue
        manifest = push.manifest
        if not push.tags:
            carriers = queue.carriers(push.repository, manifest.digest)
            self._arrived(carriers, manifest.digest)
            taken_along = {name for job in carriers for name in _goes_to(job)}
            wanted_by = queue.upstreams_of(push.repository, manifest.digest)
            if carriers and taken_along.issuperset(wanted_by) and await self._promised(carriers, manifest.digest):
                return
        wanted = [
            (reference, upstreams)
            for reference in (push.tags or (manifest.digest,))
            if (upstreams := queue.upstreams_of(push.repository, reference))
        ]
        if not wanted:
            return
        carried = await self.carried(push.repository, manifest)
        await asyncio.gather(
            *(self._put(push.repository, reference, manifest, upstreams, carried) for reference, upstreams in wanted)
        )
        self._worker.wake.set()

    async def queue_as(
        self, repository: RepositoryName, tag: Tag, manifest: Manifest, upstreams: Sequence[str]
    ) -> None:
        """Queue an image that is here under another tag, for these upstreams beside those that it's queued for. Raises StorageError."""
        queued = self._queue.journal.get(format_reference(repository, tag))
        already = [part.upstream for part in queued.open_parts] if queued is not None else []
        carried = await self.carried(repository, manifest)
        await self._put(repository, tag, manifest, list(dict.fromkeys([*already, *upstreams])), carried)
        self._worker.wake.set()

    async def push_done(self, push: ManifestPush) -> None:
        """Only now, when its tag names it, an index may take the place of its children in the queue."""
        for reference in push.tags or (push.manifest.digest,):
            job = self._queue.journal.get(format_reference(push.repository, reference))
            if job is None or job.digest != push.manifest.digest:
                continue
            try:
                await self.supersede(job)
            except YarddeskError as error:
                _log.error("what %s takes along stays queued by itself, too: %s", job.id, error)
        self._worker.wake.set()

    async def put_back(self, push: ManifestPush) -> list[Job]:
        """A push failed after its jobs were queued: have in the queue what the tags name. Gives the jobs that are to go."""
        queue, going = self._queue, []
        for tag in push.tags:
            job = queue.journal.get(format_reference(push.repository, tag))
            if job is None or job.digest != push.manifest.digest:
                continue
            try:
                named = await self._named(push.repository, tag)
                if named == job.digest:
                    continue
                if named is None or job.replaces is None:
                    going.append(job)
                else:
                    manifest = await queue.store.get_manifest(push.repository, named)
                    carried = await self.carried(push.repository, manifest)
                    await self._put(
                        push.repository, tag, manifest, list(job.parts), carried, written=False, gone=PUSH_FAILED
                    )
            except (YarddeskError, OSError) as error:
                _log.error(
                    "%s is queued as %s until the next start, though that push failed: %s", job.id, job.digest, error
                )
        self._worker.wake.set()
        return going

    async def _named(self, repository: RepositoryName, reference: Reference) -> Digest | None:
        try:
            return (await self._queue.store.resolve(repository, reference)).digest
        except NotFound:
            return None

    async def _promised(self, carriers: Sequence[Job], digest: Digest) -> bool:
        """Note in the indexes' markers that the manifest is wanted by itself too; False where they left meanwhile."""
        for job in carriers:
            wanted = job.extra.setdefault(ALSO_WANTED, [])
            if digest not in wanted:
                wanted.append(str(digest))
        written = [await self._queue.journal.save(job) for job in carriers]
        return any(written) and all(self._queue.journal.is_current(job) for job in carriers)

    async def orphaned(self, index: Job, *, goes_on: bool = False) -> None:
        """An index is about to leave before it was synced: what it took along and is wanted by itself gets jobs of its own.

        Called before its marker goes, so that no moment is without either. `goes_on`: it stays, with what it still takes along.
        """
        queue, repository = self._queue, index.repository
        stays = queue.carries.get(index.id, frozenset()) if goes_on else frozenset()
        for text in [text for text in index.extra.get(ALSO_WANTED, ()) if text not in stays]:
            try:
                digest = Digest.parse(text)
                upstreams = queue.upstreams_of(repository, digest)
                if not upstreams or queue.journal.get(f"{repository}@{digest}"):
                    continue
                others = [job for job in queue.carriers(repository, digest) if job is not index]
                if others and await self._promised(others, digest):
                    continue
                manifest = await queue.store.get_manifest(repository, digest)
                carried = await self.carried(repository, manifest)
                await self.supersede(await self._put(repository, digest, manifest, upstreams, carried))
            except NotFound:
                continue  # it was deleted here
            except (YarddeskError, OSError) as error:
                _log.error("%s of %s could not be queued by itself: %s", text, index.id, error)
        self._worker.wake.set()

    async def let_go(self, job: Job) -> None:
        """What an earlier content of its tag took along, and this one doesn't, was seen to: its marker need not say so any more."""
        wanted = job.extra.get(ALSO_WANTED, [])
        carries = self._queue.carries.get(job.id, frozenset())
        if all(text in carries for text in wanted):
            return
        job.extra[ALSO_WANTED] = [text for text in wanted if text in carries]
        try:
            await self._queue.journal.save(job)
        except YarddeskError as error:
            _log.error("the marker of %s could not be written: %s", job.id, error)  # the next start sees to it again

    async def carried(self, repository: RepositoryName, manifest: Manifest) -> set[Digest]:
        """The manifests that it takes along: those below an index."""
        if not manifest.manifests:
            return set()
        return await descendants(self._queue.store.repository(repository), manifest)

    async def _put(
        self,
        repository: RepositoryName,
        reference: Reference,
        manifest: Manifest,
        upstreams: Sequence[str],
        carried: set[Digest],
        *,
        written: bool = True,
        gone: str = "",
    ) -> Job:
        """`gone`: what the history says of what was queued before, where it's not that a newer push took its place."""
        queue = self._queue
        job, old = await queue.journal.put(
            repository,
            reference,
            manifest.digest,
            manifest.media_type,
            upstreams,
            queue.clock.now(),
            subject=manifest.subject.digest if manifest.subject else None,
            carries=_kept(manifest),
            written=written,
        )
        queue.carry(job, carried)
        if old is None:
            queue.events.publish(JobAdded(job_id=job.id))
        elif old.digest == job.digest:
            self._worker.carry_on(job)
        queue.touch(job)
        for part in job.parts.values():
            if not self._worker.is_trying(queue.key(job, part), part):
                queue.enqueue(job, part)
        if old is not None:
            await self._replace(old, job, gone or f"A newer push of this tag took its place: {shown(job.digest)}.")
        return job

    async def _replace(self, old: Job, job: Job, words: str) -> None:
        """The same reference is queued anew: what other content it had not brought to its upstreams is dropped, and said so."""
        queue = self._queue
        for name in old.parts.keys() - job.parts.keys():
            queue.schedule.drop(PartKey(job.id, name))
            self._worker.stop([PartKey(job.id, name)])
        for name, part in job.parts.items():
            before, now = old.parts.get(name), queue.shown(job, part)
            if before is not None and before is not part and (state := queue.shown(old, before).state) is not now.state:
                queue.tell(job, part, state, now)
        if old.digest != job.digest:
            self._worker.replaced(job)
            # Of what is being cancelled whoever does it says so.
            dropped = [part for part in old.open_parts if part.state is not JobState.CANCELLING]
            queue.ended(*(queue.entry(old, part, JobState.CANCELLED, words) for part in dropped))
            await queue.history.write()
            await self.orphaned(old)
            await self.let_go(job)

    async def supersede(self, index: Job) -> None:
        """Children that were queued by digest go on as part of their index's job, with what they are sending right now."""
        queue = self._queue
        carried = queue.carries.get(index.id, frozenset())
        children = [
            job
            for digest in carried
            if (job := queue.journal.get(f"{index.repository}@{digest}")) is not None
            and job is not index
            and _goes_to(index) >= {part.upstream for part in job.open_parts}
        ]
        for child in await queue.journal.remove_many(children) if children else ():
            for name in child.parts:
                key, heir = PartKey(child.id, name), PartKey(index.id, name)
                goes_on = name in index.parts and not queue.is_paused(index, index.parts[name])
                if goes_on:
                    self._transfers.hand_over(key, heir)
                self._worker.stop([key], keep_transfers=goes_on)
            queue.left(child, "superseded")

    def _arrived(self, carriers: Sequence[Job], digest: Digest) -> None:
        """A manifest that queued indexes may be waiting for is here."""
        for job in carriers:
            for part in job.parts.values():
                if part.state.is_active:
                    part.arrived |= {digest}
                elif digest in part.missing and part.state is JobState.BLOCKED:
                    self._queue.requeue(job, part)
        self._worker.wake.set()

    def stored(self, repository: RepositoryName, digest: Digest) -> None:
        """A manifest came in by whatever way."""
        carriers = self._queue.carriers(repository, digest)
        if carriers:
            self._arrived(carriers, digest)


def _goes_to(index: Job) -> set[str]:
    """The upstreams that it takes along to what it carries, or has taken."""
    return {name for name, part in index.parts.items() if part.state not in _ENDED_BADLY}


def _kept(manifest: Manifest) -> tuple[Digest, ...]:
    """What its marker says that an index carries, so that a start need not read it; none where that isn't all of it, or is much."""
    children = manifest.manifests
    if len(children) > _MOST_KEPT or any(child.is_index for child in children):
        return ()
    return tuple(child.digest for child in children)
