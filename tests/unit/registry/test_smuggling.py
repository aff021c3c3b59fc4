"""Requests that two servers could read differently: each is read in one way or refused, and nothing is taken for a second request."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.lonely_registry import lonely_registry
from tests.unit.registry.raw import exchange
from yarddesk.registry.limits import Limits
from yarddesk.registry.server import EmbeddedServer
from yarddesk.storage.filesystem import FilesystemStore

HEAD = b"POST /v2/app/blobs/uploads/ HTTP/1.1\r\nHost: localhost\r\n"
# What would be a request of its own, if it were taken for one: 405 tells.
HIDDEN = b"DELETE /v2/ HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[EmbeddedServer]:
    limits = Limits(header_seconds=0.3, idle_seconds=0.3, body_stall_seconds=0.3, linger_seconds=0.3)
    async with (
        FilesystemStore.open(tmp_path / "data") as store,
        EmbeddedServer(lonely_registry(store), port=0, limits=limits) as running,
    ):
        yield running


REFUSED = {
    "both lengths": HEAD + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "both lengths, the other way round": HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
    "two lengths": HEAD + b"Content-Length: 0\r\nContent-Length: 44\r\n\r\n",
    "a list of lengths": HEAD + b"Content-Length: 0, 44\r\n\r\n",
    "a negative length": HEAD + b"Content-Length: -1\r\n\r\n",
    "a signed length": HEAD + b"Content-Length: +0\r\n\r\n",
    "a hexadecimal length": HEAD + b"Content-Length: 0x10\r\n\r\n",
    "a length with a space in it": HEAD + b"Content-Length: 1 0\r\n\r\n",
    "a length of no digits": HEAD + b"Content-Length: \r\n\r\n",
    "a length of too many digits": HEAD + b"Content-Length: 99999999999999999999999\r\n\r\n",
    "a fraction as a length": HEAD + b"Content-Length: 0.0\r\n\r\n",
    "chunked, and then something else": HEAD + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    "something else, with a space before the colon": HEAD + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "an unknown coding": HEAD + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "identity": HEAD + b"Transfer-Encoding: identity\r\n\r\n",
    "a folded header": HEAD + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    "a header without a name": HEAD + b": x\r\n\r\n",
    "a header without a colon": HEAD + b"Content-Length\r\n\r\n",
    "a name with a space": HEAD + b"Content Length: 0\r\n\r\n",
    "a name with NUL": HEAD + b"Content\0Length: 0\r\n\r\n",
    "a value with NUL": HEAD + b"X: a\0b\r\n\r\n",
    "a value with a bare CR": HEAD + b"X: a\rContent-Length: 44\r\n\r\n",
    "a chunk size of no digits": HEAD + b"Transfer-Encoding: chunked\r\n\r\n\r\n0\r\n\r\n",
    "a chunk size with 0x": HEAD + b"Transfer-Encoding: chunked\r\n\r\n0x0\r\n\r\n",
    "a negative chunk": HEAD + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n",
    "a chunk larger than any number": HEAD + b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n\r\n",
    "a chunk without its end": HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\naXX0\r\n\r\n",
    "a length as a trailer": HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 44\r\n\r\n",
    "a method in lower case": b"get /v2/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "no version": b"GET /v2/\r\nHost: localhost\r\n\r\n",
    "another version": b"GET /v2/ HTTP/2.0\r\nHost: localhost\r\n\r\n",
    "another protocol": b"GET /v2/ ICY/1.1\r\nHost: localhost\r\n\r\n",
    "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a target with a space": b"GET /v2/ x HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "an authority as the target": b"CONNECT localhost:80 HTTP/1.1\r\nHost: localhost\r\n\r\n",
}


@pytest.mark.parametrize("name", REFUSED)
async def test_what_could_be_read_in_two_ways_is_refused_and_ends_the_connection(
    server: EmbeddedServer, name: str
) -> None:
    answer = await exchange(server, REFUSED[name] + HIDDEN)
    assert b" 405 " not in answer, "what follows was taken for a request"
    assert answer == b"" or answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 501 ")), answer
    assert b" 202 " not in answer


READ_ONE_WAY = {
    "a body that looks like a request": HEAD + b"Content-Length: %d\r\n\r\n" % len(HIDDEN),
    "a GET with a body": b"GET /v2/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(HIDDEN),
    "a HEAD with a body": b"HEAD /v2/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(HIDDEN),
    "a chunk that looks like a request": HEAD + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % len(HIDDEN),
}


@pytest.mark.parametrize("name", READ_ONE_WAY)
async def test_a_body_is_never_taken_for_a_request(server: EmbeddedServer, name: str) -> None:
    end = b"\r\n0\r\n\r\n" if b"chunked" in READ_ONE_WAY[name] else b""
    answer = await exchange(server, READ_ONE_WAY[name] + HIDDEN + end)
    assert b" 405 " not in answer
    assert answer.count(b"HTTP/1.1 ") == 1


async def test_trailers_change_nothing(server: EmbeddedServer) -> None:
    trailer = b"0\r\nHost: evil.example\r\nOrigin: null\r\n\r\n"
    answer = await exchange(server, HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + trailer)
    assert answer.startswith(b"HTTP/1.1 202 ")
    assert answer.count(b"HTTP/1.1 ") == 1


async def test_after_a_whole_request_the_next_one_is_read(server: EmbeddedServer) -> None:
    answer = await exchange(server, HEAD + b"Content-Length: 0\r\n\r\n" + HIDDEN)
    assert [line.split()[1] for line in answer.split(b"\r\n") if line.startswith(b"HTTP/1.1")] == [b"202", b"405"]
