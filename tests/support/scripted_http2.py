"""As `scripted`, over HTTP/2 and TLS: it can also give up a request or go away in the middle of one."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import DataReceived, Event, RequestReceived, StreamEnded, StreamReset, WindowUpdated
from h2.exceptions import ProtocolError

from tests.support.asyncio_servers import stop_listening
from tests.support.certificates import private_authority
from tests.support.scripted import Asked, Reply, ScriptedServer
from tests.support.waiting import until_async


@dataclass(frozen=True)
class GivesUp:
    """RST_STREAM, after an answer's first `after` bytes where there is one."""

    code: ErrorCodes = ErrorCodes.INTERNAL_ERROR
    reply: Reply | None = None
    after: int = 0


@dataclass(frozen=True)
class GoesAway:
    """GOAWAY, and an end of the connection. `seen`: whether it says to have begun with the request."""

    seen: bool = True
    code: ErrorCodes = ErrorCodes.NO_ERROR


Action = Reply | GivesUp | GoesAway
Script = Callable[[Asked], Action | Awaitable[Action]]


@dataclass
class _Stream:
    headers: dict[str, str]
    body: bytearray = field(default_factory=bytearray)


class Http2Server:
    """On a loopback address. `asked` holds every request that was sent whole, `connections` how many there were."""

    def __init__(self, script: Script, tls: ssl.SSLContext) -> None:
        self.script = script
        self.asked: list[Asked] = []
        self.connections = 0
        self.open_connections = 0
        self.host = ""
        self._tls = tls
        self._tasks: set[asyncio.Task[Any]] = set()

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[Http2Server]:
        server = await asyncio.start_server(self.connected, "127.0.0.1", 0, ssl=self._tls)
        self.host = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            await stop_listening(server)
            left = list(self._tasks)
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        self.open_connections += 1
        try:
            await _Connection(self, reader, writer).run()
        except (ConnectionError, ssl.SSLError, asyncio.IncompleteReadError, asyncio.CancelledError, ProtocolError):
            pass  # the client went away
        finally:
            self.open_connections -= 1
            self._tasks.discard(task)
            writer.close()
            with contextlib.suppress(ConnectionError, ssl.SSLError, asyncio.CancelledError):
                await writer.wait_closed()

    def spawn(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class _Connection:
    def __init__(self, server: Http2Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._server = server
        self._reader = reader
        self._writer = writer
        self._h2 = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        self._streams: dict[int, _Stream] = {}
        self._room = asyncio.Condition()
        self._over = False

    async def run(self) -> None:
        self._h2.initiate_connection()
        await self._flush()
        while not self._over and (received := await self._reader.read(65536)):
            for event in self._h2.receive_data(received):
                self._take(event)
            async with self._room:
                self._room.notify_all()
            await self._flush()

    def _take(self, event: Event) -> None:
        match event:
            case RequestReceived(stream_id=number, headers=headers):
                self._streams[number] = _Stream({str(name): str(value) for name, value in headers})
            case DataReceived(stream_id=number, data=data, flow_controlled_length=length):
                self._h2.acknowledge_received_data(length, number)
                if number in self._streams:
                    self._streams[number].body += data
            case StreamEnded(stream_id=number) if number in self._streams:
                self._server.spawn(self._answered(number, self._streams.pop(number)))
            case StreamReset(stream_id=number):
                self._streams.pop(number, None)
            case WindowUpdated():
                pass

    async def _answered(self, number: int, stream: _Stream) -> None:
        asked = Asked(stream.headers[":method"], stream.headers[":path"], stream.headers, bytes(stream.body))
        self._server.asked.append(asked)
        action = self._server.script(asked)
        if isinstance(action, Awaitable):
            action = await action
        with contextlib.suppress(ProtocolError, ConnectionError):
            await self._act(number, asked, action)

    async def _act(self, number: int, asked: Asked, action: Action) -> None:
        match action:
            case Reply():
                await self._say(number, asked, action, len(action.body), ends=True)
            case GivesUp(code, reply, after):
                if reply is not None:
                    await self._say(number, asked, reply, after, ends=False)
                self._h2.reset_stream(number, code)
                await self._flush()
            case GoesAway(seen, code):
                self._h2.close_connection(code, last_stream_id=number if seen else max(number - 2, 0))
                self._over = True
                await self._flush()
                self._writer.close()

    async def _say(self, number: int, asked: Asked, reply: Reply, most: int, *, ends: bool) -> None:
        headers = [(name.lower(), value) for name, value in reply.headers.items()]
        length = len(reply.body) if reply.length == -1 else reply.length
        if length is not None and "content-length" not in dict(headers):
            headers.append(("content-length", str(length)))
        self._h2.send_headers(number, [(":status", str(reply.status)), *headers])
        left = b"" if asked.method == "HEAD" else reply.body[:most]
        while left:
            async with self._room:
                await self._room.wait_for(lambda: self._h2.local_flow_control_window(number) > 0)
            piece = left[: min(self._h2.local_flow_control_window(number), self._h2.max_outbound_frame_size)]
            left = left[len(piece) :]
            self._h2.send_data(number, piece)
            await self._flush()
        if ends:
            self._h2.end_stream(number)
        await self._flush()

    async def _flush(self) -> None:
        self._writer.write(self._h2.data_to_send())
        await self._writer.drain()


def server_context(folder: Path, *protocols: str) -> tuple[ssl.SSLContext, Path]:
    """What a TLS server on a loopback address needs, and the authority to trust; protocols: what it offers, the best first."""
    certificate, key, authority = private_authority(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    if protocols:
        context.set_alpn_protocols(list(protocols))
    return context, authority


@contextlib.asynccontextmanager
async def scripted_http2(script: Script, folder: Path) -> AsyncIterator[tuple[Http2Server, Path]]:
    """A server for the time of a block, and the authority that signed its certificate."""
    context, authority = server_context(folder, "h2")
    async with Http2Server(script, context).listening() as server:
        yield server, authority


@contextlib.asynccontextmanager
async def both_protocols(
    script: Callable[[Asked], Reply | Awaitable[Reply]], context: ssl.SSLContext
) -> AsyncIterator[tuple[Http2Server, ScriptedServer]]:
    """One port, on which each connection gets what it agreed to; the two may be given scripts of their own."""
    http2, http1 = Http2Server(script, context), ScriptedServer(script)

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        agreed = writer.get_extra_info("ssl_object").selected_alpn_protocol()
        await (http2.connected if agreed == "h2" else http1.connected)(reader, writer)

    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=context)
    http2.host = http1.host = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield http2, http1
    finally:
        await stop_listening(server)
        await until_async(lambda: not http2.open_connections and not http1.open_connections)
