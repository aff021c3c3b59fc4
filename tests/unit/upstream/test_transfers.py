"""Blobs on their way, both ways: the upload's steps, what breaks in the middle, cancellation, and what is left behind."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from tests.support.scripted import RESET, Asked, Reply, ScriptedServer, scripted
from tests.support.upstreams import (
    GivenCredentials,
    blob,
    credential,
    opened_routes,
    opened_upstream,
    source_of,
)
from tests.support.waiting import until_async
from yarddesk.content.target import DigestMismatch, NotFound
from yarddesk.content.upstream import (
    Upstream,
    UpstreamBroken,
    UpstreamFailure,
    UpstreamFull,
    UpstreamMissing,
    UpstreamStalled,
    UpstreamUntrue,
)
from yarddesk.oci.digest import Digest
from yarddesk.oci.name import RepositoryName
from yarddesk.upstream import ladder
from yarddesk.upstream.http import Timeouts
from yarddesk.upstream.pool import PoolTransport

LAYER = random.Random(7).randbytes(6 * 1024 * 1024)
SMALL = LAYER[:5000]
REPOSITORY, OTHER = RepositoryName.parse("team/app"), RepositoryName.parse("team/other")
QUICK = Timeouts(connect_seconds=1, answer_seconds=0.5, stall_seconds=0.5, commit_seconds=0.5)


class Uploads:
    """The uploads of a registry. location: how it names the session, `{}` for its number."""

    def __init__(self, location: str = "/v2/team/app/blobs/uploads/{}") -> None:
        self.location = location
        self.server: ScriptedServer | None = None
        self.sessions: dict[int, bytes] = {}
        self.blobs: set[str] = set()
        self.patch_status = 202
        self.close = Reply(201)

    def __call__(self, asked: Asked) -> Reply:
        assert self.server is not None
        where = self.location.replace("HOST", self.server.host)
        if asked.method == "POST":
            number = len(self.sessions) + 1
            self.sessions[number] = b""
            return Reply(202, {"Location": where.format(number)})
        number = len(self.sessions)
        if asked.method == "PATCH":
            if self.patch_status >= 400:
                return Reply(self.patch_status)
            self.sessions[number] += asked.body
            return Reply(
                self.patch_status, {"Location": where.format(number) + ("&" if "?" in where else "?") + "step=2"}
            )
        if asked.method == "PUT":
            content = self.sessions[number] + asked.body
            self.blobs.add(Digest.of(content))
            return self.close
        return Reply(204)


@asynccontextmanager
async def uploads(**options: str) -> AsyncIterator[tuple[Uploads, ScriptedServer]]:
    registry = Uploads(**options)
    async with scripted(registry) as server:
        registry.server = server
        yield registry, server


async def test_a_small_blob_is_one_put() -> None:
    async with uploads() as (registry, server), opened_upstream(server.host) as repository:
        await repository.push(blob(SMALL), source_of(SMALL))
        assert registry.blobs == {blob(SMALL).digest}
        assert [asked.method for asked in server.asked] == ["POST", "PUT"]
        assert server.asked[1].headers["content-length"] == str(len(SMALL))


async def test_an_empty_blob() -> None:
    async with uploads() as (registry, server), opened_upstream(server.host) as repository:
        await repository.push(blob(b""), source_of(b""))
        assert registry.blobs == {blob(b"").digest}


async def test_a_large_blob_is_one_streamed_patch_and_an_empty_put() -> None:
    async with uploads() as (registry, server), opened_upstream(server.host) as repository:
        await repository.push(blob(LAYER), source_of(LAYER))
        assert registry.blobs == {blob(LAYER).digest}
        _, patch, put = server.asked
        assert (patch.method, patch.headers["content-length"]) == ("PATCH", str(len(LAYER)))
        assert "content-range" not in patch.headers
        assert (put.method, put.body, put.headers["content-length"]) == ("PUT", b"", "0")


@pytest.mark.parametrize(
    "location",
    [
        "/v2/team/app/blobs/uploads/{}",
        "uploads/{}?_state=a%2Bb%3D%3D&x=1",
        "http://HOST/v2/team/app/blobs/uploads/{}?_state=YWJj-_.%2F",
    ],
)
async def test_locations_are_followed_as_they_are(location: str) -> None:
    async with uploads(location=location) as (registry, server), opened_upstream(server.host) as repository:
        await repository.push(blob(LAYER), source_of(LAYER))
        assert registry.blobs == {blob(LAYER).digest}
        query = location.partition("?")[2]
        assert f"?{query}" in server.asked[1].path if query else "?" not in server.asked[1].path
        joint = "&" if query else ""
        digest = blob(LAYER).digest.replace(":", "%3A")
        assert server.asked[2].path.endswith(f"?{query}{joint}step=2&digest={digest}")


async def test_content_is_not_sent_to_another_place() -> None:
    async with scripted(lambda _: Reply(201), host="127.0.0.2") as thief:
        location = f"http://{thief.host}/v2/x/{{}}"
        async with uploads(location=location) as (_, server), opened_upstream(server.host) as repository:
            with pytest.raises(UpstreamUntrue) as caught:
                await repository.push(blob(SMALL), source_of(SMALL))
            assert thief.host in caught.value.message
        assert thief.asked == []


@pytest.mark.parametrize("status", [405, 416, 501])
async def test_a_registry_without_patch_gets_a_put_and_is_remembered(status: int) -> None:
    async with uploads() as (registry, server), opened_upstream(server.host) as repository:
        registry.patch_status = status
        await repository.push(blob(LAYER), source_of(LAYER))
        assert registry.blobs == {blob(LAYER).digest}
        await repository.push(blob(LAYER), source_of(LAYER))
        assert len(server.of("PATCH")) == 1
        assert len(server.of("PUT")) == 2


async def test_a_source_that_lies_never_becomes_complete() -> None:
    for content in (SMALL, LAYER):
        async with uploads() as (registry, server), opened_upstream(server.host) as repository:
            with pytest.raises(DigestMismatch):
                await repository.push(blob(content), source_of(content[:-1] + b"?"))
            assert not registry.blobs
            with pytest.raises(DigestMismatch):
                await repository.push(blob(content), source_of(content[:-1]))
            assert not registry.blobs
            assert not server.of("PUT")


async def test_a_registry_that_reports_another_digest_is_untrue() -> None:
    async with uploads() as (registry, server), opened_upstream(server.host) as repository:
        registry.close = Reply(201, {"Docker-Content-Digest": Digest.of(b"other")})
        with pytest.raises(UpstreamUntrue):
            await repository.push(blob(SMALL), source_of(SMALL))


async def test_what_was_refused_is_cleared_away_with_its_reason_told() -> None:
    async with uploads() as (registry, server), opened_upstream(server.host) as repository:
        registry.close = Reply(413, {}, b'{"errors":[{"code":"SIZE_INVALID","message":"quota of 1 GB"}]}')
        with pytest.raises(UpstreamFull) as caught:
            await repository.push(blob(SMALL), source_of(SMALL))
        assert "quota of 1 GB" in caught.value.message
        await until_async(lambda: server.of("DELETE"))


async def test_a_repository_that_must_be_made_first_is_refused_in_words() -> None:
    missing = Reply(404, {}, b'{"errors":[{"code":"NAME_UNKNOWN","message":"no such repository"}]}')
    async with scripted(lambda _: missing) as server, opened_upstream(server.host) as repository:
        with pytest.raises(UpstreamMissing) as caught:
            await repository.push(blob(SMALL), source_of(SMALL))
        assert caught.value.title == f"{server.host} has no repository team/app."
        assert "no such repository" in caught.value.message


async def test_a_token_that_expired_before_the_body_is_renewed_and_the_body_sent_again() -> None:
    refusals = [True]
    async with uploads() as (registry, server):

        def script(asked: Asked) -> Reply:
            if asked.method == "PATCH" and refusals:
                refusals.clear()
                return Reply(401, {"WWW-Authenticate": "Basic"})
            return registry(asked)

        server.script = script
        store = GivenCredentials({server.host: credential("ci", "x")})
        opened: list[int] = []
        async with opened_upstream(server.host, store) as repository:
            await repository.push(blob(LAYER), source_of(LAYER, opened=opened))
        assert registry.blobs == {blob(LAYER).digest}
        assert opened == [0, 0]
        assert server.of("PUT")[0].headers["authorization"].startswith("Basic ")


async def test_a_connection_that_breaks_in_the_middle_of_an_upload_is_told() -> None:
    async with uploads() as (registry, server), opened_upstream(server.host) as repository:
        server.script = lambda asked: RESET if asked.method == "PATCH" else registry(asked)
        with pytest.raises(UpstreamBroken):
            await repository.push(blob(LAYER), source_of(LAYER))


async def test_a_registry_that_takes_nothing_any_more_is_given_up() -> None:
    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            if line.startswith(b"POST"):
                writer.write(b"HTTP/1.1 202 Accepted\r\nLocation: /v2/u\r\nContent-Length: 0\r\n\r\n")
            if line.startswith(b"PATCH"):
                stuck.set()
                await over.wait()
                break
        writer.close()

    stuck, over = asyncio.Event(), asyncio.Event()
    content = LAYER * 4
    listener = await asyncio.start_server(deaf, "127.0.0.1", 0)
    host = f"127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    async with listener, opened_upstream(host, timeouts=QUICK) as repository:
        with pytest.raises(UpstreamStalled):
            await asyncio.wait_for(repository.push(blob(content), source_of(content)), 10)
        assert stuck.is_set()
        over.set()


async def test_the_time_that_our_own_disk_needs_is_not_the_registrys() -> None:
    @asynccontextmanager
    async def slow(offset: int) -> AsyncIterator[AsyncIterator[bytes]]:
        async def pieces() -> AsyncIterator[bytes]:
            for start in range(offset, len(LAYER), 3 * 1024 * 1024):
                # The wait itself is the thing that is tested: longer than the registry is given.
                await asyncio.sleep(QUICK.stall_seconds * 1.5)
                yield LAYER[start : start + 3 * 1024 * 1024]

        yield pieces()

    async with uploads() as (registry, server), opened_upstream(server.host, timeouts=QUICK) as repository:
        await repository.push(blob(LAYER), slow)
        assert registry.blobs == {blob(LAYER).digest}


@asynccontextmanager
async def cancelled_push(*, leave: bool = False) -> AsyncIterator[tuple[ScriptedServer, Upstream]]:
    """An upstream whose push of LAYER was cancelled when two MiB of it were read; leave: it's closed when that is shown."""
    entered, left = asyncio.Event(), asyncio.Event()

    @asynccontextmanager
    async def endless(_: int) -> AsyncIterator[AsyncIterator[bytes]]:
        async def pieces() -> AsyncIterator[bytes]:
            yield LAYER[: 1024 * 1024]
            yield LAYER[: 1024 * 1024]
            entered.set()
            await asyncio.Event().wait()

        iterator = pieces()
        try:
            yield iterator
        finally:
            left.set()
            await iterator.aclose()  # type: ignore[attr-defined]  # it is a generator

    async with uploads() as (_, server), opened_routes(server.host) as routes:
        upstream = routes.all()[0]
        push = asyncio.create_task(upstream.repository(REPOSITORY).push(blob(LAYER), endless))
        await entered.wait()
        loop = asyncio.get_running_loop()
        began = loop.time()
        push.cancel()
        with pytest.raises(asyncio.CancelledError):
            await push
        assert loop.time() - began < 1
        assert left.is_set()
        assert not server.of("DELETE"), "the next try may go on with it"
        if leave:
            await routes.aclose()
        yield server, upstream


async def test_a_cancelled_push_ends_at_once_and_its_session_goes_when_nobody_goes_on_with_it() -> None:
    async with cancelled_push() as (server, upstream):
        upstream.abandon(REPOSITORY, Digest.of(SMALL))
        upstream.abandon(OTHER, Digest.of(LAYER))
        upstream.abandon(REPOSITORY, Digest.of(LAYER))
        await until_async(lambda: server.of("DELETE"))
        upstream.abandon(REPOSITORY, Digest.of(LAYER))
        await upstream.repository(REPOSITORY).push(blob(LAYER), source_of(LAYER))
        assert len(server.of("POST")) == 2
        assert len(server.of("DELETE")) == 1


@pytest.mark.parametrize("status", [403, 404, 400])
async def test_an_upload_that_the_registry_does_not_tell_of_any_more_is_begun_again(status: int) -> None:
    async with cancelled_push() as (server, upstream):
        registry = server.script
        server.script = lambda asked: Reply(status) if asked.method == "GET" else registry(asked)
        await upstream.repository(REPOSITORY).push(blob(LAYER), source_of(LAYER))
        assert len(server.of("POST")) == 2


async def test_the_session_of_a_cancelled_push_goes_when_its_upstream_is_closed() -> None:
    async with cancelled_push(leave=True) as (server, _):
        await until_async(lambda: server.of("DELETE"))


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Large blobs go in pieces of 2 MiB."""
    monkeypatch.setattr(ladder, "TURN_BYTES", 2 * 1024 * 1024)


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize(
    "refusal",
    [Reply(500), Reply(404, {}, b'{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN"}]}'), Reply(416), Reply(405)],
    ids=["trouble", "lost", "range", "method"],
)
async def test_a_registry_that_takes_one_stream_alone_gets_one(refusal: Reply) -> None:
    async with uploads() as (registry, server), opened_upstream(server.host) as repository:

        def script(asked: Asked) -> Reply:
            return refusal if asked.method == "PATCH" and "content-range" in asked.headers else registry(asked)

        server.script = script
        for content in (LAYER, LAYER[1:]):
            await repository.push(blob(content), source_of(content))
            assert blob(content).digest in registry.blobs
            assert len(server.of("PATCH")[-1].body) == len(content)
        pieces = [asked for asked in server.of("PATCH") if "content-range" in asked.headers]
        assert len(pieces) <= 2, "and that is remembered"


@pytest.mark.usefixtures("small_pieces")
async def test_one_that_puts_pieces_together_wrongly_gets_it_whole_the_next_time() -> None:
    async with uploads() as (registry, server), opened_upstream(server.host) as repository:

        def script(asked: Asked) -> Reply:
            reply = registry(asked)
            if asked.method == "PUT" and blob(LAYER).digest not in registry.blobs:
                return Reply(400, {}, b'{"errors":[{"code":"DIGEST_INVALID"}]}')
            return reply

        def losing(asked: Asked) -> Reply:
            if asked.method == "PATCH" and "content-range" in asked.headers:
                return registry(replace(asked, body=asked.body[1:]))
            return script(asked)

        server.script = losing
        with pytest.raises(UpstreamUntrue):
            await repository.push(blob(LAYER), source_of(LAYER))
        await repository.push(blob(LAYER), source_of(LAYER))
        assert blob(LAYER).digest in registry.blobs


@pytest.mark.usefixtures("small_pieces")
async def test_what_is_cancelled_while_others_have_their_turn_goes_on_after_that() -> None:
    waits = asyncio.Event()

    async def turn() -> None:
        waits.set()
        await asyncio.Event().wait()

    async with uploads() as (registry, server), opened_routes(server.host) as routes:
        repository = routes.all()[0].repository(REPOSITORY)
        push = asyncio.create_task(repository.push(blob(LAYER), source_of(LAYER), turn=turn))
        await waits.wait()
        push.cancel()
        with pytest.raises(asyncio.CancelledError):
            await push

        def script(asked: Asked) -> Reply:
            has = len(registry.sessions.get(1, b""))
            return Reply(204, {"Range": f"0-{has - 1}"}) if asked.method == "GET" else registry(asked)

        server.script = script
        await repository.push(blob(LAYER), source_of(LAYER))
        assert blob(LAYER).digest in registry.blobs
        assert len(server.of("POST")) == 1
        assert sum(len(asked.body) for asked in server.of("PATCH")) == len(LAYER)


def content_script(content: bytes, *, cut: int | None = None, ranges: bool = True) -> object:
    def script(asked: Asked) -> Reply:
        start = int(asked.headers.get("range", "bytes=0-")[6:-1])
        if not start or not ranges:
            return Reply(200, {}, content, cut=cut)
        headers = {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}
        return Reply(206, headers, content[start:], cut=cut)

    return script


async def read_all(repository: object, content: bytes, *, offset: int = 0) -> bytes:
    async with repository.fetch(blob(content), offset=offset) as pieces:  # type: ignore[attr-defined]
        return b"".join([piece async for piece in pieces])


@pytest.mark.parametrize("ranges", [True, False])
async def test_a_download_goes_on_where_it_broke(ranges: bool) -> None:
    cut = 2_500_000 if ranges else None
    async with scripted(content_script(LAYER, cut=cut, ranges=ranges)) as server:  # type: ignore[arg-type]
        if not ranges:
            replies = [Reply(200, {}, LAYER, cut=2_500_000), Reply(200, {}, LAYER)]
            server.script = lambda _: replies.pop(0)
        async with opened_upstream(server.host) as repository:
            assert await read_all(repository, LAYER) == LAYER
        assert len(server.asked) == (3 if ranges else 2)
        assert server.asked[1].headers["range"].startswith("bytes=")


async def test_a_download_goes_on_where_parts_are_refused() -> None:
    whole = [Reply(200, {}, LAYER, cut=2_500_000), Reply(200, {}, LAYER)]
    async with (
        scripted(lambda asked: Reply(416) if "range" in asked.headers else whole.pop(0)) as server,
        opened_upstream(server.host) as repository,
    ):
        assert await read_all(repository, LAYER) == LAYER
        assert ["range" in asked.headers for asked in server.asked] == [False, True, False]


async def test_a_download_may_begin_in_the_middle() -> None:
    async with scripted(content_script(LAYER)) as server, opened_upstream(server.host) as repository:  # type: ignore[arg-type]
        assert await read_all(repository, LAYER, offset=5_000_000) == LAYER[5_000_000:]
        assert await read_all(repository, LAYER, offset=len(LAYER)) == b""
        assert len(server.asked) == 1


async def test_a_download_that_breaks_without_progress_ends() -> None:
    async with scripted(lambda _: Reply(200, {}, SMALL, cut=0)) as server, opened_upstream(server.host) as repository:
        with pytest.raises(UpstreamBroken):
            await read_all(repository, SMALL)


@pytest.mark.parametrize(
    "reply",
    [
        Reply(200, {}, SMALL[:-1]),
        Reply(200, {}, SMALL + b"x"),
        Reply(200, {}, SMALL + b"x", length=None),
        Reply(200, {"Content-Encoding": "gzip"}, SMALL),
        Reply(206, {}, SMALL),
        Reply(206, {"Content-Range": "bytes 7-5006/5007"}, SMALL),
    ],
)
async def test_a_blob_of_another_length_never_ends_as_whole(reply: Reply) -> None:
    async with scripted(lambda _: reply) as server, opened_upstream(server.host) as repository:
        with pytest.raises(UpstreamUntrue):
            await read_all(repository, SMALL)


async def test_an_end_of_the_connection_is_not_the_end_of_the_blob() -> None:
    short = Reply(200, {}, SMALL[:100], length=None)
    async with scripted(lambda _: short) as server, opened_upstream(server.host) as repository:
        with pytest.raises(UpstreamBroken) as caught:
            await read_all(repository, SMALL)
        assert "of 5,000 bytes" in caught.value.message


async def test_a_blob_that_is_not_there_is_known_on_entering() -> None:
    async with scripted(lambda _: Reply(404)) as server, opened_upstream(server.host) as repository:
        with pytest.raises(NotFound):
            async with repository.fetch(blob(SMALL)):
                raise AssertionError("there is nothing to read")


async def test_five_hundred_cancelled_transfers_leave_nothing_behind() -> None:
    """httpx's pool would by then be full of connections that nobody uses and nobody may use (httpcore issue 1093)."""
    chance = random.Random(1)
    async with uploads() as (registry, server), opened_upstream(server.host) as repository:

        async def script(asked: Asked) -> Reply | None:
            if asked.method == "GET":
                return Reply(200, {}, LAYER)
            return registry(asked)

        server.script = script

        async def transfer(number: int) -> None:
            if number % 2:
                await repository.push(blob(LAYER), source_of(LAYER))
            else:
                await read_all(repository, LAYER)

        async def cancelled(number: int) -> None:
            task = asyncio.create_task(transfer(number))
            # A few turns of the loop, so that every step of a request is hit: waiting for a connection, connecting, sending…
            for _ in range(chance.randrange(60)):
                await asyncio.sleep(0)
            if task.cancel():  # else it was through already
                with pytest.raises(asyncio.CancelledError):
                    await task

        for batch in range(0, 500, 10):
            await asyncio.gather(*(cancelled(number) for number in range(batch, batch + 10)))
        await asyncio.wait_for(asyncio.gather(*(transfer(number) for number in range(8))), 30)
        leases = repository._client._wire._transports._separate.values()
        transports = [lease.transport for lease in leases if isinstance(lease.transport, PoolTransport)]
        assert transports
        assert sum(transport.open_connections for transport in transports) <= 8
    await until_async(lambda: server.open_connections == 0, what="every connection is closed")


async def test_an_upstream_that_was_closed_leaves_no_connection() -> None:
    async with scripted(content_script(SMALL)) as server:  # type: ignore[arg-type]
        async with opened_upstream(server.host) as repository:
            await asyncio.gather(*(read_all(repository, SMALL) for _ in range(5)))
            assert server.connections <= 5
            before = server.connections
            await read_all(repository, SMALL)
            assert server.connections == before, "a connection is used again"
        await until_async(lambda: server.open_connections == 0)


async def test_an_upstream_that_was_closed_while_in_use_leaves_no_connection_either() -> None:
    async with scripted(content_script(LAYER)) as server, opened_upstream(server.host) as repository:  # type: ignore[arg-type]
        async with repository.fetch(blob(LAYER)) as pieces:
            received = await anext(pieces)
            await repository._client.aclose()
            received += b"".join([piece async for piece in pieces])
        assert received == LAYER
        assert await read_all(repository, LAYER) == LAYER
        await until_async(lambda: server.open_connections == 0)


async def test_errors_of_content_keep_the_connection() -> None:
    async with scripted(lambda _: Reply(404, {}, b"{}")) as server, opened_upstream(server.host) as repository:
        for _ in range(5):
            with pytest.raises(NotFound):
                await repository.fetch_manifest(Digest.of(b"x"))
        assert server.connections == 1


async def test_an_early_refusal_is_heard_while_the_body_is_sent() -> None:
    async def refuses(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if head.startswith(b"POST"):
            writer.write(b"HTTP/1.1 202 Accepted\r\nLocation: /v2/u\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        else:
            await reader.readexactly(100_000)
            writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            await writer.drain()
        writer.close()

    listener = await asyncio.start_server(refuses, "127.0.0.1", 0)
    host = f"127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    async with listener, opened_upstream(host, timeouts=QUICK) as repository:
        with pytest.raises(UpstreamFailure):
            await asyncio.wait_for(repository.push(blob(LAYER), source_of(LAYER)), 10)
