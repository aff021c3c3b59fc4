"""Blobs on their way in (OCI distribution specification v1.1, "Pushing blobs")."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.lonely_registry import lonely_registry
from tests.unit.registry.pushing import codes, digest_of, push_blob
from yarddesk.content.store import Store
from yarddesk.oci.digest import Digest

CONTENT = bytes(range(256)) * 40
DIGEST = digest_of(CONTENT)


async def start(client: httpx.AsyncClient, **query: str) -> str:
    answer = await client.post("/v2/app/blobs/uploads/", params=query)
    assert answer.status_code == 202
    return str(answer.headers["location"])


async def pieces(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def test_post_begins_a_session_with_a_location_of_its_own(client: httpx.AsyncClient) -> None:
    first, second = await start(client), await start(client)
    assert first != second
    assert first.startswith("/v2/app/blobs/uploads/")


async def test_post_then_put_keeps_the_blob_and_says_where_it_is(client: httpx.AsyncClient) -> None:
    answer = await client.put(await start(client), params={"digest": DIGEST}, content=CONTENT)
    assert answer.status_code == 201
    assert answer.headers["location"] == f"/v2/app/blobs/{DIGEST}"
    assert answer.headers["docker-content-digest"] == DIGEST
    assert (await client.get(answer.headers["location"])).content == CONTENT


async def test_one_post_with_a_digest_keeps_the_blob(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v2/app/blobs/uploads/", params={"digest": DIGEST}, content=CONTENT)
    assert answer.status_code == 201
    assert (await client.get(answer.headers["location"])).content == CONTENT


@pytest.mark.parametrize("how", ["put", "post"])
async def test_a_digest_that_the_bytes_do_not_have_is_refused_and_nothing_kept(
    client: httpx.AsyncClient, store: Store, how: str
) -> None:
    location = await start(client) if how == "put" else "/v2/app/blobs/uploads/"
    answer = await client.request(how, location, params={"digest": DIGEST}, content=CONTENT + b"!")
    assert (answer.status_code, codes(answer)) == (400, ["DIGEST_INVALID"])
    assert await store.blob_size(Digest.parse(DIGEST)) is None


@pytest.mark.parametrize("digest", ["md5:" + "0" * 32, "sha256:abc", "sha256:" + "A" * 64, "nonsense", "", "../x"])
async def test_what_is_no_digest_is_refused_before_any_byte(client: httpx.AsyncClient, digest: str) -> None:
    answer = await client.put(await start(client), params={"digest": digest}, content=CONTENT)
    assert (answer.status_code, codes(answer)) == (400, ["DIGEST_INVALID"])


async def test_a_put_without_a_digest_is_refused_and_the_session_goes_on(client: httpx.AsyncClient) -> None:
    location = await start(client)
    assert (await client.put(location)).status_code == 400
    assert (await client.put(location, params={"digest": DIGEST}, content=CONTENT)).status_code == 201


@pytest.mark.parametrize("announced", [True, False])
async def test_sha512_is_taken_whether_or_not_the_session_knew_of_it(
    client: httpx.AsyncClient, announced: bool
) -> None:
    digest = digest_of(CONTENT, "sha512")
    location = await start(client, **({"digest-algorithm": "sha512"} if announced else {}))
    answer = await client.put(location, params={"digest": digest}, content=CONTENT)
    assert answer.headers["docker-content-digest"] == digest
    assert (await client.get(f"/v2/app/blobs/{digest}")).content == CONTENT


async def test_an_algorithm_that_is_not_known_is_refused(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v2/app/blobs/uploads/", params={"digest-algorithm": "md5"})
    assert (answer.status_code, codes(answer)) == (400, ["DIGEST_INVALID"])


async def test_a_body_without_a_length_is_taken_as_it_comes(client: httpx.AsyncClient) -> None:
    """As docker pushes: one PATCH in chunked coding, without Content-Range, then an empty PUT."""
    answer = await client.patch(await start(client), content=pieces(CONTENT[:5], CONTENT[5:9000], CONTENT[9000:]))
    assert (answer.status_code, answer.headers["range"]) == (202, f"0-{len(CONTENT) - 1}")
    answer = await client.put(answer.headers["location"], params={"digest": DIGEST})
    assert answer.status_code == 201
    assert (await client.get(f"/v2/app/blobs/{DIGEST}")).content == CONTENT


async def test_chunks_in_order_make_the_blob_and_each_answer_says_how_far_it_is(client: httpx.AsyncClient) -> None:
    location = await start(client)
    for begin, end in ((0, 3999), (4000, 4000), (4001, len(CONTENT) - 1)):
        headers = {"Content-Range": f"{begin}-{end}"}
        answer = await client.patch(location, content=CONTENT[begin : end + 1], headers=headers)
        assert (answer.status_code, answer.headers["range"]) == (202, f"0-{end}")
        location = answer.headers["location"]
    assert (await client.put(location, params={"digest": DIGEST})).status_code == 201


async def test_the_last_chunk_may_come_with_the_put(client: httpx.AsyncClient) -> None:
    answer = await client.patch(await start(client), content=CONTENT[:4000], headers={"Content-Range": "0-3999"})
    answer = await client.put(
        answer.headers["location"],
        params={"digest": DIGEST},
        content=CONTENT[4000:],
        headers={"Content-Range": f"4000-{len(CONTENT) - 1}"},
    )
    assert answer.status_code == 201


@pytest.mark.parametrize("content_range", ["0-3999", "4001-4100", "3999-4100", "999999-1000000"])
@pytest.mark.parametrize("method", ["PATCH", "PUT"])
async def test_a_chunk_out_of_order_is_416_and_says_where_to_go_on(
    client: httpx.AsyncClient, method: str, content_range: str
) -> None:
    location = await start(client)
    await client.patch(location, content=CONTENT[:4000], headers={"Content-Range": "0-3999"})
    begin, end = map(int, content_range.split("-"))
    answer = await client.request(
        method,
        location,
        params={"digest": DIGEST} if method == "PUT" else None,
        content=b"x" * (end - begin + 1),
        headers={"Content-Range": content_range},
    )
    assert answer.status_code == 416
    assert answer.headers["range"] == "0-3999"
    assert answer.headers["location"] == location
    rest = {"Content-Range": f"4000-{len(CONTENT) - 1}"}
    assert (await client.patch(location, content=CONTENT[4000:], headers=rest)).status_code == 202
    assert (await client.put(location, params={"digest": DIGEST})).status_code == 201


@pytest.mark.parametrize("content_range", ["5", "a-b", "5-2", "-5", "0-", "0-9, 11-12", "0-99999999999999999999"])
async def test_a_content_range_that_is_none_is_refused(client: httpx.AsyncClient, content_range: str) -> None:
    answer = await client.patch(await start(client), content=b"x", headers={"Content-Range": content_range})
    assert (answer.status_code, codes(answer)) == (400, ["BLOB_UPLOAD_INVALID"])


@pytest.mark.parametrize(("sent", "claimed"), [(10, "0-8"), (10, "0-10"), (1, "0-999999999")])
@pytest.mark.parametrize("chunked", [True, False])
async def test_a_chunk_that_is_not_as_long_as_it_says_is_refused(
    client: httpx.AsyncClient, sent: int, claimed: str, chunked: bool
) -> None:
    content = pieces(b"x" * sent) if chunked else b"x" * sent
    answer = await client.patch(await start(client), content=content, headers={"Content-Range": claimed})
    assert (answer.status_code, codes(answer)) == (400, ["SIZE_INVALID"])


async def test_the_status_of_a_session_is_204_with_range_and_location(client: httpx.AsyncClient) -> None:
    location = await start(client)
    await client.patch(location, content=CONTENT[:4000])
    answer = await client.get(location)
    assert (answer.status_code, answer.headers["range"], answer.headers["location"]) == (204, "0-3999", location)


async def test_a_cancelled_session_is_gone(client: httpx.AsyncClient) -> None:
    location = await start(client)
    await client.patch(location, content=CONTENT)
    assert (await client.delete(location)).status_code == 204
    for method in ("GET", "PATCH", "DELETE"):
        answer = await client.request(method, location)
        assert (answer.status_code, codes(answer)) == (404, ["BLOB_UPLOAD_UNKNOWN"])


@pytest.mark.parametrize(
    "upload_id", ["no-such-session", "..", "%2e%2e", "x" * 300, "00000000-0000-0000-0000-000000000000"]
)
async def test_a_session_that_never_was_is_not_found_or_refused(client: httpx.AsyncClient, upload_id: str) -> None:
    url = client.base_url.copy_with(raw_path=f"/v2/app/blobs/uploads/{upload_id}".encode())
    answer = await client.get(url)
    assert answer.status_code in (400, 404)


async def test_a_session_belongs_to_its_repository(client: httpx.AsyncClient) -> None:
    location = await start(client)
    answer = await client.patch(location.replace("/app/", "/other/"), content=CONTENT)
    assert (answer.status_code, codes(answer)) == (404, ["BLOB_UPLOAD_UNKNOWN"])


async def test_a_finished_session_is_over(client: httpx.AsyncClient) -> None:
    location = await start(client)
    await client.put(location, params={"digest": DIGEST}, content=CONTENT)
    assert (await client.get(location)).status_code == 404


@pytest.mark.parametrize("source", ["", "elsewhere", "never/was"])
async def test_a_blob_that_is_here_is_mounted_from_wherever_it_is(client: httpx.AsyncClient, source: str) -> None:
    digest = await push_blob(client, "elsewhere", CONTENT)
    query = {"mount": digest} | ({"from": source} if source else {})
    answer = await client.post("/v2/app/blobs/uploads/", params=query)
    assert (answer.status_code, answer.headers["location"]) == (201, f"/v2/app/blobs/{digest}")
    assert answer.headers["docker-content-digest"] == digest


async def test_a_mount_of_what_is_not_here_becomes_a_session(client: httpx.AsyncClient) -> None:
    location = await start(client, mount=DIGEST, **{"from": "elsewhere"})
    assert (await client.put(location, params={"digest": DIGEST}, content=CONTENT)).status_code == 201


async def test_the_empty_blob_is_a_blob(client: httpx.AsyncClient) -> None:
    empty = digest_of(b"")
    assert (await client.put(await start(client), params={"digest": empty})).status_code == 201
    answer = await client.get(f"/v2/app/blobs/{empty}")
    assert (answer.status_code, answer.content) == (200, b"")


async def test_pushing_the_same_blob_again_changes_nothing(client: httpx.AsyncClient) -> None:
    await push_blob(client, "app", CONTENT)
    await push_blob(client, "app", CONTENT)
    assert (await client.get(f"/v2/app/blobs/{DIGEST}")).content == CONTENT


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=3000), cuts=st.lists(st.integers(0, 3000), max_size=5), chunked=st.booleans())
async def test_however_it_is_cut_into_chunks_the_blob_is_the_same(
    client: httpx.AsyncClient, content: bytes, cuts: list[int], chunked: bool
) -> None:
    location = await start(client)
    edges = [0, *sorted(min(cut, len(content)) for cut in cuts), len(content)]
    for begin, end in itertools.pairwise(edges):
        part = content[begin:end]
        headers = {"Content-Range": f"{begin}-{end - 1}"} if part else {}
        answer = await client.patch(location, content=pieces(part) if chunked else part, headers=headers)
        assert (answer.status_code, answer.headers["range"]) == (202, f"0-{max(0, end - 1)}")
    digest = digest_of(content)
    assert (await client.put(location, params={"digest": digest})).status_code == 201
    assert (await client.get(f"/v2/app/blobs/{digest}")).content == content


@pytest.mark.parametrize("kind", ["blob", "manifest"])
async def test_nothing_of_a_body_is_kept_while_its_client_takes_its_time(store: Store, kind: str) -> None:
    buffers = [bytearray(b"a" * 100_000), bytearray(b"b" * 100_000)]
    asked = 0

    async def receive() -> dict[str, Any]:
        nonlocal asked
        for buffer in buffers[:asked]:
            buffer.append(0)  # Python refuses it as long as anybody looks at it
        asked += 1
        more = asked < len(buffers)
        return {"type": "http.request", "body": memoryview(buffers[asked - 1])[:100_000], "more_body": more}

    statuses: list[int] = []

    async def send(message: Any) -> None:
        statuses.append(message.get("status", 0))

    content = b"".join(map(bytes, buffers))
    method, path, wanted = {
        "blob": ("POST", "/v2/app/blobs/uploads/", 201),
        "manifest": ("PUT", "/v2/app/manifests/v1", 400),  # all of it is read before it's found to be none
    }[kind]
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": f"digest={digest_of(content)}".encode(),
        "headers": [(b"host", b"localhost"), (b"content-length", b"200000")],
        "server": ("127.0.0.1", 5050),
        "client": ("127.0.0.1", 5051),
    }
    await lonely_registry(store)(scope, receive, send)
    assert (asked, statuses[0]) == (2, wanted)
