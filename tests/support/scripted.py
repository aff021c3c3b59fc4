"""A small HTTP server that does what a test tells it, right or wrong, and remembers what it was sent."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from tests.support.asyncio_servers import stop_listening
from tests.support.ports import hold_port

STATUS_WORDS = {
    200: "OK",
    201: "Created",
    202: "Accepted",
    206: "Partial Content",
    401: "Unauthorized",
    404: "Not Found",
}


@dataclass(frozen=True)
class Asked:
    """A request as it came: header names in lower case, `path` with its query."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass(frozen=True)
class Reply:
    """length: what Content-Length says, when it is not the body's; None leaves the header out and ends with the connection.

    cut: bytes of the body after which the connection ends. drip_seconds: the pause after each single byte.
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    length: int | None = -1
    cut: int | None = None
    drip_seconds: float = 0.0


RESET = Reply(status=0)
"""No answer: the connection is reset."""

Script = Callable[[Asked], Reply | Awaitable[Reply | None] | None]
"""What to answer; None: nothing, ever."""


class ScriptedServer:
    """Listens on a loopback address. `asked` holds every request, `open_connections` how many are open now."""

    def __init__(self, script: Script, *, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> None:
        self.script = script
        self.asked: list[Asked] = []
        self.open_connections = 0
        self.connections = 0
        self.bytes_received = 0
        self._address = host
        self._tls = tls
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.host = ""

    async def __aenter__(self) -> ScriptedServer:
        port = hold_port(self, address=self._address)
        self._server = await asyncio.start_server(self.connected, self._address, port, ssl=self._tls)
        self.host = f"{self._address}:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        await stop_listening(self._server)
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    def of(self, method: str, part: str = "") -> list[Asked]:
        """The requests with this method and with `part` in their path."""
        return [each for each in self.asked if each.method == method and part in each.path]

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.open_connections += 1
        self.connections += 1
        try:
            while await self._one(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError, asyncio.CancelledError):
            pass  # the client went away, or the test is over
        finally:
            self.open_connections -= 1
            self._tasks.discard(task)
            writer.close()
            with contextlib.suppress(ConnectionError, ssl.SSLError, asyncio.CancelledError):
                await writer.wait_closed()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        first = await reader.readexactly(1)
        if first == b"\x16":  # a TLS hello, to which servers of plain HTTP say this
            writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
            await writer.drain()
            return False
        head = (first + await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, path, _ = head[0].split(" ", 2)
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        self.bytes_received += len(body)
        asked = Asked(method, path, headers, body)
        self.asked.append(asked)
        answer = self.script(asked)
        reply = await answer if isinstance(answer, Awaitable) else answer
        if reply is None:
            await reader.read()  # until the client has had enough
            return False
        if reply is RESET:
            _reset(writer)
            return False
        return await self._reply(reply, method, writer)

    async def _reply(self, reply: Reply, method: str, writer: asyncio.StreamWriter) -> bool:
        length = len(reply.body) if reply.length == -1 else reply.length
        lines = [f"HTTP/1.1 {reply.status} {STATUS_WORDS.get(reply.status, 'Status')}"]
        lines += [f"{name}: {value}" for name, value in reply.headers.items()]
        named = {name.lower() for name in reply.headers}
        if length is not None and "content-length" not in named:
            lines.append(f"Content-Length: {length}")
        writer.write(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
        body = b"" if method == "HEAD" else reply.body
        if reply.cut is not None:
            writer.write(body[: reply.cut])
            await writer.drain()
            return False
        if reply.drip_seconds:
            for position in range(len(body)):
                writer.write(body[position : position + 1])
                await writer.drain()
                await asyncio.sleep(reply.drip_seconds)
        else:
            writer.write(body)
        await writer.drain()
        return length is not None


def _reset(writer: asyncio.StreamWriter) -> None:
    """End the connection with a reset in place of an orderly end."""
    plain: socket.socket = writer.get_extra_info("socket")
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@contextlib.asynccontextmanager
async def scripted(script: Script, **options: object) -> AsyncIterator[ScriptedServer]:
    """A server for the time of a block."""
    async with ScriptedServer(script, **options) as server:  # type: ignore[arg-type]  # passed through as they are
        yield server
