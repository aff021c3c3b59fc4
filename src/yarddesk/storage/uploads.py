"""Blobs on their way in: gathered on the loop, written and hashed on threads, a blob at the end or nothing."""

import asyncio
import contextlib
import logging
import os
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import BinaryIO, Final, Self, TypeVar

from yarddesk.content.errors import StorageError
from yarddesk.content.target import DigestMismatch, NotFound
from yarddesk.content.threads import in_thread_or_undone
from yarddesk.errors import YarddeskError
from yarddesk.oci.digest import Digest, InvalidDigest
from yarddesk.oci.name import RepositoryName
from yarddesk.storage.blobs import hash_file, mark_filled
from yarddesk.storage.durable import give_room_back, in_words, open_file, storage_error, sync_file, write_all
from yarddesk.storage.finishing import Finishing
from yarddesk.storage.layout import ALGORITHMS
from yarddesk.storage.pipeline import BUFFER_BYTES, Buffer, Pipeline, Transfers
from yarddesk.storage.upload_files import UploadFiles

_log = logging.getLogger(__name__)
Result = TypeVar("Result")

ABANDONED_SECONDS: Final = 24 * 3600.0
"""An upload session that nobody wrote to for so long goes."""

_IDLE_SECONDS: Final = 300.0
# Pieces of this size are passed on as they are; smaller ones are gathered, which costs a copy and saves a hop.
_LARGE_BYTES: Final = BUFFER_BYTES // 4
# Where somebody waits for them while others are being written.
_SOON_BYTES: Final = BUFFER_BYTES // 16
# What is left at a commit waits for no room: a small blob, a config, would wait for all the large ones before it.
_SMALL_BYTES: Final = BUFFER_BYTES // 16


class FileUpload:
    """An UploadSession. `size` bytes are in its file already, of which the hash is not known where it's resumed.

    Pieces gather in memory to a mebibyte and go to the pipeline; what is left over at the end is written by the same hop
    that commits. Where anything fails the session is over and its bytes are gone.
    """

    def __init__(
        self,
        home: "Uploads",
        upload_id: str,
        repository: RepositoryName,
        algorithm: str,
        size: int,
        *,
        filling: bool = False,
    ) -> None:
        self._filling = filling
        self.id = upload_id
        self.repository = repository
        self.used_at = time.monotonic()
        self._home = home
        self._path = home.files.path(upload_id)
        self._algorithm = algorithm
        self._hasher = Digest.of(b"", algorithm).hasher()
        self._catch_up = size > 0
        self._told: Callable[[], None] | None = None
        self._size = size
        self._on_disk = size
        self._gathered = bytearray()
        self._pipeline: Pipeline | None = None
        self._newest: Pipeline | None = None  # the same, or the one that was closed last
        self._lock = asyncio.Lock()
        self._over = False

    @property
    def size(self) -> int:
        """Bytes taken so far."""
        return self._size

    async def write(self, piece: Buffer, *, at_once: bool = False) -> None:
        self._check_open()
        self.used_at = time.monotonic()
        if len(piece) >= _LARGE_BYTES:
            await self._send(piece)
            return
        self._size += len(piece)
        self._gathered += piece
        self._home.transfers.gathered += len(piece)
        if len(self._gathered) >= BUFFER_BYTES or self._home.transfers.is_crowded or (at_once and self._may_send()):
            await self._send()

    def _may_send(self) -> bool:
        """Whether what was gathered is worth a thread's while, or keeps none from anything else."""
        return len(self._gathered) >= _SOON_BYTES or self._pipeline is None or self._pipeline.in_flight == 0

    async def flush(self) -> None:
        if self._pipeline is not None or self._gathered or self._over:
            await self._home.finishing.run(self._flush())

    async def read(self, offset: int, length: int) -> bytes:
        try:
            return await self._home.on_thread(_read_part, self._path, offset, length)
        except FileNotFoundError as error:
            raise _over(self.id) from error
        except OSError as error:
            raise storage_error(error, self._home.root) from error

    def grow(self, told: Callable[[], None]) -> Self | None:
        self._told = told
        return None if sys.platform == "win32" else self  # there, a file that is open can't get its final name

    @property
    def written(self) -> int:
        return 0 if self._newest is None else self._newest.written

    async def open(self) -> BinaryIO:
        self._check_open()
        with in_words(self._home.root):
            try:
                return os.fdopen(await in_thread_or_undone(os.close, open_file, self._path), "rb", buffering=0)
            except FileNotFoundError as error:
                raise _over(self.id) from error

    async def commit(self, digest: Digest, verified: Callable[[], None] | None = None) -> int:
        return await self._home.finishing.run(self._commit(digest, verified))

    async def cancel(self) -> None:
        # What is queued is abandoned with the lock held: a commit that has begun is still to have it in the file.
        await self._home.finishing.run(self._cancel())

    async def _send(self, *pieces: Buffer) -> None:
        async with self._lock:
            self._check_open()
            reserved = len(self._gathered) + sum(map(len, pieces))
            if not reserved:  # another call sent them meanwhile
                return
            # Nothing is taken before there is room: a caller that is cancelled here leaves the session as it was.
            await self._home.transfers.reserve(reserved)
            buffers = [buffer for buffer in (self._take_gathered(), *pieces) if buffer]
            self._home.transfers.reserve_more(sum(map(len, buffers)) - reserved)
            pipeline = self._pipeline = self._newest = self._pipeline or self._new_pipeline()
            self._size += sum(map(len, pieces))
            for buffer in buffers:
                pipeline.put(buffer)
                self._on_disk += len(buffer)
            try:
                await pipeline.room()
            except OSError as error:
                await self._fail()
                raise storage_error(error, self._home.root) from error

    def _new_pipeline(self) -> Pipeline:
        catch_up, self._catch_up = self._catch_up, False
        return Pipeline(
            self._home.transfers, self._path, self._on_disk, self._hasher, catch_up=catch_up, told=self._told
        )

    async def _flush(self) -> None:
        async with self._lock:
            self._check_open()
            async with self._settled() as (descriptor, rest):
                if descriptor >= 0 or rest:
                    await self._hop(self._write_rest, descriptor, rest)
                    self._on_disk += len(rest)

    async def _commit(self, digest: Digest, verified: Callable[[], None] | None) -> int:
        loop = asyncio.get_running_loop()
        tell = None if verified is None else partial(loop.call_soon_threadsafe, verified)
        async with self._lock:
            self._check_open()
            async with self._settled() as (descriptor, rest):
                await self._hop(self._make_blob, descriptor, rest, digest, tell)
            self._end()
            self._home.committed(digest, self._size, self._filling)
            return self._size

    async def _cancel(self) -> None:
        async with self._lock:
            if not self._over:
                await self._fail()

    @asynccontextmanager
    async def _settled(self) -> AsyncIterator[tuple[int, bytearray]]:
        """The file's descriptor, -1 where it isn't open, and the bytes that are not in it: in flight until they are."""
        transfers = self._home.transfers
        reserved = len(self._gathered)
        if reserved > _SMALL_BYTES:
            await transfers.reserve(reserved)
        else:
            transfers.reserve_more(reserved)
        rest = self._take_gathered()
        transfers.reserve_more(len(rest) - reserved)
        try:
            yield await self._close_pipeline(), rest
        finally:
            transfers.release(len(rest), asyncio.get_running_loop())

    async def _close_pipeline(self) -> int:
        pipeline, self._pipeline = self._pipeline, None
        try:
            return await pipeline.close() if pipeline is not None else -1
        except OSError as error:
            await self._fail()
            raise storage_error(error, self._home.root) from error

    async def _hop(self, work: Callable[..., None], *arguments: object) -> None:
        try:
            await self._home.on_thread(work, *arguments)
        except OSError as error:
            await self._fail()
            raise storage_error(error, self._home.root) from error
        except BaseException:
            await self._fail()
            raise

    async def _fail(self) -> None:
        """End the session and remove its file, also when our caller is cancelled meanwhile. With the lock held."""
        pipeline, self._pipeline = self._pipeline, None
        self._end()
        await self._home.finishing.run(self._discard(pipeline))

    async def _discard(self, pipeline: Pipeline | None) -> None:
        if pipeline is not None:
            pipeline.abandon()
            with contextlib.suppress(OSError):  # it was raised where it was met
                descriptor = await pipeline.close()
                if descriptor >= 0:
                    os.close(descriptor)
        try:
            await self._home.on_thread(self._home.files.remove, self.id)
        except OSError as error:
            _log.warning("the file of an upload session stays until it's collected: %s", error)

    def _end(self) -> None:
        self._over = True
        self._take_gathered()
        self._home.forget(self)

    def _take_gathered(self) -> bytearray:
        gathered, self._gathered = self._gathered, bytearray()
        self._home.transfers.gathered -= len(gathered)
        return gathered

    def _check_open(self) -> None:
        if self._over:
            raise _over(self.id)

    # What follows runs on a thread.

    def _write_rest(self, descriptor: int, rest: bytearray) -> None:
        descriptor = self._append(descriptor, rest)
        os.close(descriptor)

    def _make_blob(
        self, descriptor: int, rest: bytearray, digest: Digest, verified: Callable[[], object] | None
    ) -> None:
        descriptor = self._append(descriptor, rest)
        try:
            hasher = self._hasher
            if self._catch_up or digest.algorithm != self._algorithm:
                hasher = digest.hasher()
                hash_file(descriptor, hasher, None)
            if hasher.hexdigest() != digest.hex:
                raise DigestMismatch(
                    f"The bytes that came are not those of {digest}.",
                    f"They are {self._size:,} bytes with another digest.",
                )
            if os.fstat(descriptor).st_size != self._size:
                raise StorageError("Somebody else wrote to the file of an upload session.", self._path)
            if verified is not None:
                verified()
            if self._filling and not self._home.files.has_blob(digest):
                mark_filled(self._path)
            else:
                os.utime(
                    self._path
                )  # its age counts from now, whenever its bytes came: what collects garbage goes by it
            sync_file(descriptor)
        finally:
            os.close(descriptor)
        self._home.files.make_blob(self.id, digest)

    def _append(self, descriptor: int, rest: bytearray) -> int:
        """Write and hash what is left over; the descriptor, opened where it wasn't."""
        is_open = descriptor >= 0
        if not is_open:
            descriptor = open_file(self._path, write=True)
        try:
            if rest:
                if self._on_disk:
                    os.lseek(descriptor, self._on_disk, os.SEEK_SET)
                write_all(descriptor, rest)
                if not self._catch_up:
                    self._hasher.update(rest)
            if is_open or self._catch_up:  # an earlier run that was killed had found some, maybe
                give_room_back(descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor


def _over(upload_id: str) -> NotFound:
    return NotFound(f"The upload session {upload_id} is over.", hint="Start a new one.")


def _read_part(path: str, offset: int, length: int) -> bytes:
    descriptor = open_file(path)
    try:
        os.lseek(descriptor, offset, os.SEEK_SET)
        return os.read(descriptor, length)
    finally:
        os.close(descriptor)


class Uploads:
    """The sessions of this run that are alive; those of earlier runs are found on disk when they're asked for."""

    def __init__(
        self,
        root: str,
        files: UploadFiles,
        transfers: Transfers,
        finishing: Finishing,
        committed: Callable[[Digest, int, bool], None],
    ) -> None:
        self.root = root
        self.files = files
        self.transfers = transfers
        self.finishing = finishing
        self.committed = committed
        self._live: dict[str, FileUpload] = {}

    async def start(self, repository: RepositoryName, algorithm: str, *, filling: bool = False) -> FileUpload:
        """Raises InvalidDigest for an unknown algorithm, StorageError."""
        if algorithm not in ALGORITHMS:
            raise InvalidDigest(
                f"“{algorithm[:40]}” is not an algorithm for digests.", hint="sha256 and sha512 are known."
            )
        made: list[FileUpload] = []
        is_wanted = True

        async def create() -> FileUpload:
            upload_id = await self.on_thread(lambda: self.files.create(repository, lasting=not filling))
            upload = self._add(FileUpload(self, upload_id, repository, algorithm, 0, filling=filling))
            made.append(upload)
            if not is_wanted:
                await upload.cancel()
            return upload

        try:
            with in_words(self.root):
                return await self.finishing.run(create())
        except asyncio.CancelledError:
            # Nobody will ever name it: it would stay for a day.
            is_wanted = False
            for upload in made:
                await upload.cancel()
            raise

    async def find(self, repository: RepositoryName, upload_id: str) -> FileUpload:
        """Raises NotFound, also for a session of another repository."""
        if upload_id not in self._live:
            with in_words(self.root):
                size = await self.on_thread(self.files.find, upload_id, repository)
            if size is not None and upload_id not in self._live:
                self._add(FileUpload(self, upload_id, repository, ALGORITHMS[0], size))
        upload = self._live.get(upload_id)
        if upload is None or upload.repository != repository:
            raise NotFound(f"There is no upload session {upload_id[:64]} in {repository}.", hint="Start a new one.")
        return upload

    async def sweep(self, abandoned_seconds: float) -> int:
        """Close the files of sessions that are idle, remove those that nobody wrote to for so long; how many went."""
        now = time.monotonic()
        removed = 0
        for upload in tuple(self._live.values()):
            idle = now - upload.used_at
            if idle >= abandoned_seconds:
                await upload.cancel()
                removed += 1
            elif idle >= _IDLE_SECONDS:
                await upload.flush()
        with in_words(self.root):
            return removed + await self.on_thread(self.files.sweep, abandoned_seconds, frozenset(self._live))

    async def close(self) -> None:
        """Have the bytes of every session in its file, so that the next run can go on with it."""
        for upload in tuple(self._live.values()):
            try:
                await upload.flush()
            except YarddeskError as error:
                _log.warning("an upload to %s can't go on after a restart: %s", upload.repository, error)

    def forget(self, upload: FileUpload) -> None:
        """It's over."""
        self._live.pop(upload.id, None)

    async def on_thread(self, work: Callable[..., Result], *arguments: object) -> Result:
        return await self.transfers.workers.run(work, *arguments)

    def _add(self, upload: FileUpload) -> FileUpload:
        self._live[upload.id] = upload
        return upload
