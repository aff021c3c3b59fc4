"""Bodies of requests, large and small, plain and chunked, in whatever pieces they come: every byte, once, in order."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.support.lonely_registry import lonely_registry
from tests.support.waiting import until_async
from tests.unit.registry.pushing import digest_of
from tests.unit.registry.raw import Connection, connect, status_of
from yarddesk.content.store import Store
from yarddesk.oci.digest import Digest
from yarddesk.oci.name import RepositoryName
from yarddesk.registry.limits import Limits
from yarddesk.registry.server import EmbeddedServer

GET = b"GET /v2/ HTTP/1.1\r\nHost: localhost\r\n\r\n"
MIB = 1 << 20


@pytest.fixture
async def server(store: Store) -> AsyncIterator[EmbeddedServer]:
    async with EmbeddedServer(lonely_registry(store), port=0, limits=Limits(idle_seconds=2.0)) as running:
        yield running


def post(content: bytes, *headers: str) -> bytes:
    path = f"/v2/app/blobs/uploads/?digest={digest_of(content)}"
    return "\r\n".join([f"POST {path} HTTP/1.1", "Host: localhost", *headers, "", ""]).encode()


def in_chunks(content: bytes, sizes: Iterator[int], extension: bytes = b"") -> bytes:
    coded = bytearray()
    start = 0
    while start < len(content):
        chunk = content[start : start + next(sizes)]
        coded += b"%x%b\r\n%b\r\n" % (len(chunk), extension, chunk)
        start += len(chunk)
    return bytes(coded) + b"0\r\nSome: trailer\r\n\r\n"


def framed(content: bytes, framing: str, seed: random.Random) -> bytes:
    if framing == "plain":
        return post(content, f"Content-Length: {len(content)}") + content
    sizes = iter(lambda: seed.choice([1, 15, 4096, 32 << 10, 200_000]), 0)
    extension = b';name="some value"' if framing == "chunked with extensions" else b""
    return post(content, "Transfer-Encoding: chunked") + in_chunks(content, sizes, extension)


async def whole(store: Store, content: bytes) -> bool:
    async with store.read_blob(Digest.parse(digest_of(content))) as pieces:
        return b"".join([piece async for piece in pieces]) == content


@pytest.mark.parametrize("framing", ["plain", "chunked", "chunked with extensions"])
@pytest.mark.parametrize("size", [1, 128 * 1024, MIB, 3 * MIB + 12_345])
async def test_a_body_is_taken_whole_and_the_next_request_after_it(
    server: EmbeddedServer, store: Store, framing: str, size: int
) -> None:
    seed = random.Random(f"{framing} {size}")
    content = seed.randbytes(size)
    request = framed(content, framing, seed) + GET
    connection = await connect(server)
    start = 0
    while start < len(request):
        length = seed.choice([1, 100, 70_000, 700_000])
        await connection.send(request[start : start + length])
        start += length
    assert [(await connection.answer())[0] for _ in range(2)] == [201, 200]
    assert await whole(store, content)
    await connection.close()


@pytest.mark.parametrize("framing", ["plain", "chunked"])
async def test_more_bodies_at_once_than_there_are_buffers(server: EmbeddedServer, store: Store, framing: str) -> None:
    contents = [random.Random(number).randbytes(2 * MIB + number) for number in range(24)]
    halves = [divided(framed(content, framing, random.Random(1))) for content in contents]
    connections = [await connect(server) for _ in contents]
    # All are in the middle of a large body before the first one ends.
    await asyncio.gather(*(connection.send(first) for connection, (first, _) in zip(connections, halves, strict=True)))
    await asyncio.gather(
        *(connection.send(second) for connection, (_, second) in zip(connections, halves, strict=True))
    )
    assert {(await connection.answer())[0] for connection in connections} == {201}
    assert all([await whole(store, content) for content in contents])
    for connection in connections:
        await connection.close()


def divided(request: bytes) -> tuple[bytes, bytes]:
    return request[: len(request) // 2], request[len(request) // 2 :]


async def test_what_a_slow_client_has_sent_does_not_wait_for_the_rest(server: EmbeddedServer, store: Store) -> None:
    connection = await connect(server)
    session = await begin(connection)
    sent = bytes(400_000)
    head = f"PATCH {session} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9000000\r\n\r\n".encode()
    await connection.send(head + sent)
    upload = await store.find_upload(RepositoryName.parse("app"), session.rpartition("/")[2])
    await until_async(lambda: upload.size == len(sent), what="the store has it")
    await connection.close()


async def begin(connection: Connection) -> str:
    await connection.send(b"POST /v2/app/blobs/uploads/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
    return (await connection.answer())[1]["location"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (("Transfer-Encoding: gzip, chunked",), 501),
        (("Transfer-Encoding: gzip", "Transfer-Encoding: chunked"), 501),
        (("Transfer-Encoding: identity",), 501),
        (("Transfer-Encoding: chunked, identity",), 400),
        (("Transfer-Encoding: chunked", "Content-Length: 5"), 400),
        (("Content-Length: 5", "Transfer-Encoding: chunked"), 400),
        (("Content-Length: 5", "Content-Length: 5"), 400),
        (("Content-Length: 5, 5",), 400),
        (("Content-Length: +5",), 400),
        (("Content-Length: 0x5",), 400),
        (("Content-Length: 99999999999999999999",), 400),
    ],
)
async def test_a_body_whose_end_is_not_sure_is_refused(
    server: EmbeddedServer, headers: tuple[str, ...], status: int
) -> None:
    smuggled = b"5\r\nhello\r\n0\r\n\r\n" + GET
    assert await status_of(server, post(b"hello", *headers) + smuggled) == status


async def test_a_chunked_body_in_http_1_0_is_refused(server: EmbeddedServer) -> None:
    request = post(b"hello", "Transfer-Encoding: chunked").replace(b"HTTP/1.1", b"HTTP/1.0")
    assert await status_of(server, request + b"5\r\nhello\r\n0\r\n\r\n") == 400


@pytest.mark.parametrize(
    "coded", [b"5\r\nhello0\r\n\r\n", b"5 \r\nhello\r\n0\r\n\r\n", b"5;\r\nhello\r\n0\r\n\r\n", b"+5\r\n"]
)
async def test_a_wrong_chunk_is_400(server: EmbeddedServer, coded: bytes) -> None:
    connection = await connect(server)
    await connection.send(b"PUT /v2/app/manifests/a HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
    await connection.send(coded)
    assert b" 201 " not in await connection.to_the_end()
    await connection.close()


async def test_a_length_with_zeros_before_it_is_a_length(server: EmbeddedServer, store: Store) -> None:
    connection = await connect(server)
    await connection.send(post(b"hello", "Content-Length: 0005") + b"hello" + GET)
    assert [(await connection.answer())[0] for _ in range(2)] == [201, 200]
    assert await whole(store, b"hello")
    await connection.close()
