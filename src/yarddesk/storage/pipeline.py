"""Bytes into a file and into a hash at once: both on threads, while the loop gathers the next ones."""

import asyncio
import os
import threading
from collections import deque
from collections.abc import Callable
from typing import Final

from yarddesk.oci.digest import Hasher
from yarddesk.storage.blobs import hash_file
from yarddesk.storage.durable import find_room, open_file, start_writing, write_all
from yarddesk.storage.workers import Workers

BUFFER_BYTES: Final = 1024 * 1024
"""What goes to the threads at once."""

# More in flight is no quicker, and is most of what a busy process has in memory.
_SESSION_BYTES: Final = 4 * BUFFER_BYTES
_ALL_BYTES: Final = 6 * BUFFER_BYTES
# What hundreds of clients that upload at once may not exceed together; a few never come near it.
_TOGETHER_BYTES: Final = 16 * BUFFER_BYTES
_GATHERED_BYTES: Final = 8 * BUFFER_BYTES
_WRITE_EVERY_BYTES: Final = 8 * BUFFER_BYTES
_ROOM_BYTES: Final = 8 * BUFFER_BYTES
_PROCESSORS: Final = os.cpu_count() or 1
_TURN: Final = 8

Buffer = bytes | bytearray | memoryview


class Transfers:
    """The threads of all pipelines, and how much each may hold in memory: less, the more of them there are.

    `gathered`: bytes that upload sessions keep until they are worth a thread. For one loop, but for `release`.
    """

    def __init__(self, threads: int) -> None:
        self.workers = Workers(threads, "yarddesk-transfer")
        self.active = 0
        self.gathered = 0
        self._reserved = 0
        self._lock = threading.Lock()
        self._waiting: deque[tuple[asyncio.Future[None], int]] = deque()

    @property
    def session_limit(self) -> int:
        """Bytes that a pipeline may have in flight."""
        return max(BUFFER_BYTES, min(_SESSION_BYTES, _ALL_BYTES // max(1, self.active)))

    @property
    def is_crowded(self) -> bool:
        """Whether so many sessions gather bytes that none may go on with it."""
        return self.gathered > _GATHERED_BYTES

    async def reserve(self, count: int) -> None:
        """Return when so many bytes more may be in flight, in the order of the calls; `release` gives them back."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        with self._lock:
            if not self._waiting and self._fits(count):
                self._reserved += count
                return
            self._waiting.append((waiter, count))
        self._admit()
        try:
            await waiter
        except asyncio.CancelledError:
            if not waiter.cancelled():
                self.release(count, waiter.get_loop())
            raise

    def reserve_more(self, count: int) -> None:
        """As `reserve`, for what came while it waited: at once."""
        with self._lock:
            self._reserved += count

    def release(self, count: int, loop: asyncio.AbstractEventLoop) -> None:
        """So many bytes are done with. For any thread; `loop` is that of those who wait."""
        with self._lock:
            self._reserved -= count
            waited_for = bool(self._waiting)
        if waited_for:
            loop.call_soon_threadsafe(self._admit)

    def _admit(self) -> None:
        with self._lock:
            while self._waiting:
                waiter, count = self._waiting[0]
                if not waiter.cancelled():
                    if not self._fits(count):
                        return
                    self._reserved += count
                    waiter.set_result(None)
                self._waiting.popleft()

    def _fits(self, count: int) -> bool:
        return not self._reserved or self._reserved + count <= _TOGETHER_BYTES


class Pipeline:
    """Appends buffers to the file at `path`, which has `size` bytes, and hashes them: in order, in two lanes that overlap.

    Where other pipelines keep the processors busy it has one lane, which spares a thread's wake-up for each buffer.

    `hasher` knows these bytes already, unless `catch_up` asks to read them first. `told` is called on the loop whenever more
    is written. For one loop; `close` ends it.
    """

    def __init__(
        self,
        transfers: Transfers,
        path: str,
        size: int,
        hasher: Hasher,
        *,
        catch_up: bool,
        told: Callable[[], None] | None = None,
    ) -> None:
        self._transfers = transfers
        self._path = path
        self._loop = asyncio.get_running_loop()
        self._hasher = hasher
        self._size = size
        self._catch_up = catch_up
        self._told = told
        self._descriptor = -1
        self._accepted = self._written = self._hashed = self._released = 0
        self._releasing = threading.Lock()
        self._end = self._begun = size  # of the file, and of what the system was told to write to the medium
        self._room_to = size + _ROOM_BYTES  # before that nothing tells that the file is a large one
        self._failure: BaseException | None = None
        self._abandoned = False
        self._waiting = 0
        self._moved = asyncio.Event()
        transfers.active += 1
        alone = transfers.active < _PROCESSORS
        self._writing = _Lane(transfers.workers, self._write if alone else self._write_and_hash)
        self._hashing = _Lane(transfers.workers, self._hash) if alone else None

    @property
    def in_flight(self) -> int:
        """Bytes accepted that are not yet both written and hashed."""
        return self._accepted - min(self._written, self._hashed)

    @property
    def written(self) -> int:
        """Bytes that the file has."""
        return self._end

    def put(self, buffer: Buffer) -> None:
        """Take the next bytes, reserved before; the caller waits for `room` before the next ones."""
        self._accepted += len(buffer)
        self._writing.put(buffer)
        if self._hashing is not None:
            self._hashing.put(buffer)

    async def room(self) -> None:
        """Return when one more buffer fits. Raises what the file system said (OSError); then nothing more is written."""
        await self._while(lambda: self.in_flight > self._transfers.session_limit - BUFFER_BYTES)
        self._check()

    async def close(self) -> int:
        """Return when all is written and hashed and no thread is at work: the file's descriptor, now the caller's.

        It is -1 where nothing was written. Raises OSError as `room`, with the descriptor closed.
        """
        await self._while(lambda: self.in_flight > 0)
        self._transfers.active -= 1
        descriptor, self._descriptor = self._descriptor, -1
        if self._failure is not None and descriptor >= 0:
            os.close(descriptor)
        self._check()
        return descriptor

    def abandon(self) -> None:
        """What is still queued need not be written any more."""
        self._abandoned = True

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure

    async def _while(self, condition: Callable[[], bool]) -> None:
        while condition():
            # First say that somebody waits, then look again: a thread that has just finished saw the one or is seen by the other.
            self._moved.clear()
            self._waiting += 1
            try:
                if condition():
                    await self._moved.wait()
            finally:
                self._waiting -= 1

    def _moved_on(self) -> None:
        with self._releasing:
            done = min(self._written, self._hashed)
            count, self._released = done - self._released, done
        if count:
            self._transfers.release(count, self._loop)
        if self._waiting:
            self._loop.call_soon_threadsafe(self._moved.set)

    def _write_and_hash(self, buffer: Buffer) -> None:
        self._hash(buffer)  # first: it brings what is to be written into the caches
        self._write(buffer)

    def _write(self, buffer: Buffer) -> None:
        try:
            if self._failure is None and not self._abandoned:
                self._append(buffer)
        except BaseException as error:  # noqa: BLE001 - on a pool's thread; raised again where the loop waits
            self._failure = self._failure or error
        finally:
            self._written += len(buffer)
            self._moved_on()
            if self._told is not None:
                self._loop.call_soon_threadsafe(self._told)

    def _append(self, buffer: Buffer) -> None:
        if self._descriptor < 0:
            self._descriptor = open_file(self._path, write=True)
            os.lseek(self._descriptor, self._size, os.SEEK_SET)
        if self._end >= self._room_to:
            self._room_to = self._end + _ROOM_BYTES
            find_room(self._descriptor, self._end, _ROOM_BYTES)
        write_all(self._descriptor, buffer)
        self._end += len(buffer)
        if self._end - self._begun >= _WRITE_EVERY_BYTES:
            start_writing(self._descriptor, self._begun, self._end - self._begun)
            self._begun = self._end

    def _hash(self, buffer: Buffer) -> None:
        try:
            if self._failure is None and not self._abandoned:
                if self._catch_up:
                    self._read_what_was_there()
                    self._catch_up = False
                self._hasher.update(buffer)
        except BaseException as error:  # noqa: BLE001 - as in _write
            self._failure = self._failure or error
        finally:
            self._hashed += len(buffer)
            self._moved_on()

    def _read_what_was_there(self) -> None:
        descriptor = open_file(self._path)
        try:
            hash_file(descriptor, self._hasher, self._size)
        finally:
            os.close(descriptor)


class _Lane:
    """Buffers through one function, in order, by one thread at a time, which is given back when there is nothing to do."""

    def __init__(self, workers: Workers, work: Callable[[Buffer], None]) -> None:
        self._workers = workers
        self._work = work
        self._lock = threading.Lock()
        self._queue: deque[Buffer] = deque()
        self._running = False

    def put(self, buffer: Buffer) -> None:
        with self._lock:
            self._queue.append(buffer)
            if self._running:
                return
            self._running = True
        self._workers.submit(self._run)

    def _run(self) -> None:
        for _ in range(_TURN):
            with self._lock:
                if not self._queue:
                    self._running = False
                    return
                buffer = self._queue.popleft()
            self._work(buffer)
            del buffer  # not to be held while waiting for the lock
        self._workers.submit(self._run)  # the others first
