"""What one connection may do: how large, how slow, how many, and what of it is kept when it breaks off."""

from __future__ import annotations

import asyncio
import gc
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from starlette.types import Receive, Scope, Send

from tests.support.lonely_registry import lonely_registry
from tests.support.waiting import until_async
from tests.unit.registry.pushing import digest_of
from tests.unit.registry.raw import Connection, connect, exchange, status_of
from yarddesk.content.errors import StorageFull
from yarddesk.oci.name import RepositoryName
from yarddesk.registry.answers import Answer
from yarddesk.registry.guard import Guard
from yarddesk.registry.limits import Limits
from yarddesk.registry.server import EmbeddedServer
from yarddesk.storage.filesystem import FilesystemStore

Serve = Callable[..., Awaitable[EmbeddedServer]]
GET = b"GET /v2/ HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[FilesystemStore]:
    async with FilesystemStore.open(tmp_path / "data") as opened:
        yield opened


@pytest.fixture
async def serve(store: FilesystemStore) -> AsyncIterator[Serve]:
    """Start a server with limits of its own."""
    async with AsyncExitStack() as stack:

        async def start(**limits: float) -> EmbeddedServer:
            server = EmbeddedServer(lonely_registry(store), port=0, limits=Limits(**limits))  # type: ignore[arg-type]
            return await stack.enter_async_context(server)

        yield start


async def begin_upload(connection: Connection) -> str:
    head = b"POST /v2/app/blobs/uploads/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"
    await connection.send(head)
    status, headers, _ = await connection.answer()
    assert status == 202
    return headers["location"]


def patch(location: str, *headers: str) -> bytes:
    return "\r\n".join([f"PATCH {location} HTTP/1.1", "Host: localhost", *headers, "", ""]).encode()


async def test_requests_go_on_over_one_connection(serve: Serve) -> None:
    connection = await connect(await serve())
    for _ in range(5):
        await connection.send(GET)
        assert (await connection.answer())[0] == 200
    await connection.close()


async def test_pipelined_requests_are_answered_in_order(serve: Serve, store: FilesystemStore) -> None:
    connection = await connect(await serve())
    paths = ["/v2/", "/v2/_catalog", "/v2/nothing", "/v2/app/tags/list", "/v2/"]
    await connection.send(b"".join(GET.replace(b"/v2/", path.encode()) for path in paths))
    assert [(await connection.answer())[0] for _ in paths] == [200, 200, 404, 404, 200]
    await connection.close()


async def test_a_body_between_pipelined_requests_goes_to_its_own(serve: Serve) -> None:
    server = await serve()
    connection = await connect(server)
    location = await begin_upload(connection)
    await connection.send(patch(location, "Content-Length: 5") + b"hello" + GET + patch(location, "Content-Length: 0"))
    assert [(await connection.answer())[1].get("range") for _ in range(3)] == ["0-4", None, "0-4"]
    await connection.close()


async def test_more_pipelined_requests_than_are_taken_end_the_connection(serve: Serve) -> None:
    server = await serve(pipelined_requests=4)
    connection = await connect(server)
    await connection.send(GET * 200)
    assert (await connection.to_the_end()).count(b"HTTP/1.1 200") < 200
    await connection.close()
    assert await status_of(server, GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")) == 200


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET /v2/" + b"x" * 9000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 414),
        (b"GET /v2/ HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 40_000 + b"\r\n\r\n", 431),
        (b"GET /v2/ HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 101 + b"\r\n", 431),
        (b"GET /v2/ HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 1_000_000, 431),
        (b"GET /" + b"x" * 1_000_000, 431),
        (b"NONSENSE\r\n\r\n", 400),
        (b"GET /v2/ HTTP/9.9\r\nHost: localhost\r\n\r\n", 400),
        (b"GET /v2/ HTTP/1.1\r\nHost: localhost\r\n folded\r\n\r\n", 400),
        (b"GET /v2/ HTTP/1.1\r\nHost : localhost\r\n\r\n", 400),
        (
            b"POST /v2/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        (b"POST /v2/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello", 400),
        (b"POST /v2/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n", 400),
        (b"POST /v2/ HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked, identity\r\n\r\n", 400),
    ],
)
async def test_heads_that_are_too_large_or_not_http_are_refused(
    serve: Serve, request_bytes: bytes, status: int
) -> None:
    assert await status_of(await serve(), request_bytes) == status


async def test_a_chunk_that_is_none_ends_the_request_and_not_the_upload(serve: Serve) -> None:
    server = await serve()
    connection = await connect(server)
    location = await begin_upload(connection)
    await connection.send(patch(location, "Transfer-Encoding: chunked") + b"5\r\nhello\r\nzz\r\n")
    assert b" 202 " not in await connection.to_the_end()
    await connection.close()
    connection = await connect(server)
    await connection.send(GET.replace(b"/v2/", location.encode()))
    assert (await connection.answer())[1]["range"] == "0-4"
    await connection.close()


async def test_a_tls_hello_is_told_to_go_on_without_tls_and_closed(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    """Go's clients fall back to plain HTTP where the answer to their hello begins with `HTTP/`."""
    caplog.set_level(logging.INFO)
    hello = bytes.fromhex("16030100a5010000a10303") + bytes(160)
    assert (await exchange(await serve(), hello)).startswith(b"HTTP/1.1 400 ")
    assert caplog.records == []


async def test_an_upgrade_is_not_taken_up(serve: Serve) -> None:
    asked = GET.replace(b"\r\n\r\n", b"\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
    answer = await exchange(await serve(), asked)
    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.endswith(b"{}")


async def test_a_client_of_http_1_0_is_answered_and_closed(serve: Serve) -> None:
    assert await status_of(await serve(), b"GET /v2/ HTTP/1.0\r\nHost: localhost\r\n\r\n") == 200


async def test_a_connection_that_says_nothing_is_closed_without_a_word(serve: Serve) -> None:
    assert await exchange(await serve(header_seconds=0.2), b"") == b""


@pytest.mark.parametrize("begun", [b"G", b"GET", b"GET /v2/ HTTP/1.1\r\nHost: localhost\r\nX-Slow: "])
async def test_a_head_that_does_not_come_is_waited_for_so_long(serve: Serve, begun: bytes) -> None:
    answer = await exchange(await serve(header_seconds=0.2), begun)
    assert answer.startswith(b"HTTP/1.1 408")


async def test_a_head_that_drips_is_not_waited_for_longer(serve: Serve) -> None:
    connection = await connect(await serve(header_seconds=0.3))

    async def drip() -> None:
        await connection.send(b"GET /v2/ HTTP/1.1\r\nHost: localhost\r\nX: ")
        while not connection.writer.is_closing():
            await connection.send(b"x")
            await asyncio.sleep(0.02)

    dripping = asyncio.create_task(drip())
    assert (await connection.to_the_end()).startswith(b"HTTP/1.1 408")
    dripping.cancel()
    await asyncio.wait([dripping])
    if not dripping.cancelled():
        assert isinstance(dripping.exception(), ConnectionError)
    await connection.close()


async def test_an_idle_connection_is_closed(serve: Serve) -> None:
    server = await serve(idle_seconds=0.2)
    connection = await connect(server)
    await connection.send(GET)
    assert (await connection.answer())[0] == 200
    assert await connection.to_the_end() == b""
    assert await until_async(lambda: server.connections == 0)
    await connection.close()


async def test_a_body_that_does_not_go_on_ends_the_connection_and_leaves_the_session(
    serve: Serve, store: FilesystemStore
) -> None:
    server = await serve(body_stall_seconds=0.2)
    connection = await connect(server)
    location = await begin_upload(connection)
    await connection.send(patch(location, "Content-Length: 100") + b"hello")
    assert await connection.to_the_end() == b""
    await connection.close()
    session = await store.find_upload(RepositoryName.parse("app"), location.rsplit("/", 1)[1])
    assert await until_async(lambda: session.size == 5)


async def test_a_body_that_drips_is_too_slow_and_a_slow_one_is_not(serve: Serve) -> None:
    server = await serve(body_stall_seconds=0.4, body_stall_bytes=50)
    connection = await connect(server)
    location = await begin_upload(connection)
    await connection.send(patch(location, "Content-Length: 300"))
    for _ in range(15):
        await connection.send(b"x" * 20)
        await asyncio.sleep(0.05)
    assert (await connection.answer())[0] == 202
    await connection.send(patch(location, "Content-Length: 300"))
    ending = asyncio.create_task(connection.to_the_end())
    while not ending.done():
        connection.writer.write(b"x")
        await asyncio.sleep(0.05)
    assert ending.result() == b""
    await connection.close()


@pytest.mark.parametrize("size", [200_000, 50_000_000])
async def test_a_reader_that_takes_nothing_is_cut_and_the_server_goes_on(
    serve: Serve, store: FilesystemStore, size: int
) -> None:
    server = await serve(write_stall_seconds=0.3)
    digest = await push(server, bytes(1000) * (size // 1000))
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(raw, ("127.0.0.1", server.port))
    asked = GET.replace(b"/v2/", f"/v2/app/blobs/{digest}".encode())
    await loop.sock_sendall(raw, asked * (1 if size > 1_000_000 else 60))
    assert await until_async(lambda: server.connections == 1)
    assert await until_async(lambda: server.connections == 0)
    raw.close()
    assert await status_of(server, GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")) == 200


async def test_a_reader_that_is_slow_is_not_cut(serve: Serve) -> None:
    server = await serve(write_stall_seconds=0.4)
    content = bytes(range(256)) * 4096 * 8
    digest = await push(server, content)
    connection = await connect(server, limit=65536)
    await connection.send(GET.replace(b"/v2/", f"/v2/app/blobs/{digest}".encode()))
    await connection.reader.readuntil(b"\r\n\r\n")
    received = bytearray()
    while len(received) < len(content):
        received += await connection.reader.read(300_000)
        await asyncio.sleep(0.01)
    assert received == content
    await connection.close()


async def test_what_came_before_the_client_left_is_kept_and_gone_on_with(serve: Serve) -> None:
    server = await serve()
    content = bytes(range(256)) * 8000
    connection = await connect(server)
    location = await begin_upload(connection)
    await connection.send(patch(location, f"Content-Length: {len(content)}") + content[:1_500_000])
    connection.writer.transport.abort()
    connection = await connect(server)

    async def size() -> int:
        await connection.send(GET.replace(b"/v2/", location.encode()))
        return int((await connection.answer())[1]["range"].removeprefix("0-")) + 1

    taken = await size()
    assert 0 < taken <= 1_500_000
    rest = content[taken:]
    head = patch(location, f"Content-Range: {taken}-{len(content) - 1}", f"Content-Length: {len(rest)}")
    await connection.send(head + rest)
    assert (await connection.answer())[0] == 202
    digest = digest_of(content)
    await connection.send(f"PUT {location}?digest={digest} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    assert (await connection.answer())[0] == 201
    await connection.close()


async def test_a_client_that_asks_before_sending_is_told_to_go_on(serve: Serve) -> None:
    connection = await connect(await serve())
    location = await begin_upload(connection)
    await connection.send(patch(location, "Content-Length: 5", "Expect: 100-continue"))
    assert await connection.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    await connection.send(b"hello")
    assert (await connection.answer())[1]["range"] == "0-4"
    await connection.close()


async def test_a_refused_body_is_not_asked_for(serve: Serve) -> None:
    size = 5 << 20
    head = f"PUT /v2/app/manifests/v1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: {size}\r\n"
    answer = await exchange(await serve(), f"{head}Expect: 100-continue\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"connection: close" in answer


async def test_the_answer_to_a_refused_body_arrives_while_the_client_still_sends(serve: Serve) -> None:
    server = await serve()
    size = 64 << 20
    connection = await connect(server)
    head = f"PUT /v2/app/manifests/v1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: {size}\r\n\r\n"

    async def send() -> None:
        await connection.send(head.encode())
        for _ in range(16):
            await connection.send(bytes(1 << 20))

    _, answer = await asyncio.gather(send(), connection.answer())
    assert answer[0] == 413
    await connection.close()


async def test_a_client_that_left_before_its_body_was_refused_is_not_waited_for() -> None:
    """While its body waits for the application nobody reads, and nobody sees it leave."""
    may_answer = asyncio.Event()
    told: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))

    class Refusing:
        def answer_at_once(self, scope: Scope) -> Answer | None:
            return None

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            await may_answer.wait()
            await Answer(413)(scope, receive, send)

    async with EmbeddedServer(Guard(Refusing()), port=0, limits=Limits(linger_seconds=60)) as server:
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            client.setblocking(False)
            await asyncio.get_running_loop().sock_sendall(
                client, patch("/v2/", "Content-Length: 100000000") + bytes(3_000_000)
            )
        await until_async(lambda: server.connections == 1)
        may_answer.set()
        await until_async(lambda: server.connections == 0)
    gc.collect()
    assert not told


async def test_more_connections_than_are_taken_are_told_so(serve: Serve) -> None:
    server = await serve(connections=16)
    held = [await connect(server) for _ in range(16)]
    for connection in held:
        await connection.send(GET)
        assert (await connection.answer())[0] == 200
    assert await status_of(server, GET) == 503
    await held.pop().close()
    assert await until_async(lambda: server.connections < 16)
    assert await status_of(server, GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")) == 200
    for connection in held:
        await connection.close()


async def test_what_the_server_itself_refuses_has_the_security_headers(serve: Serve) -> None:
    busy = await serve(connections=1)
    held = await connect(busy)
    slow = await serve(header_seconds=0.2)
    answers = [
        await exchange(busy, GET),
        await exchange(slow, b"GET /v2/ HT"),
        await exchange(await serve(), b"GET /" + b"x" * 100_000),
        await exchange(await serve(), b"GET " + b"/" * 9000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        await exchange(await serve(), b"NONSENSE\r\n\r\n"),
        await exchange(await serve(), GET.replace(b"/v2/", b"*")),
    ]
    await held.close()
    assert [int(answer.split()[1]) for answer in answers] == [503, 408, 431, 414, 400, 400]
    for answer in answers:
        for line in (
            b"x-content-type-options: nosniff\r\n",
            b"content-security-policy: default-src 'none'; sandbox\r\n",
            b"cross-origin-resource-policy: same-origin\r\n",
        ):
            assert line in answer


async def test_a_failure_of_ours_has_the_security_headers_too(caplog: pytest.LogCaptureFixture) -> None:
    class Failing:
        def answer_at_once(self, scope: Scope) -> Answer | None:
            return None

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            raise LookupError("broken")

    async with EmbeddedServer(Guard(Failing()), port=0) as server:
        answer = await exchange(server, GET)
    assert answer.startswith(b"HTTP/1.1 500 ")
    assert b"content-security-policy: default-src 'none'; sandbox\r\n" in answer
    assert "LookupError: broken" in caplog.text


async def test_a_thousand_silent_connections_leave_it_answering(serve: Serve) -> None:
    server = await serve()
    held = [await connect(server) for _ in range(1000)]
    loop = asyncio.get_running_loop()
    began = loop.time()
    assert await status_of(server, GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")) == 200
    assert loop.time() - began < 1
    for connection in held:
        connection.writer.transport.abort()


async def test_a_stream_without_an_end_does_not_fill_the_memory(serve: Serve) -> None:
    """Nobody reads the body of a GET: what comes of it is thrown away."""
    server = await serve()
    connection = await connect(server)
    await connection.send(GET.replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n"))
    assert (await connection.answer())[0] == 200
    for _ in range(64):
        await connection.send(b"100000\r\n" + bytes(0x100000) + b"\r\n")
    await connection.send(b"0\r\n\r\n" + GET)
    assert (await connection.answer())[0] == 200
    await connection.close()


async def push(server: EmbeddedServer, content: bytes) -> str:
    digest = digest_of(content)
    connection = await connect(server)
    head = f"POST /v2/app/blobs/uploads/?digest={digest} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(content)}"
    await connection.send(f"{head}\r\n\r\n".encode() + content)
    assert (await connection.answer())[0] == 201
    await connection.close()
    return digest


async def test_an_answer_before_the_close_is_waited_for_as_long_as_it_is_read(serve: Serve) -> None:
    server = await serve(linger_seconds=0.2, write_stall_seconds=1)
    content = b'{"schemaVersion": 2, "manifests": [], "pad": "%b"}' % (b"x" * 4_000_000)
    connection = await connect(server)
    await connection.send(
        b"PUT /v2/app/manifests/v1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(content)
    )
    await connection.send(content)
    assert (await connection.answer())[0] == 201
    await connection.close()
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(raw, ("127.0.0.1", server.port))
    asked = GET.replace(b"/v2/", b"/v2/app/manifests/v1").replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    await loop.sock_sendall(raw, asked)
    received = bytearray()
    while piece := await loop.sock_recv(raw, 100_000):
        received += piece
        if len(received) < 300_000:
            await asyncio.sleep(0.05)
    assert received.endswith(content)
    raw.close()


async def test_trailers_are_nobodys_business_and_bounded(serve: Serve) -> None:
    server = await serve()
    connection = await connect(server)
    location = await begin_upload(connection)
    await connection.send(
        patch(location, "Transfer-Encoding: chunked") + b"5\r\nhello\r\n0\r\nContent-Range: 7-9\r\n\r\n"
    )
    assert (await connection.answer())[1]["range"] == "0-4"
    await connection.send(patch(location, "Transfer-Encoding: chunked") + b"5\r\nhello\r\n0\r\nX: ")
    ending = asyncio.create_task(connection.to_the_end())
    sent = 0
    while not ending.done() and sent < 64 << 20:
        connection.writer.write(b"x" * 65536)
        sent += 65536
        await asyncio.sleep(0)
    assert b" 202 " not in await ending
    assert sent < 16 << 20
    await connection.close()


async def test_one_request_at_a_time_writes_to_a_session(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("yarddesk.registry.uploads._BUSY_SECONDS", 0.2)
    server = await serve()
    first, second = await connect(server), await connect(server)
    location = await begin_upload(first)
    await first.send(patch(location, "Content-Length: 10") + b"hello")
    await second.send(patch(location, "Content-Length: 5") + b"other")
    status, _, body = await second.answer()
    assert (status, b"BLOB_UPLOAD_INVALID" in body) == (409, True)
    await first.send(b"world")
    assert (await first.answer())[1]["range"] == "0-9"
    await second.send(GET.replace(b"/v2/", location.encode()))
    assert (await second.answer())[1]["range"] == "0-9"
    for connection in (first, second):
        await connection.close()


async def test_a_full_disk_is_507_and_the_server_goes_on(
    serve: Serve, store: FilesystemStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = await serve()
    connection = await connect(server)
    location = await begin_upload(connection)
    session = await store.find_upload(RepositoryName.parse("app"), location.rsplit("/", 1)[1])

    async def full(piece: bytes) -> None:
        await session.cancel()
        raise StorageFull("The disk is full.")

    monkeypatch.setattr(session, "write", full)
    await connection.send(patch(location, "Content-Length: 5") + b"hello")
    status, _, body = await connection.answer()
    assert (status, b"The disk is full." in body) == (507, True)
    await connection.send(GET)
    assert (await connection.answer())[0] == 200
    await connection.send(GET.replace(b"/v2/", location.encode()))
    assert (await connection.answer())[0] == 404
    await connection.close()
