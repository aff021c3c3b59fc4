"""A file's bytes to a connection: by the kernel where the loop and the transport can, else through a thread."""

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from typing import BinaryIO, Final

logger = logging.getLogger(__name__)

_SMALLEST_WINDOW: Final = 256 * 1024
_LARGEST_WINDOW: Final = 4 * 1024 * 1024
_QUICK_SECONDS: Final = 0.25
_READ_BYTES: Final = 1024 * 1024


class ReaderStalled(Exception):
    """The client has not taken any more of the answer within the time limit."""


class FileTruncated(Exception):
    """The file has fewer bytes than were promised."""


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

    Raises ReaderStalled, FileTruncated, or the connection's own error. Windows of growing size keep the time limit one of
    progress: a slow reader gets small windows, a quick one large ones.
    """
    loop = asyncio.get_running_loop()
    if not _has_sendfile(loop, transport):
        await _send_by_reading(transport, file, offset, count, drain)
        return
    window = _SMALLEST_WINDOW
    end = offset + count
    while offset < end:
        started = loop.time()
        wanted = min(window, end - offset)
        _read_ahead(file, offset + wanted, min(2 * window, end - offset - wanted))
        try:
            async with asyncio.timeout(stall_seconds):
                sent = await loop.sendfile(transport, file, offset, wanted, fallback=False)
        except TimeoutError as error:
            raise ReaderStalled from error
        except (asyncio.SendfileNotAvailableError, NotImplementedError) as error:
            # Nothing of this window has left: both are raised before the first byte (a file system without it, Windows).
            logger.debug("no sendfile here (%s): reading through a thread", error)
            await _send_by_reading(transport, file, offset, end - offset, drain)
            return
        if sent < wanted:
            raise FileTruncated
        offset += sent
        window = min(window * 2, _LARGEST_WINDOW) if loop.time() - started < _QUICK_SECONDS else _SMALLEST_WINDOW


def _has_sendfile(loop: asyncio.AbstractEventLoop, transport: asyncio.Transport) -> bool:
    # The base class's own method only raises (uvloop); TLS encrypts in this process.
    offered = type(loop).sendfile is not asyncio.AbstractEventLoop.sendfile
    return offered and transport.get_extra_info("sslcontext") is None


def _read_ahead(file: BinaryIO, offset: int, count: int) -> None:
    # sendfile waits for the disk on this thread; what is asked for a window earlier is in memory by then.
    if count > 0 and hasattr(os, "posix_fadvise"):
        os.posix_fadvise(file.fileno(), offset, count, os.POSIX_FADV_WILLNEED)


async def _send_by_reading(
    transport: asyncio.Transport,
    file: BinaryIO,
    offset: int,
    count: int,
    drain: Callable[[], Awaitable[None]],
) -> None:
    loop = asyncio.get_running_loop()
    end = offset + count
    reading = loop.run_in_executor(None, _read, file, offset, min(_READ_BYTES, count))
    while offset < end:
        piece = await reading
        if not piece:
            raise FileTruncated
        offset += len(piece)
        if offset < end:
            reading = loop.run_in_executor(None, _read, file, offset, min(_READ_BYTES, end - offset))
        transport.write(piece)
        await drain()
        if transport.is_closing():
            raise ConnectionResetError("The client has gone.")


def _read(file: BinaryIO, offset: int, count: int) -> bytes:
    file.seek(offset)
    return file.read(count)
