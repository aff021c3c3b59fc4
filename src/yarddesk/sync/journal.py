"""The queue on disk: a marker file per image in DATA/pending, and the index of them in memory.

Whatever the index says is on disk before it's said, and every change of one marker waits for the one before it. Nothing here
looks at more than one marker for a push.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar, TypeVarTuple, Unpack

from yarddesk.content.errors import StorageError
from yarddesk.oci.digest import Digest
from yarddesk.oci.name import Reference, RepositoryName, format_reference
from yarddesk.storage import durable
from yarddesk.storage.layout import decode_reference, decode_repository, encode_repository
from yarddesk.storage.state_files import remove_files
from yarddesk.storage.tree import Tree
from yarddesk.sync.marker import ALSO_WANTED, Job, Marker, Part, encode_marker
from yarddesk.sync.marker_files import (
    SUFFIX,
    QuietFolders,
    is_there,
    marker_names,
    marker_path,
    place_marker,
    read_markers,
    rewrite_marker,
    take_back_marker,
)
from yarddesk.sync.snapshot import SetAsideMarker

_log = logging.getLogger(__name__)

_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")


@dataclass(slots=True)
class _Turn:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    users: int = 0


class Journal:
    """Jobs by id (`REPOSITORY:TAG` or `REPOSITORY@DIGEST`). One journal a folder; used from one loop."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._tree = Tree(str(folder.parent))
        self._jobs: dict[str, Job] = {}
        self._by_repository: dict[RepositoryName, dict[str, None]] = {}
        self._folders: dict[Path, RepositoryName] = {}
        self._by_digest: dict[tuple[RepositoryName, Digest], dict[str, None]] = {}
        self._turns: dict[str, _Turn] = {}
        self.set_aside: tuple[SetAsideMarker, ...] = ()
        self._quiet = QuietFolders()
        self._sequence = 0
        self._fresh: list[Job] = []
        self._writes: set[asyncio.Task[Any]] = set()
        self._threads = ThreadPoolExecutor(4, thread_name_prefix="journal")

    @property
    def jobs(self) -> Mapping[str, Job]:
        return MappingProxyType(self._jobs)

    def get(self, job_id: str) -> Job | None:
        return self._jobs.get(job_id)

    def is_current(self, job: Job) -> bool:
        """Whether this generation is the one in the queue."""
        return self._jobs.get(job.id) is job

    def in_repository(self, repository: RepositoryName) -> list[Job]:
        return [self._jobs[job_id] for job_id in self._by_repository.get(repository, ())]

    def of_digest(self, repository: RepositoryName, digest: Digest) -> list[Job]:
        """Those of one manifest, under whatever tags and by its digest."""
        return [self._jobs[job_id] for job_id in self._by_digest.get((repository, digest), ())]

    def path_of(self, repository: RepositoryName, reference: Reference) -> Path:
        return marker_path(self.folder, repository, reference)

    async def read(self, now: Callable[[], datetime]) -> list[Marker]:
        """Every marker in the folder, oldest first; damaged ones are set aside beside their place, and listed in `set_aside`.

        Leftovers of writes that a crash cut off are removed. For the start: it knows nothing of what is being written.
        """
        markers, aside = await self._in_thread(read_markers, self._tree, self.folder, now())
        self.set_aside = tuple(aside)
        return markers

    def adopt(self, job: Job) -> None:
        """Take a job that a marker named into the index; writes nothing."""
        self._enter(job)

    async def put(
        self,
        repository: RepositoryName,
        reference: Reference,
        digest: Digest,
        media_type: str,
        upstreams: Iterable[str],
        now: datetime,
        *,
        subject: Digest | None = None,
        carries: tuple[Digest, ...] = (),
        written: bool = True,
    ) -> tuple[Job, Job | None]:
        """A push: the next generation of the job for this reference, durable on return, and the one that it replaces.

        Finishes even if its caller is cancelled. Raises StorageError, and then the queue is as it was. Not `written`: it's
        queued also where the marker can't be written, for one whose marker is put right by the next start.
        """
        job = Job(repository, reference, digest, media_type, 1, now, {name: Part(name) for name in upstreams})
        job.subject, job.carries = subject, carries
        return await self._durably(self._put(job, written))

    async def _put(self, job: Job, written: bool) -> tuple[Job, Job | None]:
        async with self._turn(job.id):
            old = self._jobs.get(job.id)
            if old is not None:
                job.generation = old.generation + 1
                job.paused, job.paused_until, job.priority = old.paused, old.paused_until, old.priority
                job.extra = dict(old.extra)
                # Other content's children are wanted still, until they have jobs of their own.
                wanted = job.extra.pop(ALSO_WANTED, None)
                if wanted and old.digest != job.digest:
                    job.extra[ALSO_WANTED] = list(wanted)
                job.replaces = old.digest
                if old.digest == job.digest:  # what it may have replaced there already is not to be forgotten
                    for name in job.parts.keys() & old.parts.keys():
                        job.parts[name].replaced = old.parts[name].replaced
            try:
                with durable.in_words(str(self.folder)):
                    await self._place(job, old)
            except StorageError as error:
                if written:
                    raise
                _log.error("the marker of %s could not be written: %s", job.id, error)
            self._enter(job)
        return job, old

    async def _place(self, job: Job, old: Job | None) -> None:
        path, content = self.path_of(job.repository, job.reference), encode_marker(job)
        try:
            if await self._in_thread(place_marker, self._tree, path, content):
                self._fresh.append(job)
        except OSError:
            await self._in_thread(take_back_marker, path, content, encode_marker(old) if old is not None else None)
            raise

    async def save(self, job: Job) -> bool:
        """Write the states of a job; False where it's no longer this generation that is queued, or a person deleted the marker."""
        return await self._durably(self._save(job))

    async def _save(self, job: Job) -> bool:
        async with self._turn(job.id):
            if not self.is_current(job):
                return False
            path = self.path_of(job.repository, job.reference)
            with durable.in_words(str(self.folder)):
                return await self._in_thread(rewrite_marker, path, encode_marker(job))

    async def write(self, job: Job) -> None:
        """Write the marker of a job in the index whether there is a file or not: for the start. Raises StorageError."""
        async with self._turn(job.id):
            with durable.in_words(str(self.folder)):
                path = self.path_of(job.repository, job.reference)
                await self._in_thread(place_marker, self._tree, path, encode_marker(job))

    async def discard(self, marker: Marker) -> None:
        """Remove the file of a marker that was never taken into the index. Raises StorageError."""
        with durable.in_words(str(self.folder)):
            await self._in_thread(remove_files, [self.path_of(marker.repository, marker.reference)])

    async def remove(self, job: Job) -> bool:
        """Take this generation out of the queue, durably; False (and nothing happens) where a newer one took its place."""
        return bool(await self.remove_many([job]))

    async def remove_many(self, jobs: list[Job]) -> list[Job]:
        """As `remove`, with one fsync a folder; gives those that were taken out."""
        return await self._durably(self._remove(jobs))

    async def _remove(self, jobs: list[Job]) -> list[Job]:
        # Turns are taken in one order by everybody, so that two callers can't wait for each other.
        ordered = sorted(jobs, key=lambda job: job.id)
        taken: list[_Turn] = []
        try:
            for job in ordered:
                taken.append(await self._take_turn(job.id))  # noqa: PERF401 - what was taken is given back if one fails
            current = [job for job in ordered if self.is_current(job)]
            paths = [self.path_of(job.repository, job.reference) for job in current]
            with durable.in_words(str(self.folder)):
                await self._in_thread(remove_files, paths)
            for job in current:
                self._leave(job)
            return current
        finally:
            for job, turn in zip(ordered, taken, strict=False):
                self._end_turn(job.id, turn)

    async def deleted_by_hand(self, candidates: Iterable[Job]) -> list[Job]:
        """Those of the candidates whose marker file is gone though they are queued; they leave the index.

        Where it can't be told of one it stays; where of none, StorageError is raised.
        """
        gone, failures = [], []
        for job in candidates:
            try:
                if await self._left_by_hand(job):
                    gone.append(job)
            except StorageError as error:
                failures.append(error)
        if failures and not gone:
            raise failures[0]
        return gone

    async def _left_by_hand(self, job: Job) -> bool:
        async with self._turn(job.id):
            path = self.path_of(job.repository, job.reference)
            with durable.in_words(str(self.folder)):
                gone = self.is_current(job) and not await self._in_thread(is_there, path)
            if gone:
                self._leave(job)
            return gone

    async def missing_files(self) -> list[Job]:
        """Jobs of the index without a file as of a look through the folders that changed: candidates for `deleted_by_hand`.

        Raises StorageError.
        """
        folders = dict(self._folders)
        with durable.in_words(str(self.folder)):
            changed = await self._in_thread(self._quiet.changed, list(folders))
            known = [job for folder in changed for job in self.in_repository(folders[folder])]
            there = await self._in_thread(marker_names, changed)
            await self._in_thread(self._forget_deleted)
        return [job for job in known if str(self.path_of(job.repository, job.reference)) not in there]

    def _forget_deleted(self) -> None:
        there = tuple(aside for aside in self.set_aside if is_there(self.folder / aside.file))
        if there != self.set_aside:
            self.set_aside = there

    def owner_of(self, path: Path) -> Job | None:
        """The job whose marker this path is."""
        if not path.name.endswith(SUFFIX):
            return None
        try:
            parts = path.relative_to(self.folder).parts
            repository = decode_repository(parts[:-1])
            reference = decode_reference(parts[-1].removesuffix(SUFFIX))
        except (ValueError, IndexError):
            return None
        return self._jobs.get(format_reference(repository, reference))

    def take_fresh(self) -> list[Job]:
        """The jobs whose folders were made since this was last asked: whoever watches the folder may not have watched those yet."""
        fresh, self._fresh = self._fresh, []
        return fresh

    async def close(self) -> None:
        """Return when everything that was begun is on disk."""
        while self._writes:
            await asyncio.wait(self._writes)
        self._threads.shutdown(wait=False)

    def _enter(self, job: Job) -> None:
        replaced = self._jobs.get(job.id)
        if replaced is None:
            self._sequence += 1
            job.sequence = self._sequence
        else:
            job.sequence = replaced.sequence
            self._forget_digest(replaced)
        self._jobs[job.id] = job
        self._by_digest.setdefault((job.repository, job.digest), {})[job.id] = None
        siblings = self._by_repository.setdefault(job.repository, {})
        if not siblings:
            self._folders[self.folder.joinpath(*encode_repository(job.repository))] = job.repository
        siblings[job.id] = None

    def _leave(self, job: Job) -> None:
        del self._jobs[job.id]
        siblings = self._by_repository[job.repository]
        del siblings[job.id]
        if not siblings:
            del self._by_repository[job.repository]
            del self._folders[self.folder.joinpath(*encode_repository(job.repository))]
        self._forget_digest(job)

    def _forget_digest(self, job: Job) -> None:
        same = self._by_digest[job.repository, job.digest]
        del same[job.id]
        if not same:
            del self._by_digest[job.repository, job.digest]

    @asynccontextmanager
    async def _turn(self, job_id: str) -> AsyncIterator[None]:
        turn = await self._take_turn(job_id)
        try:
            yield
        finally:
            self._end_turn(job_id, turn)

    async def _take_turn(self, job_id: str) -> _Turn:
        turn = self._turns.setdefault(job_id, _Turn())
        turn.users += 1
        try:
            await turn.lock.acquire()
        except BaseException:
            self._forget_turn(job_id, turn)
            raise
        return turn

    def _end_turn(self, job_id: str, turn: _Turn) -> None:
        turn.lock.release()
        self._forget_turn(job_id, turn)

    def _forget_turn(self, job_id: str, turn: _Turn) -> None:
        turn.users -= 1
        if not turn.users:
            del self._turns[job_id]

    async def _durably(self, work: Coroutine[Any, Any, _T]) -> _T:
        # A client that hangs up must not leave a marker on disk that the index doesn't know.
        task = asyncio.ensure_future(work)
        self._writes.add(task)
        task.add_done_callback(self._writes.discard)
        return await asyncio.shield(task)

    async def _in_thread(self, work: Callable[[Unpack[_Ts]], _T], *arguments: *_Ts) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)
