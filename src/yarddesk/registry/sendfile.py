"""A file's bytes to a connection: by the kernel where the loop and the transport can, else through a thread."""

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from typing import BinaryIO, Final

from yarddesk.content.threads import start_in_thread
from yarddesk.registry.unsent import unsent_bytes

logger = logging.getLogger(__name__)

_WINDOW_BYTES: Final = 4 * 1024 * 1024
_READ_BYTES: Final = 1024 * 1024
_LOOKS: Final = 8


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

    Raises ReaderStalled, FileTruncated, or the connection's own error.
    """
    loop = asyncio.get_running_loop()
    if not _has_sendfile(loop, transport):
        await _send_by_reading(transport, file, offset, count, drain)
        return
    end = offset + count
    while offset < end:
        wanted = min(_WINDOW_BYTES, end - offset)
        _read_ahead(file, offset + wanted, min(_WINDOW_BYTES, end - offset - wanted))
        try:
            sending = loop.create_task(loop.sendfile(transport, file, offset, wanted, fallback=False))
            sent = await _while_read(sending, transport, stall_seconds)
        except (asyncio.SendfileNotAvailableError, NotImplementedError) as error:
            # Nothing of this window has left: both are raised before the first byte (a file system without it, Windows).
            logger.debug("no sendfile here (%s): reading through a thread", error)
            await _send_by_reading(transport, file, offset, end - offset, drain)
            return
        if sent < wanted:
            raise FileTruncated
        offset += sent


async def _while_read(sending: asyncio.Task[int], transport: asyncio.Transport, stall_seconds: float) -> int:
    """What `sending` returns; it's cancelled when the client takes nothing for so long."""
    loop = asyncio.get_running_loop()
    last, since = unsent_bytes(transport), loop.time()
    try:
        while True:
            done, _ = await asyncio.wait((sending,), timeout=stall_seconds / _LOOKS)
            if done:
                return sending.result()
            unsent = unsent_bytes(transport)
            if unsent != last:
                last, since = unsent, loop.time()
            elif loop.time() - since > stall_seconds:
                raise ReaderStalled
    finally:
        if not sending.done():
            sending.cancel()
            await asyncio.wait((sending,))


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
    end = offset + count
    reading = start_in_thread(_read, file, offset, min(_READ_BYTES, count))
    while offset < end:
        piece = await reading
        if not piece:
            raise FileTruncated
        offset += len(piece)
        if offset < end:
            reading = start_in_thread(_read, file, offset, min(_READ_BYTES, end - offset))
        transport.write(piece)
        await drain()
        if transport.is_closing():
            raise ConnectionResetError("The client has gone.")


def _read(file: BinaryIO, offset: int, count: int) -> bytes:
    file.seek(offset)
    return file.read(count)
