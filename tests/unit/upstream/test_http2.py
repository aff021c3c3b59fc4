"""Requests without large bodies share an HTTP/2 connection where the registry speaks it, and every end of one is told apart."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from h2.errors import ErrorCodes

from tests.support.asyncio_servers import stop_listening
from tests.support.scripted import Asked, Reply, scripted
from tests.support.scripted_http2 import (
    Action,
    GivesUp,
    GoesAway,
    Http2Server,
    Script,
    both_protocols,
    scripted_http2,
    server_context,
)
from tests.support.upstreams import blob, manifest, opened_upstream, source_of
from tests.support.waiting import until_async
from yarddesk.content.upstream import UpstreamAway, UpstreamBroken, UpstreamFailure, UpstreamUntrusted
from yarddesk.oci.media_types import OCI_MANIFEST
from yarddesk.oci.name import Tag
from yarddesk.settings.model import TlsSettings
from yarddesk.upstream.http import Timeouts
from yarddesk.upstream.proxies import Proxies
from yarddesk.upstream.target import RegistryRepository

LATEST = Tag.parse("latest")
EMPTY = {"mediaType": "application/vnd.oci.empty.v1+json", "digest": str(blob(b"{}").digest), "size": 2}
CONTENT = json.dumps(
    {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": EMPTY,
        "layers": [EMPTY],
        "annotations": {"a": "b" * 300_000},
    }
).encode()
IMAGE = manifest(CONTENT)
HEADERS = {"Content-Type": IMAGE.media_type, "Docker-Content-Digest": str(IMAGE.digest)}
LAYER = b"a layer"
FOUND = Reply(200, HEADERS, CONTENT)


@contextlib.asynccontextmanager
async def speaking(script: Script, folder: Path, **more: Any) -> AsyncIterator[tuple[Http2Server, RegistryRepository]]:
    async with scripted_http2(script, folder) as (server, authority):
        async with opened_upstream(server.host, tls=TlsSettings(ca_file=str(authority)), **more) as repository:
            yield server, repository
        await until_async(lambda: server.open_connections == 0, what="every connection is closed")


def manifest_or_layer(asked: Asked) -> Reply:
    return Reply(200, {}, LAYER) if "/blobs/" in asked.path else FOUND


def layer_of(repository: RegistryRepository) -> Callable[[], Awaitable[object]]:
    async def read() -> None:
        async with repository.fetch(blob(LAYER)) as pieces:
            assert b"".join([piece async for piece in pieces]) == LAYER

    return read


def first(action: Action, then: Action = FOUND) -> Callable[[Asked], Action]:
    """One answer to the first request, another to all others."""
    left = [action]
    return lambda _: left.pop() if left else then


async def test_what_is_asked_at_once_shares_one_connection(tmp_path: Path) -> None:
    together = asyncio.Barrier(20)

    async def script(asked: Asked) -> Reply:
        await together.wait()
        return FOUND

    async with speaking(script, tmp_path) as (server, repository):
        found = await asyncio.gather(*(repository.resolve(LATEST) for _ in range(20)))
        assert {each.digest for each in found} == {IMAGE.digest}
        assert server.connections == 1
        assert "host" not in server.asked[0].headers
        assert server.asked[0].headers[":authority"] == server.host


async def test_a_manifest_arrives_and_comes_back(tmp_path: Path) -> None:
    kept: list[bytes] = []

    def script(asked: Asked) -> Reply:
        if asked.method == "PUT":
            kept.append(asked.body)
            return Reply(201, HEADERS, b"a body that nobody wants")
        return FOUND

    async with speaking(script, tmp_path) as (server, repository):
        for _ in range(3):
            await repository.push(IMAGE, source_of(CONTENT))
            assert (await repository.fetch_manifest(LATEST)).content == CONTENT
        assert kept == [CONTENT] * 3
        assert server.connections == 1


@pytest.mark.parametrize(
    "end",
    [
        GoesAway(),
        GoesAway(seen=False),
        GoesAway(code=ErrorCodes.ENHANCE_YOUR_CALM),
        GivesUp(),
        GivesUp(ErrorCodes.REFUSED_STREAM),
    ],
    ids=str,
)
async def test_what_may_be_repeated_is_sent_again_after_an_end(tmp_path: Path, end: Action) -> None:
    kept: list[bytes] = []

    def then(asked: Asked) -> Reply:
        if asked.method == "PUT":
            kept.append(asked.body)
            return Reply(201, HEADERS)
        return FOUND

    async with speaking(first(end), tmp_path) as (server, repository):
        assert (await repository.resolve(LATEST)).digest == IMAGE.digest
        left = [end]
        server.script = lambda asked: left.pop() if left else then(asked)
        await repository.push(IMAGE, source_of(CONTENT))
        assert kept == [CONTENT]
        assert len(server.asked) == 4


@pytest.mark.parametrize(
    ("end", "words"),
    [
        (GoesAway(), "GOAWAY, NO_ERROR"),
        (GivesUp(), "RST_STREAM, INTERNAL_ERROR"),
        (GivesUp(ErrorCodes.REFUSED_STREAM), "RST_STREAM, REFUSED_STREAM"),
        (GivesUp(reply=FOUND, after=1000), "RST_STREAM, INTERNAL_ERROR"),
    ],
    ids=["gone away", "given up", "refused", "given up in the middle"],
)
async def test_an_end_that_comes_again_is_a_broken_connection(tmp_path: Path, end: Action, words: str) -> None:
    async with speaking(lambda _: end, tmp_path) as (server, repository):
        with pytest.raises(UpstreamBroken) as caught:
            await repository.fetch_manifest(LATEST)
        assert caught.value.title == f"The connection to {server.host} broke."
        assert words in caught.value.message
        assert caught.value.temporary
        server.script = lambda _: FOUND
        assert (await repository.resolve(LATEST)).digest == IMAGE.digest


async def test_a_request_that_is_given_up_leaves_the_others_alone(tmp_path: Path) -> None:
    waiting, go = asyncio.Event(), asyncio.Event()

    async def script(asked: Asked) -> Action:
        if "manifests" in asked.path:
            waiting.set()
            await go.wait()
            return FOUND
        return GivesUp()

    async with speaking(script, tmp_path) as (_, repository):
        other = asyncio.create_task(repository.resolve(LATEST))
        await waiting.wait()
        with pytest.raises(UpstreamBroken):
            await repository.tags()
        go.set()
        assert (await other).digest == IMAGE.digest


async def test_a_server_that_goes_away_under_many_requests_gets_them_again(tmp_path: Path) -> None:
    together = asyncio.Barrier(10)
    gone: list[Asked] = []

    async def script(asked: Asked) -> Action:
        if len(server.asked) > 10:
            return FOUND
        gone.append(asked)
        await together.wait()
        return GoesAway()

    async with speaking(script, tmp_path) as (server, repository):
        found = await asyncio.gather(*(repository.resolve(LATEST) for _ in range(10)))
        assert {each.digest for each in found} == {IMAGE.digest}
        assert len(gone) == 10


async def test_a_server_that_wants_http1_for_something_gets_it(tmp_path: Path) -> None:
    context, authority = server_context(tmp_path, "h2", "http/1.1")
    async with both_protocols(lambda _: FOUND, context) as (server, other):
        server.script = lambda _: GivesUp(ErrorCodes.HTTP_1_1_REQUIRED)
        async with opened_upstream(server.host, tls=TlsSettings(ca_file=str(authority))) as repository:
            for _ in range(3):
                assert (await repository.resolve(LATEST)).digest == IMAGE.digest
        assert (len(server.asked), len(other.asked)) == (1, 3), "it isn't asked over HTTP/2 again"


@pytest.mark.parametrize("protocols", [("http/1.1",), ()], ids=["http/1.1", "without ALPN"])
async def test_a_server_of_http1_alone_is_spoken_to_in_it(tmp_path: Path, protocols: tuple[str, ...]) -> None:
    context, authority = server_context(tmp_path, *protocols)
    async with scripted(lambda _: FOUND, tls=context) as server:
        async with opened_upstream(server.host, tls=TlsSettings(ca_file=str(authority))) as repository:
            found = await asyncio.gather(*(repository.resolve(LATEST) for _ in range(5)))
            assert {each.digest for each in found} == {IMAGE.digest}
            before = server.connections
            for _ in range(5):
                await repository.resolve(LATEST)
            assert server.connections == before, "connections are used again"
            assert not any(not each.retired for each in repository._client._wire._transports._shared.values())
        await until_async(lambda: server.open_connections == 0)


async def test_a_connection_that_was_idle_for_long_is_closed_and_not_used_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with speaking(lambda _: FOUND, tmp_path) as (server, repository):
        await repository.resolve(LATEST)
        await repository.resolve(LATEST)
        assert server.connections == 1
        monkeypatch.setattr("yarddesk.upstream.transports._IDLE_SECONDS", -1.0)
        await repository.resolve(LATEST)
        await repository.resolve(LATEST)
        assert server.connections == 3
        await until_async(lambda: server.open_connections == 1)


async def test_plain_http_stays_http1() -> None:
    async with scripted(lambda _: FOUND) as server, opened_upstream(server.host) as repository:
        await repository.resolve(LATEST)
        await repository.resolve(LATEST)
        assert server.connections == 1
        assert server.asked[0].headers["host"] == server.host


async def test_blobs_stay_on_http1(tmp_path: Path) -> None:
    """The two kinds of connection are made at the same time: neither may offer what the other speaks."""
    context, authority = server_context(tmp_path, "h2", "http/1.1")
    async with both_protocols(manifest_or_layer, context) as (server, other):
        async with opened_upstream(server.host, tls=TlsSettings(ca_file=str(authority))) as repository:
            for _ in range(3):
                repository._client.forget_connections()
                await asyncio.gather(
                    *(each() for each in [layer_of(repository), lambda: repository.resolve(LATEST)] * 5)
                )
        assert {asked.path.split("/")[-2] for asked in server.asked} == {"manifests"}
        assert {asked.path.split("/")[-2] for asked in other.asked} == {"blobs"}


async def test_through_a_proxy(tmp_path: Path) -> None:
    async with scripted_http2(lambda _: FOUND, tmp_path) as (server, _), _tunnel(server.host) as (address, asked):
        proxies = Proxies({"https": f"http://{address}"})
        async with opened_upstream("registry.test", proxies=proxies, tls=TlsSettings(verify=False)) as repository:
            found = await asyncio.gather(*(repository.resolve(LATEST) for _ in range(5)))
            assert {each.digest for each in found} == {IMAGE.digest}
        assert asked == [b"CONNECT registry.test:443 HTTP/1.1\r\n"]
        assert server.connections == 1


async def test_through_a_proxy_over_tls_that_would_speak_http2_itself(tmp_path: Path) -> None:
    context, authority = server_context(tmp_path, "h2", "http/1.1")
    async with (
        both_protocols(manifest_or_layer, context) as (server, _),
        _tunnel(server.host, context) as (address, asked),
    ):
        proxies = Proxies({"https": f"https://{address}"})
        async with opened_upstream(
            "registry.test", proxies=proxies, tls=TlsSettings(ca_file=str(authority))
        ) as repository:
            for _ in range(3):
                repository._client.forget_connections()
                await asyncio.gather(
                    *(each() for each in [lambda: repository.resolve(LATEST), layer_of(repository)] * 5)
                )
        assert set(asked) == {b"CONNECT registry.test:443 HTTP/1.1\r\n"}


async def test_who_waits_for_a_connection_hears_at_once_that_none_came_about() -> None:
    """Each would wait for the one before it, and then connect in vain itself."""
    loop = asyncio.get_running_loop()
    async with _silent() as host:
        timeouts = Timeouts(connect_seconds=0.5)
        async with opened_upstream(host, timeouts=timeouts, tls=TlsSettings(verify=False)) as repository:
            began = loop.time()
            failures = await asyncio.gather(*(repository.resolve(LATEST) for _ in range(20)), return_exceptions=True)
            assert all(isinstance(failure, UpstreamAway) for failure in failures)
            assert loop.time() - began < 5


async def test_a_certificate_that_is_not_trusted_is_told_to_all(tmp_path: Path) -> None:
    async with scripted_http2(lambda _: FOUND, tmp_path) as (server, _):
        async with opened_upstream(server.host, tls=TlsSettings()) as repository:
            failures = await asyncio.gather(*(repository.resolve(LATEST) for _ in range(3)), return_exceptions=True)
            assert all(isinstance(failure, UpstreamUntrusted) for failure in failures)
        await until_async(lambda: server.open_connections == 0)


@pytest.mark.parametrize("method", ["GET", "PUT"])
async def test_an_answer_that_nobody_reads_to_its_end_takes_nothing_from_the_others(
    tmp_path: Path, method: str
) -> None:
    """What is left of it would go on to fill the window that all share."""
    endless = b"[" * 17_500_000

    def script(asked: Asked) -> Reply:
        if asked.method == "PUT":
            return Reply(201, HEADERS, endless)
        return Reply(200, {"Content-Type": "application/json"}, endless) if "tags" in asked.path else FOUND

    async with speaking(script, tmp_path, timeouts=Timeouts(stall_seconds=3)) as (_, repository):
        if method == "PUT":
            await repository.push(IMAGE, source_of(CONTENT))
        else:
            with pytest.raises(UpstreamFailure):
                await repository.tags()
        assert (await repository.fetch_manifest(LATEST)).content == CONTENT


async def test_five_hundred_cancelled_questions_leave_nothing_behind(tmp_path: Path) -> None:
    chance = random.Random(2)
    async with speaking(lambda _: FOUND, tmp_path) as (server, repository):

        async def cancelled() -> None:
            task = asyncio.create_task(repository.fetch_manifest(LATEST))
            for _ in range(chance.randrange(80)):
                await asyncio.sleep(0)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

        for _ in range(50):
            await asyncio.gather(*(cancelled() for _ in range(10)))
        found = await asyncio.wait_for(asyncio.gather(*(repository.resolve(LATEST) for _ in range(8))), 30)
        assert {each.digest for each in found} == {IMAGE.digest}
        await until_async(lambda: server.open_connections <= 1, what="what cancelled requests had opened is closed")


@contextlib.asynccontextmanager
async def _tunnel(to: str, tls: Any = None) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A proxy whose tunnels all lead to one place, and the first lines that it was sent."""
    asked: list[bytes] = []
    tasks: set[Any] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.current_task())
        try:
            asked.append(await reader.readline())
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            host, _, port = to.partition(":")
            there, back = await asyncio.open_connection(host, int(port))
            await asyncio.gather(_carry(reader, back), _carry(there, writer))
        finally:
            tasks.discard(asyncio.current_task())

    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=tls)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}", asked
    finally:
        await stop_listening(server)
        await until_async(lambda: not tasks)


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
        while piece := await reader.read(65536):
            writer.write(piece)
            await writer.drain()
    writer.close()


@contextlib.asynccontextmanager
async def _silent() -> AsyncIterator[str]:
    """Takes connections, and never says a word."""
    over = asyncio.Event()

    async def connected(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await over.wait()
        writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        over.set()
        await stop_listening(server)
