"""Blobs on their way in: one fetch each, however many read along, and served while it comes.

A fill writes into an upload session of the store. Readers are told how far the session's file has come (`reach`); where it
can't be read while it grows, they take what came last from memory, what came before through the session, and everything
from the store once it's there. The last bytes of each answer are given only when the whole was verified.
"""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack
from typing import BinaryIO, Final

from yarddesk.content.errors import StorageError
from yarddesk.content.store import GrowingFile, Store, UploadSession
from yarddesk.content.target import ContentStream, NotFound
from yarddesk.content.threads import in_thread_to_the_end
from yarddesk.oci.digest import Digest
from yarddesk.oci.name import RepositoryName
from yarddesk.progress.traffic import Traffic

_log = logging.getLogger(__name__)

HELD_BACK_BYTES: Final = 64 * 1024
_WINDOW_BYTES: Final = 2 * 1024 * 1024
_PIECE_BYTES: Final = 1024 * 1024
_SOON_DURABLE_BYTES: Final = 16 * 1024 * 1024
"""No more than this is on the disk so soon that its last bytes can wait for it: who has it finds it in the store, too."""

_WORTH_ENDING_BYTES: Final = 1024 * 1024
"""A fill that nobody waits for goes on when it lacks no more than this, or less than half."""


class Fill:
    """One blob that comes in. `open_source` opens it at an upstream; what that raises, each reader hears.

    `count` hears of all bytes that come.
    """

    def __init__(
        self,
        store: Store,
        repository: RepositoryName,
        digest: Digest,
        size: int,
        open_source: Callable[[], ContentStream],
        count: Callable[[int], None],
    ) -> None:
        self.digest = digest
        self.size = size
        self.readers = 0
        self.task: asyncio.Task[None] | None = None
        self._store = store
        self._repository = repository
        self._open_source = open_source
        self._count = count
        self._received = 0
        self._flushed = 0
        self._opened = False
        self._is_true = False
        self._complete = False
        self._failure: Exception | None = None
        self._recent: deque[tuple[int, bytes]] = deque()
        self._recent_bytes = 0
        self._news = asyncio.Event()
        self._upload: UploadSession | None = None
        self._file: GrowingFile | None = None
        self._using_upload = asyncio.Lock()

    async def run(self) -> None:
        """Fetch and keep it. What goes wrong is for the readers."""
        try:
            await self._fetch()
        except Exception as error:  # noqa: BLE001 - rises in each reader
            _log.info("blob %s did not come in: %s", self.digest, error)
            self._failure = error
        finally:
            self._recent.clear()

    def end(self) -> None:
        """Its task is over, however; those who still read along hear of it."""
        if not self._complete and self._failure is None:
            self._failure = FillEnded(str(self.digest))
        self._tell()

    async def opened(self) -> None:
        """Return once the upstream gives the bytes. Raises NotFound, UpstreamFailure, StorageError."""
        while not self._opened:
            if self._failure is not None:
                raise self._failure
            await self._wait()

    @property
    def has_failed(self) -> bool:
        return self._failure is not None

    @property
    def left_bytes(self) -> int:
        """What is still to come."""
        return max(0, self.size - self._received)

    @property
    def received(self) -> int:
        """Bytes that came so far."""
        return self._received

    @property
    def is_whole(self) -> bool:
        """Whether it's in the store."""
        return self._complete

    @property
    def is_worth_ending(self) -> bool:
        """Whether it should go on though nobody reads along."""
        left = self.left_bytes
        return self._complete or left <= _WORTH_ENDING_BYTES or left * 2 < self.size

    async def file(self) -> BinaryIO | None:
        """The file that grows, for the caller to close; None where there is none (any more): `pieces` has the bytes."""
        try:
            return await self._file.open() if self._file is not None and self._failure is None else None
        except NotFound:
            return None

    async def reach(self, position: int, end: int) -> int:
        """Return how far, beyond `position`, the file's bytes may be given: as `pieces` gives them. Raises as it does."""
        while True:
            if self._complete:
                return end
            if self._failure is not None:
                raise self._failure
            free = end - HELD_BACK_BYTES
            if self._is_true:
                # A slow reader comes back for the rest: what a disk that fails meanwhile made of the file is never complete.
                return free if position < free else end
            free = min(self._file.written if self._file is not None else 0, free)
            if position < free:
                return free
            await self._wait()

    async def pieces(self, start: int, end: int) -> AsyncGenerator[bytes, None]:
        """The bytes from `start` up to `end`, as they come; the last of them, so all of a small part, once the whole is verified.

        Raises what the fill failed with.
        """
        file = await self.file()
        if file is not None:
            async for piece in self._read_along(file, start, end):
                yield piece
            return
        position = start
        while position < end or not self._complete:
            if self._complete:
                async with self._store.read_blob(self.digest, position, end - position) as stored:
                    async for piece in stored:
                        yield piece
                return
            if self._failure is not None:
                raise self._failure
            free = min(self._received, end - HELD_BACK_BYTES)
            if position >= free:
                await self._wait()
                continue
            piece = self._from_memory(position, free) or await self._from_session(position, free)
            position += len(piece)
            if piece:
                yield piece

    async def _read_along(self, file: BinaryIO, position: int, end: int) -> AsyncGenerator[bytes, None]:
        with file:
            await in_thread_to_the_end(file.seek, position)
            while position < end:
                free = await self.reach(position, end)
                while position < free:
                    piece = await in_thread_to_the_end(file.read, min(_PIECE_BYTES, free - position))
                    if not piece:
                        raise StorageError(f"Somebody else changed the file that blob {self.digest} comes into.")
                    position += len(piece)
                    yield piece
            await self.reach(end, end + 1)  # what is empty is verified, too

    async def _fetch(self) -> None:
        async with AsyncExitStack() as stack:
            starting = asyncio.ensure_future(
                self._store.start_upload(self._repository, self.digest.algorithm, filling=True)
            )
            try:
                source = await stack.enter_async_context(self._open_source())
            except BaseException:
                await _undone(starting)
                raise
            self._upload = upload = await starting
            self._file = upload.grow(self._tell)
            try:
                self._opened = True
                self._tell()
                async for piece in source:
                    await self._take(upload, piece)
                async with self._using_upload:
                    await upload.commit(self.digest, self._verified)
                self._complete = True
            finally:
                self._upload = None
                await upload.cancel()

    def _verified(self) -> None:
        # Nobody waits for the disk to have taken what is large: it can be joined until then, and was promised to nobody.
        self._is_true = self.size > _SOON_DURABLE_BYTES
        self._tell()

    async def _take(self, upload: UploadSession, piece: bytes) -> None:
        if not piece:
            return
        async with self._using_upload:
            await upload.write(piece, at_once=self.readers > 0)
        self._count(len(piece))
        if self._file is not None:
            self._received += len(piece)
            return
        self._recent.append((self._received, piece))
        self._recent_bytes += len(piece)
        self._received += len(piece)
        while self._recent_bytes > _WINDOW_BYTES and len(self._recent) > 1:
            self._recent_bytes -= len(self._recent.popleft()[1])
        self._tell()

    def _from_memory(self, position: int, end: int) -> bytes:
        for start, piece in self._recent:
            if start <= position < start + len(piece):
                return piece[position - start : end - start]
        return b""

    async def _from_session(self, position: int, end: int) -> bytes:
        upload = self._upload
        try:
            if upload is None:
                raise NotFound("the session is over")
            if position >= self._flushed:
                async with self._using_upload:
                    received = self._received
                    await upload.flush()
                    self._flushed = received
            return await upload.read(position, min(_PIECE_BYTES, min(end, self._flushed) - position))
        except NotFound:
            # It was committed, or given up, meanwhile: the next look tells which.
            if not self._complete and self._failure is None:
                await self._wait()
            return b""

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    async def _wait(self) -> None:
        await self._news.wait()


async def _undone(starting: asyncio.Future[UploadSession]) -> None:
    """End a session that nobody needs; why it could not be begun matters to nobody either."""
    (started,) = await asyncio.gather(starting, return_exceptions=True)
    if not isinstance(started, BaseException):
        await started.cancel()


class FillEnded(Exception):
    """Nobody read along any more; who comes now begins again."""


class Fills:
    """The fills under way, by blob and where it may come from: `at_once` of each origin, so that a slow one holds up no other."""

    def __init__(self, store: Store, at_once: int, traffic: Traffic) -> None:
        self.ended = 0
        """How many are over."""
        self._store = store
        self._traffic = traffic
        self._fills: dict[object, Fill] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._at_once = at_once
        self._rooms: dict[object, asyncio.Semaphore] = {}

    def find(self, key: object) -> Fill | None:
        """One that can be joined: not one that failed, though its end may still have to be told."""
        fill = self._fills.get(key)
        return None if fill is None or fill.has_failed else fill

    def coming(self) -> int:
        """How many bytes are still to come."""
        return sum(fill.left_bytes for fill in self._fills.values())

    def brings(self, digest: Digest) -> bool:
        """Whether one of them is of this blob."""
        return any(fill.digest == digest for fill in self._fills.values())

    async def through(self, digest: Digest) -> None:
        """Return when none brings this blob any more."""
        tasks = [fill.task for fill in self._fills.values() if fill.digest == digest and fill.task is not None]
        if tasks:
            await asyncio.wait(tasks)

    def begin(
        self,
        key: object,
        origin: object,
        repository: RepositoryName,
        digest: Digest,
        size: int,
        open_source: Callable[[], ContentStream],
    ) -> Fill:
        fill = self._fills[key] = Fill(self._store, repository, digest, size, open_source, self._traffic.fill_received)
        fill.task = asyncio.create_task(self._run(fill, origin), name=f"fill {digest.short}")
        self._tasks.add(fill.task)
        self._traffic.fill_begun()
        fill.task.add_done_callback(lambda task: self._ended(key, fill, task))
        return fill

    def left(self, key: object, fill: Fill) -> None:
        """A reader went; a fill without any ends, unless it's nearly through."""
        fill.readers -= 1
        if not fill.readers and not fill.is_worth_ending and fill.task is not None:
            self._forget(key, fill)
            fill.task.cancel()

    async def close(self) -> None:
        """End all of them; nothing of what is incomplete stays."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, fill: Fill, origin: object) -> None:
        async with self._rooms.setdefault(origin, asyncio.Semaphore(self._at_once)):
            await fill.run()

    def _ended(self, key: object, fill: Fill, task: asyncio.Task[None]) -> None:
        self.ended += 1
        self._tasks.discard(task)
        self._forget(key, fill)
        fill.end()
        self._traffic.fill_ended(whole=fill.is_whole)

    def _forget(self, key: object, fill: Fill) -> None:
        if self._fills.get(key) is fill:
            del self._fills[key]
