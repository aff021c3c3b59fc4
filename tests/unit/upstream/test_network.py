"""Connections of our own below httpcore: large bodies, ends, and hosts with several addresses."""

import asyncio
import hashlib
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.certificates import private_authority
from tests.support.ports import held_port
from yarddesk.upstream.connecting import connected
from yarddesk.upstream.pool import PoolTransport

BODY = b"".join(hashlib.sha256(str(number).encode()).digest() for number in range(300_000))
LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=16, keepalive_expiry=30)
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(serve: Serve, context: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """A server's port."""

    async def run(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client has what it wanted
        finally:
            writer.close()

    server = await asyncio.start_server(run, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def answer(writer: asyncio.StreamWriter, sent: bytes, length: int, piece: int) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % length)
    for start in range(0, len(sent), piece):
        writer.write(sent[start : start + piece])
        await writer.drain()


@asynccontextmanager
async def asked(
    port: int, scheme: str = "http", context: ssl.SSLContext | None = None
) -> AsyncIterator[httpx.Response]:
    transport = PoolTransport(context or ssl.create_default_context(), LIMITS, None)
    try:
        response = await transport.handle_async_request(httpx.Request("GET", f"{scheme}://127.0.0.1:{port}/"))
        try:
            yield response
        finally:
            await response.aclose()
    finally:
        await transport.aclose()


@pytest.mark.parametrize("piece", [1000, 70_000, 1 << 20, len(BODY)])
async def test_a_large_body_comes_right_however_it_is_sent_and_however_long_its_pieces_are_kept(piece: int) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await answer(writer, BODY, len(BODY), piece)

    async with serving(serve) as port, asked(port) as response:
        pieces = [each async for each in response.aiter_raw()]
    assert b"".join(pieces) == BODY


async def test_a_large_body_comes_right_through_tls(tmp_path: Path) -> None:
    certificate, key, authority = private_authority(tmp_path)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate, key)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await answer(writer, BODY, len(BODY), 1 << 20)

    trusted = ssl.create_default_context(cafile=str(authority))
    async with serving(serve, server) as port, asked(port, "https", trusted) as response:
        assert b"".join([each async for each in response.aiter_raw()]) == BODY


async def test_a_body_that_ends_early_is_never_taken_for_whole() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await answer(writer, BODY[:-1], len(BODY), 1 << 20)

    async with serving(serve) as port, asked(port) as response:
        with pytest.raises(httpx.ReadError, match="1 bytes before"):
            _ = [each async for each in response.aiter_raw()]


async def turns(count: int) -> None:
    """Let the loop do what there is to do."""
    for _ in range(count):
        await asyncio.sleep(0)


async def test_a_large_body_comes_in_large_pieces_to_who_takes_its_time_too() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await answer(writer, BODY, len(BODY), 1 << 20)

    pieces = []
    async with serving(serve) as port, asked(port) as response:
        async for each in response.aiter_raw():
            pieces.append(each)
            await turns(10)
    assert b"".join(pieces) == BODY
    assert len(pieces) < 40


async def test_what_is_sent_beyond_a_body_is_no_fault_of_ours() -> None:
    told: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await answer(writer, BODY, 3 << 20, 1 << 20)

    received = 0
    async with serving(serve) as port, asked(port) as response:
        async for each in response.aiter_raw():
            received += len(each)
            await turns(20)
    assert received == 3 << 20
    assert not told


class FedByWindows(asyncio.Protocol):
    """Hands on what it is given as Windows' loop does: all that was read, though the protocol pauses in the middle of it."""

    def __init__(self, fed: asyncio.BufferedProtocol) -> None:
        self.fed = fed

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.fed.connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.fed.connection_lost(exc)

    def eof_received(self) -> bool | None:
        return self.fed.eof_received()

    def data_received(self, data: bytes) -> None:
        while data:
            room = memoryview(self.fed.get_buffer(len(data)))
            assert len(room)
            count = min(len(room), len(data))
            room[:count] = data[:count]
            self.fed.buffer_updated(count)
            data = data[count:]


@pytest.mark.parametrize("slowly", [False, True])
async def test_a_large_body_comes_right_by_the_loop_of_windows(monkeypatch: pytest.MonkeyPatch, slowly: bool) -> None:
    loop = asyncio.get_running_loop()
    create = loop.create_connection

    async def create_connection(
        factory: Callable[[], asyncio.BufferedProtocol], **options: Any
    ) -> tuple[asyncio.Transport, asyncio.BufferedProtocol]:
        transport, protocol = await create(lambda: FedByWindows(factory()), **options)
        return transport, protocol.fed

    monkeypatch.setattr(loop, "create_connection", create_connection)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await answer(writer, BODY, len(BODY), 70_000)

    pieces = []
    async with serving(serve) as port, asked(port) as response:
        async for each in response.aiter_raw():
            pieces.append(each)
            await turns(50 if slowly else 0)
    assert b"".join(pieces) == BODY


@pytest.mark.parametrize("host", ["a..test", f"{'a' * 64}.test", ".test"])
async def test_what_is_no_name_of_a_host_is_one_that_is_not_reached(host: str) -> None:
    transport = PoolTransport(ssl.create_default_context(), LIMITS, None)
    with pytest.raises(httpx.ConnectError):
        await transport.handle_async_request(httpx.Request("GET", f"http://{host}/"))
    await transport.aclose()


async def test_small_answers_share_a_connection_and_a_large_one_keeps_its_own() -> None:
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        while head := await reader.readuntil(b"\r\n\r\n"):
            large = b"/large" in head
            await answer(writer, BODY if large else b"small", len(BODY) if large else 5, 1 << 20)

    async with serving(serve) as port:
        transport = PoolTransport(ssl.create_default_context(), LIMITS, None)
        for path, expected in (("/a", 1), ("/b", 1), ("/large", 1), ("/c", 2), ("/d", 2)):
            request = httpx.Request("GET", f"http://127.0.0.1:{port}{path}")
            response = await transport.handle_async_request(request)
            _ = [each async for each in response.aiter_raw()]
            await response.aclose()
            assert connections == expected, path
        await transport.aclose()


class Names:
    """What a name leads to, in place of the system's answer."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *addresses: tuple[str, int]) -> None:
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in addresses]

        async def getaddrinfo(*_: object, **__: object) -> object:
            return found

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)


async def nothing(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    """Serve nothing."""


async def test_an_address_that_refuses_is_followed_by_the_next_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with held_port() as deaf:
        async with serving(nothing) as port:
            Names(monkeypatch, ("127.0.0.1", deaf), ("127.0.0.1", port))
            (await connected("host.test", 1)).close()


async def test_an_address_that_never_answers_does_not_keep_from_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as full, socket.socket() as first:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        first.connect(full.getsockname())  # and so nobody else gets an answer
        async with serving(nothing) as port:
            Names(monkeypatch, full.getsockname(), ("127.0.0.1", port))
            async with asyncio.timeout(20):
                found = await connected("host.test", 1)
            assert found.getpeername() == ("127.0.0.1", port)
            found.close()


async def test_where_no_address_answers_the_first_failure_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with held_port() as deaf:
        Names(monkeypatch, ("127.0.0.1", deaf), ("127.0.0.1", deaf))
        with pytest.raises(ConnectionRefusedError):
            await connected("host.test", 1)
