"""A blob's bytes from disk: a mebibyte at a time on a thread, the next one while this one is used."""

import asyncio
import os
from collections.abc import AsyncIterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self

from yarddesk.content.errors import StorageError
from yarddesk.content.target import NotFound
from yarddesk.oci.digest import Digest
from yarddesk.storage.blobs import PIECE_BYTES, BlobFiles
from yarddesk.storage.durable import in_words
from yarddesk.storage.verified import Identity


class Unverified(Exception):
    """The file is not known to hold what its name says."""


class BlobReader:
    """A ContentStream: a context, and within it an iterator. The hop that opens the file reads the first piece, too.

    Once open, a blob is read to its end even when it's deleted meanwhile. Missing bytes raise StorageError; a file that was
    not verified since it last changed raises Unverified on entering.
    """

    def __init__(
        self, pool: ThreadPoolExecutor, blobs: BlobFiles, root: str, digest: Digest, offset: int, length: int | None
    ) -> None:
        self._pool = pool
        self._blobs = blobs
        self._root = root
        self._digest = digest
        self._offset = offset
        self._length = length
        self._left = 0
        self._descriptor = -1
        self._next: Future[bytes] | None = None

    async def __aenter__(self) -> AsyncIterator[bytes]:
        opening = self._pool.submit(self._open)
        try:
            with in_words(self._root):
                await asyncio.wrap_future(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(lambda _: self._close())
            raise
        except BaseException:
            self._close()
            raise
        self._next = opening
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        under_way, self._next = self._next, None
        if under_way is None or under_way.done():
            self._close()
        else:
            under_way.add_done_callback(lambda _: self._close())

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if self._next is None:
            raise StopAsyncIteration
        with in_words(self._root):
            piece = self._next.result() if self._next.done() else await asyncio.wrap_future(self._next)
        if not piece:
            self._next = None
            raise StopAsyncIteration
        self._next = self._pool.submit(self._read) if self._left else None
        return piece

    def _open(self) -> bytes:
        try:
            self._descriptor = self._blobs.open(self._digest)
        except FileNotFoundError as error:
            raise NotFound(f"There is no blob {self._digest} here.") from error
        found = os.fstat(self._descriptor)
        if not self._blobs.verified.holds(self._digest, Identity.of(found)):
            raise Unverified
        left = max(0, found.st_size - self._offset)
        self._left = left if self._length is None else min(left, self._length)
        if self._offset:
            os.lseek(self._descriptor, self._offset, os.SEEK_SET)
        return self._read() if self._left else b""

    def _read(self) -> bytes:
        piece = os.read(self._descriptor, min(PIECE_BYTES, self._left))
        if not piece:
            raise StorageError(
                f"The file of blob {self._digest} ends {self._left:,} bytes early.",
                hint="Push or pull the image again: that puts a whole one in its place.",
            )
        self._left -= len(piece)
        return piece

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)
