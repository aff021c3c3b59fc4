"""What is told of requests: counted whatever way they are answered, and a line in the log for whoever wants one."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable

import httpx
import pytest

from tests.support.content import LATEST, REPOSITORY, push_blob, push_image
from tests.support.lonely_registry import lonely_registry
from tests.support.waiting import until_async
from tests.unit.registry.pushing import digest_of
from tests.unit.registry.raw import connect, status_of
from yarddesk.content.store import Store
from yarddesk.progress.traffic import Traffic
from yarddesk.registry.access import Access, RequestLog, WithBodies
from yarddesk.registry.server import EmbeddedServer

MANIFEST = f"/v2/{REPOSITORY}/manifests/{LATEST}"


@pytest.fixture
def traffic() -> Traffic:
    return Traffic()


@pytest.fixture
def access(traffic: Traffic) -> Access:
    return Access(traffic)


@pytest.fixture
async def server(store: Store, access: Access) -> AsyncIterator[EmbeddedServer]:
    async with EmbeddedServer(WithBodies(lonely_registry(store), access), port=0, observer=access) as running:
        yield running


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """What was logged of requests."""
    caplog.set_level(logging.DEBUG, "yarddesk.requests")
    return lambda: [record.getMessage() for record in caplog.records if record.name == "yarddesk.requests"]


async def test_requests_and_bytes_are_counted_however_they_are_answered(
    client: httpx.AsyncClient, store: Store, traffic: Traffic
) -> None:
    manifest = await push_image(store)
    layer = b"x" * 300_000
    await push_blob(store, layer)
    for _ in range(2):
        assert (await client.head(MANIFEST)).status_code == 200  # the second from memory, without the application
    assert (await client.get(MANIFEST)).content == manifest.content
    assert (await client.get(f"/v2/{REPOSITORY}/blobs/{digest_of(layer)}")).content == layer
    part = await client.get(f"/v2/{REPOSITORY}/blobs/{digest_of(layer)}", headers={"Range": "bytes=0-99"})
    assert part.status_code == 206
    assert (await client.get("/v2/absent/manifests/v1")).status_code == 404
    pushed = b"pushed"
    where = f"/v2/{REPOSITORY}/blobs/uploads/?digest={digest_of(pushed)}"
    assert (await client.post(where, content=pushed)).status_code == 201
    assert traffic.requests == {
        ("HEAD", 200): 2, ("GET", 200): 2, ("GET", 206): 1, ("GET", 404): 1, ("POST", 201): 1
    }  # fmt: skip
    assert traffic.sent["store"] == len(layer) + 100
    assert traffic.sent["other"] >= len(manifest.content)
    assert traffic.received == {"clients": len(pushed), "upstreams": 0}
    assert traffic.lookups["blob", "hit"] == 2


async def test_what_is_no_request_is_counted_too(server: EmbeddedServer, traffic: Traffic) -> None:
    assert await status_of(server, b"nonsense\r\n\r\n") == 400
    assert traffic.requests == {("OTHER", 400): 1}


async def test_nothing_is_logged_unless_it_is_wanted(
    client: httpx.AsyncClient, store: Store, access: Access, lines: Callable[[], list[str]]
) -> None:
    await push_image(store)
    await client.get(MANIFEST)
    assert lines() == []
    access.log = RequestLog(logging.INFO)
    await client.get(MANIFEST)
    assert len(lines()) == 1


async def test_a_line_tells_the_request_and_its_answer_and_no_secret(
    client: httpx.AsyncClient, store: Store, access: Access, lines: Callable[[], list[str]]
) -> None:
    await push_image(store)
    access.log = RequestLog(logging.DEBUG)
    headers = {b"Authorization": b"Bearer hunter2", b"Cookie": b"hunter3", b"User-Agent": b"docker/29 \xe9"}
    await client.get(f"{MANIFEST}?token=hunter4", headers=headers)
    await client.head(MANIFEST)
    said = lines()
    assert said[0].startswith(f"GET {MANIFEST}?… 200, 0 bytes in, ")
    assert said[0].endswith("127.0.0.1, docker/29 ?")
    assert said[1].startswith(f"HEAD {MANIFEST} 200, 0 bytes in, 0 out, 0.0 ms")
    assert "hunter" not in "".join(said)


async def test_paths_that_are_ignored_and_levels_that_are_off(
    client: httpx.AsyncClient, access: Access, lines: Callable[[], list[str]], caplog: pytest.LogCaptureFixture
) -> None:
    access.log = RequestLog(logging.INFO, ignore_paths=("/v2/", "/v2/quiet/*"))
    for path in ("/v2/", "/v2/quiet/manifests/v1", "/v2/loud/manifests/v1"):
        await client.get(path)
    assert [line.split()[1] for line in lines()] == ["/v2/loud/manifests/v1"]
    caplog.set_level(logging.WARNING, "yarddesk.requests")
    await client.get("/v2/loud/manifests/v1")
    assert len(lines()) == 1


async def test_bodies_are_logged_where_they_are_short_json_and_no_upload(
    client: httpx.AsyncClient, store: Store, access: Access, lines: Callable[[], list[str]]
) -> None:
    manifest = await push_image(store)
    access.log = RequestLog(logging.INFO, request_body=True, response_body=True)
    sent = {"Content-Type": manifest.media_type}
    await client.put(f"/v2/{REPOSITORY}/manifests/other", content=manifest.content, headers=sent)
    assert '\n  asked: {"schemaVersion":2,' in lines()[-1]
    await client.get("/v2/absent/manifests/v1")
    assert '\n  answered: {"errors":[{"code":"MANIFEST_UNKNOWN"' in lines()[-1]
    secret = b'{"password": "hunter2"}'
    where = f"/v2/{REPOSITORY}/blobs/uploads/?digest={digest_of(secret)}"
    answer = await client.post(where, content=secret, headers={"Content-Type": "application/json"})
    assert answer.status_code == 201
    assert (await client.get(f"/v2/{REPOSITORY}/blobs/{digest_of(secret)}")).content == secret
    large = await push_image(store, "x" * 5000)
    await client.put(f"/v2/{REPOSITORY}/manifests/large", content=large.content, headers=sent)
    notes = (
        b'{"schemaVersion":2,"annotations":{"a":"' + b"x" * 5000 + b'"}}',
        b'{"a": "\x1b"}',
        b'{"a": "\xc3\xa9"}',
        b"{",
    )
    for note in notes:
        await client.put(f"/v2/{REPOSITORY}/manifests/odd", content=note, headers=sent)
    said = "".join(lines())
    assert "hunter2" not in said
    assert "xxxx" not in said
    assert "\x1b" not in said
    assert '{"a":"\\u00e9"}' in said


async def test_a_request_that_breaks_off_is_told_as_cut(
    server: EmbeddedServer, access: Access, traffic: Traffic, lines: Callable[[], list[str]]
) -> None:
    access.log = RequestLog(logging.INFO)
    connection = await connect(server)
    await connection.send(
        b"PUT /v2/app/manifests/v1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n"
        b"Content-Type: application/json\r\n\r\n{"
    )
    await connection.close()
    await until_async(lambda: bool(traffic.requests))
    assert traffic.requests == {("PUT", 0): 1}
    assert "PUT /v2/app/manifests/v1 cut, 1 bytes in" in lines()[0]
