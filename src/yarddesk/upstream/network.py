"""Connections for httpcore, straight on asyncio: what a large body comes in is received into memory that is used again.

httpcore's own backend receives 64 KiB at a time, each into fresh memory and through two more layers: for a layer of hundreds
of megabytes that costs several times what the network does. This one is httpcore's documented place for another
(https://www.encode.io/httpcore/network-backends/); heads and small bodies come through httpcore as ever.
"""

import asyncio
import ssl
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import httpcore

from yarddesk.content.lent import LentBuffers
from yarddesk.upstream.connecting import connected

_SMALL_BYTES: Final = 64 * 1024
_BUFFER_BYTES: Final = 1024 * 1024
_MOST_BUFFERS: Final = 16
_WORTH_BYTES: Final = 256 * 1024
_CLOSED: Final = "The connection was closed by us."


class LargeReads(httpcore.AsyncNetworkBackend):
    """Streams that can also be read by `Connection.receive`."""

    def __init__(self) -> None:
        self._buffers = LentBuffers(_BUFFER_BYTES, _MOST_BUFFERS)

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's signatures
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        if local_address is not None:
            raise NotImplementedError("Nobody here says which of our own addresses to use.")
        with _as(httpcore.ConnectTimeout, httpcore.ConnectError):
            async with asyncio.timeout(timeout):
                connection = await connected(host, port, socket_options or ())
                _, receiver = await asyncio.get_running_loop().create_connection(
                    lambda: _Receiver(self._buffers), sock=connection
                )
        return Connection(receiver)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class Connection(httpcore.AsyncNetworkStream):
    """One of httpcore's streams."""

    def __init__(self, receiver: "_Receiver") -> None:
        self._receiver = receiver

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109
        with _as(httpcore.ReadTimeout, httpcore.ReadError):
            async with asyncio.timeout(timeout):
                return await self._receiver.read(max_bytes)

    async def receive(self, most: int) -> memoryview | bytes:
        """Some of the next bytes, `most` at most; none where the other side has ended. For who has read all that httpcore has.

        They stay as they are for as long as somebody has the view. Raises httpcore.ReadError.
        """
        with _as(httpcore.ReadTimeout, httpcore.ReadError):
            return await self._receiver.receive(most)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        with _as(httpcore.WriteTimeout, httpcore.WriteError):
            async with asyncio.timeout(timeout):
                await self._receiver.write(buffer)

    async def aclose(self) -> None:
        self._receiver.transport.close()
        try:
            # What is left to be said (the end of TLS) has one turn of the loop; a peer that reads nothing keeps us from nothing.
            await asyncio.sleep(0)
        finally:
            self._receiver.end()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> httpcore.AsyncNetworkStream:
        receiver = self._receiver
        try:
            with _as(httpcore.ConnectTimeout, httpcore.ConnectError):
                async with asyncio.timeout(timeout):
                    transport = await asyncio.get_running_loop().start_tls(
                        receiver.transport, receiver, ssl_context, server_hostname=server_hostname
                    )
                if transport is None:
                    raise ConnectionResetError("The connection ended before it was secured.")
        except BaseException:
            await self.aclose()
            raise
        receiver.secured(transport)
        return Connection(receiver)

    def get_extra_info(self, info: str) -> Any:  # noqa: ANN401
        match info:
            case "client_addr":
                info = "sockname"
            case "server_addr":
                info = "peername"
            case "is_readable":
                return self._receiver.has_news
        return self._receiver.transport.get_extra_info(info)


class _Receiver(asyncio.BufferedProtocol):
    """The receiving end: little memory until `receive` is called for the first time, then lent buffers."""

    def __init__(self, buffers: LentBuffers) -> None:
        self.transport: asyncio.Transport
        self._buffers = buffers
        self._small = bytearray()
        self._came = bytearray()  # what came in before `receive`
        self._full: deque[memoryview] = deque()  # what is left to be given of earlier buffers
        self._large: memoryview | None = None
        self._given = self._filled = 0  # of `_large`
        self._is_large = False
        self._ended = self._lost = False
        self._error: Exception | None = None
        self._news: asyncio.Future[None] | None = None
        self._may_write = asyncio.Event()
        self._may_write.set()

    @property
    def has_news(self) -> bool:
        """Whether a read would not wait: where nothing is expected, a connection that must not be used any more."""
        return self._ended or bool(self._came) or self._has_large or self.transport.is_closing()

    @property
    def _has_large(self) -> bool:
        return bool(self._full) or self._given < self._filled

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def secured(self, transport: asyncio.Transport) -> None:
        """From now on it is read and written through TLS."""
        self.transport = transport

    def get_buffer(self, sizehint: int) -> memoryview:
        if not self._is_large:
            self._small = self._small or bytearray(_SMALL_BYTES)
            return memoryview(self._small)
        if self._large is not None and self._filled == len(self._large):
            # Though we paused: Windows' loop hands over all that it has read, and takes a buffer without room for a fault.
            self._full.append(self._large[self._given :])
            self._large = None
        if self._large is None:
            self._large = self._buffers.lend() or memoryview(bytearray(_WORTH_BYTES))
            self._given = self._filled = 0
        return self._large[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        if self._is_large and self._large is not None:
            self._filled += nbytes
            if self._filled == len(self._large):
                self.transport.pause_reading()
        else:
            self._came += memoryview(self._small)[:nbytes]
            if len(self._came) >= _SMALL_BYTES:
                self.transport.pause_reading()
        self._tell()

    def eof_received(self) -> bool:
        self._ended = True
        self._tell()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended = self._lost = True
        self._error = exc
        self._may_write.set()
        self._tell()

    def pause_writing(self) -> None:
        self._may_write.clear()

    def resume_writing(self) -> None:
        self._may_write.set()

    # The stream's side

    async def read(self, most: int) -> bytes:
        while not self._came:
            if await self._is_over():
                return b""
        piece = bytes(self._came[:most])
        del self._came[:most]
        self._go_on()
        return piece

    async def receive(self, most: int) -> memoryview | bytes:
        self._is_large = True
        if self._came:
            return await self.read(most)
        while not self._has_large:
            if await self._is_over():
                return b""
        if self._full:
            first = self._full.popleft()
            if len(first) > most:
                self._full.appendleft(first[most:])
            return first[:most]
        large = self._large
        assert large is not None
        end = min(self._filled, self._given + most)
        piece = large[self._given : end]
        self._given = end
        if end == self._filled and len(large) - end < _WORTH_BYTES:
            self._large = None  # what is left of it is too little to be received into
            self._given = self._filled = 0
        self._go_on()
        return piece

    def end(self) -> None:
        """Nothing is read or written any more."""
        if not self._lost:
            self.transport.abort()
        self._full.clear()
        self._large, self._small, self._came = None, bytearray(), bytearray()
        self._buffers.forget()

    async def write(self, content: bytes) -> None:
        if self.transport.is_closing():
            raise self._error or ConnectionResetError(_CLOSED)
        self.transport.write(content)
        await self._may_write.wait()
        if self._error is not None:
            raise self._error

    async def _is_over(self) -> bool:
        """Wait for news where there are none; whether nothing more comes."""
        if self._ended:
            if self._error is not None:
                raise self._error
            return True
        if self.transport.is_closing():
            raise ConnectionResetError(_CLOSED)
        self._news = asyncio.get_running_loop().create_future()
        try:
            await self._news
        finally:
            self._news = None
        return False

    def _go_on(self) -> None:
        if self._large is not None and self._filled == len(self._large):
            return  # some of it is not given yet
        if not self._ended and not self.transport.is_closing() and not self.transport.is_reading():
            self.transport.resume_reading()

    def _tell(self) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(None)


@contextmanager
def _as(timeout: type[Exception], failure: type[Exception]) -> Iterator[None]:
    """httpcore's names for what fails."""
    try:
        yield
    except TimeoutError as error:
        raise timeout(str(error)) from error
    except (OSError, EOFError, ValueError) as error:  # SSLError is an OSError; ValueError: no host has such a name
        raise failure(str(error)) from error
