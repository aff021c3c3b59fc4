"""A file's bytes to a connection: by the kernel where system, loop and transport can, else through a thread."""

import asyncio
import errno
import logging
import os
import sys
from collections.abc import Awaitable, Callable
from typing import BinaryIO, Final

from yarddesk.content.threads import over, start_in_thread
from yarddesk.registry.unsent import unsent_bytes

logger = logging.getLogger(__name__)

_TURN_BYTES: Final = 1024 * 1024
"""What one callback of the loop sends at most: a client that reads as quickly as we send would never let it go."""

_WINDOW_BYTES: Final = 4 * 1024 * 1024
_READ_BYTES: Final = 1024 * 1024
_LOOKS: Final = 8
_NOT_THERE: Final = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOTSOCK)


class ReaderStalled(Exception):
    """The client has not taken any more of the answer within the time limit."""


class FileTruncated(Exception):
    """The file has fewer bytes than were promised."""


class _NoSendfile(Exception):
    """The kernel can't, for this file or connection; nothing was sent."""


async def send_file(
    transport: asyncio.Transport,
    file: BinaryIO,
    offset: int,
    count: int,
    *,
    drain: Callable[[], Awaitable[None]],
    stall_seconds: float,
) -> None:
    """Send `count` bytes of `file` from `offset` on; `drain` waits until the transport has room.

    Nobody else writes to the transport meanwhile. Raises ReaderStalled, FileTruncated, or the connection's own error.
    """
    if count and hasattr(os, "sendfile") and transport.get_extra_info("sslcontext") is None:  # TLS encrypts in here
        try:
            await _send_by_kernel(transport, file, offset, count, drain, stall_seconds)
            return
        except _NoSendfile as error:
            logger.debug("no sendfile here (%s): reading through a thread", error.__cause__)
    await _send_by_reading(transport, file, offset, count, drain)


async def _send_by_kernel(
    transport: asyncio.Transport,
    file: BinaryIO,
    offset: int,
    count: int,
    drain: Callable[[], Awaitable[None]],
    stall_seconds: float,
) -> None:
    await _until_empty(transport, drain)
    if transport.is_closing():
        raise ConnectionResetError("The client has gone.")
    # The transport's own descriptor can't be watched beside it, a copy can. `loop.sendfile` of asyncio registers and
    # unregisters for each 100 KiB, which takes longer than it takes the kernel to send them; uvloop has none.
    socket = os.dup(transport.get_extra_info("socket").fileno())
    try:
        await _Sending(transport, socket, file.fileno(), offset, count, stall_seconds).run()
    finally:
        os.close(socket)


async def _until_empty(transport: asyncio.Transport, drain: Callable[[], Awaitable[None]]) -> None:
    """Return when what was written has left, so that the file's bytes come after it."""
    if transport.get_write_buffer_size():
        low, high = transport.get_write_buffer_limits()
        transport.set_write_buffer_limits(0)
        try:
            await drain()
        finally:
            transport.set_write_buffer_limits(high, low)


class _Sending:
    """One part of a file on its way to a socket, whenever that is writable."""

    def __init__(
        self, transport: asyncio.Transport, socket: int, file: int, offset: int, count: int, stall_seconds: float
    ) -> None:
        self._transport = transport
        self._socket = socket
        self._file = file
        self._offset = offset
        self._end = offset + count
        self._start = self._read_ahead_to = offset
        self._loop = asyncio.get_running_loop()
        self._done: asyncio.Future[None] = self._loop.create_future()
        self._stall_seconds = stall_seconds
        self._seen: tuple[int, int | None] = (-1, None)
        self._since = self._loop.time()
        self._looking: asyncio.TimerHandle | None = None

    async def run(self) -> None:
        """Return when all of it was given to the kernel. Raises as `send_file`, and _NoSendfile."""
        self._send()
        if self._done.done():
            self._done.result()
            return
        reading = self._transport.is_reading()
        self._loop.add_writer(self._socket, self._send)
        # A client that closes its side for sending still reads: while reading we would take it for one that has gone.
        self._transport.pause_reading()
        self._look()
        try:
            await self._done
        finally:
            self._loop.remove_writer(self._socket)
            if self._looking is not None:
                self._looking.cancel()
            if reading and not self._transport.is_closing():
                self._transport.resume_reading()

    def _send(self) -> None:
        if self._done.done():
            return
        self._read_ahead()
        try:
            sent = os.sendfile(self._socket, self._file, self._offset, min(_TURN_BYTES, self._end - self._offset))
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            if error.errno in _NOT_THERE and self._offset == self._start:
                self._fail(_NoSendfile(), error)
            else:
                self._fail(error)
            return
        self._offset += sent
        if not sent:
            self._fail(FileTruncated())
        elif self._offset == self._end:
            self._done.set_result(None)

    def _fail(self, error: Exception, cause: Exception | None = None) -> None:
        error.__cause__ = cause
        self._done.set_exception(error)

    def _read_ahead(self) -> None:
        # sendfile waits for the disk on this thread; what is asked for a window earlier is in memory by then.
        begin = self._read_ahead_to
        if begin >= self._end or self._offset + _WINDOW_BYTES < begin:
            return
        count = min(_WINDOW_BYTES, self._end - begin)
        self._read_ahead_to = begin + count
        if hasattr(os, "posix_fadvise") and not _is_in_memory(self._file, self._read_ahead_to - 1):
            os.posix_fadvise(self._file, begin, count, os.POSIX_FADV_WILLNEED)

    def _look(self) -> None:
        """See whether the client still takes something."""
        if self._done.done():
            return
        now = self._loop.time()
        state = (self._offset, unsent_bytes(self._transport))
        if self._transport.is_closing():
            self._fail(ConnectionResetError("The client has gone."))
        elif state != self._seen:
            self._seen, self._since = state, now
        elif now - self._since > self._stall_seconds:
            self._fail(ReaderStalled())
        if not self._done.done():
            self._looking = self._loop.call_later(self._stall_seconds / _LOOKS, self._look)


def _is_in_memory(file: int, offset: int) -> bool:
    """Whether this byte of the file can be had without the disk. Cheaper than to ask for what is there already."""
    try:
        return sys.platform == "linux" and os.preadv(file, [bytearray(1)], offset, os.RWF_NOWAIT) == 1
    except OSError:
        return False


async def _send_by_reading(
    transport: asyncio.Transport,
    file: BinaryIO,
    offset: int,
    count: int,
    drain: Callable[[], Awaitable[None]],
) -> None:
    end = offset + count
    reading = start_in_thread(_read, file, offset, min(_READ_BYTES, count))
    try:
        while offset < end:
            piece = await asyncio.shield(reading)
            if not piece:
                raise FileTruncated
            offset += len(piece)
            if offset < end:
                reading = start_in_thread(_read, file, offset, min(_READ_BYTES, end - offset))
            transport.write(piece)
            await drain()
            if transport.is_closing():
                raise ConnectionResetError("The client has gone.")
    finally:
        await over(reading)  # the caller closes the file now


def _read(file: BinaryIO, offset: int, count: int) -> bytes:
    file.seek(offset)
    return file.read(count)
