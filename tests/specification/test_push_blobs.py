"""Specification, "Pushing blobs": in one piece, in chunks, resumed, cancelled, mounted."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.specification.conftest import Yard
from tests.specification.wire import UUID, begin_upload, many, same_but_date
from tests.unit.registry.pushing import codes, digest_of, push_blob

CONTENT = bytes(range(251)) * 40
SIZE = len(CONTENT)
ALGORITHMS = ("sha256", "sha512")
BAD_DIGESTS = (
    "",
    "latest",
    "sha256:",
    "sha256:abc",
    "sha256:" + "A" * 64,
    "sha256:" + "a" * 65,
    "md5:" + "0" * 32,
    "sha384:" + "0" * 96,
    "blake3:" + "0" * 64,
    "sha256:../../../../etc/passwd",
)


async def readable(http: httpx.AsyncClient, answer: httpx.Response, content: bytes) -> None:
    """The answer's Location is a pullable blob URL."""
    assert answer.status_code == 201
    pulled = await http.get(urljoin(str(answer.url), answer.headers["location"]))
    assert (pulled.status_code, pulled.content) == (200, content)


async def pieces(content: bytes) -> AsyncIterator[bytes]:
    for begin in range(0, len(content), 999):
        yield content[begin : begin + 999]


async def test_a_session_has_a_location_with_a_uuid(http: httpx.AsyncClient) -> None:
    locations = [await begin_upload(http) for _ in range(3)]
    for location in locations:
        assert UUID.fullmatch(urlsplit(location).path.rpartition("/")[2])
    assert len(set(locations)) == 3


async def test_no_minimum_is_told_and_none_holds(http: httpx.AsyncClient) -> None:
    """There is no minimum size of a chunk here, so no OCI-Chunk-Min-Length is due: chunks of one byte are taken."""
    answer = await http.post("/v2/app/blobs/uploads/", headers={"Content-Length": "0"})
    assert "oci-chunk-min-length" not in answer.headers
    location = urljoin(str(answer.url), answer.headers["location"])
    for offset in range(3):
        chunk = {"Content-Range": f"{offset}-{offset}"}
        answer = await http.patch(location, content=CONTENT[offset : offset + 1], headers=chunk)
        assert answer.status_code == 202
    await readable(http, await http.put(location, params={"digest": digest_of(CONTENT[:3])}), CONTENT[:3])


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_post_then_put(http: httpx.AsyncClient, algorithm: str) -> None:
    digest = digest_of(CONTENT, algorithm)
    octets = {"Content-Type": "application/octet-stream"}
    answer = await http.put(await begin_upload(http), params={"digest": digest}, content=CONTENT, headers=octets)
    await readable(http, answer, CONTENT)
    assert answer.headers["docker-content-digest"] == digest


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_a_single_post(http: httpx.AsyncClient, algorithm: str) -> None:
    digest = digest_of(CONTENT, algorithm)
    await readable(http, await http.post("/v2/app/blobs/uploads/", params={"digest": digest}, content=CONTENT), CONTENT)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_bytes_that_are_not_the_digests_are_400_and_no_blob(http: httpx.AsyncClient, algorithm: str) -> None:
    digest = digest_of(b"other", algorithm)
    for answer in (
        await http.post("/v2/app/blobs/uploads/", params={"digest": digest}, content=CONTENT),
        await http.put(await begin_upload(http), params={"digest": digest}, content=CONTENT),
    ):
        assert (answer.status_code, codes(answer)) == (400, ["DIGEST_INVALID"])
    assert (await http.head(f"/v2/app/blobs/{digest}")).status_code == 404


@pytest.mark.parametrize("digest", BAD_DIGESTS)
async def test_a_digest_that_is_none_or_of_an_unknown_algorithm_is_400(http: httpx.AsyncClient, digest: str) -> None:
    location = await begin_upload(http)
    for answer in (
        await http.post("/v2/app/blobs/uploads/", params={"digest": digest}, content=CONTENT),
        await http.post("/v2/app/blobs/uploads/", params={"mount": digest, "from": "other"}),
        await http.put(location, params={"digest": digest}, content=CONTENT),
    ):
        assert (answer.status_code, codes(answer)) == (400, ["DIGEST_INVALID"])
    answer = await http.put(location, content=CONTENT)
    assert (answer.status_code, codes(answer)) == (400, ["DIGEST_INVALID"])


@pytest.mark.parametrize(("algorithm", "status"), [("sha256", 202), ("sha512", 202), ("md5", 400), ("", 400)])
async def test_the_algorithm_of_a_session(http: httpx.AsyncClient, algorithm: str, status: int) -> None:
    answer = await http.post("/v2/app/blobs/uploads/", params={"digest-algorithm": algorithm})
    assert answer.status_code == status
    if status == 202:
        location = urljoin(str(answer.url), answer.headers["location"])
        digest = digest_of(CONTENT, algorithm)
        await http.patch(location, content=CONTENT)
        await readable(http, await http.put(location, params={"digest": digest}), CONTENT)


@pytest.mark.parametrize("first", ALGORITHMS)
async def test_the_digest_that_closes_a_session_decides_its_algorithm(http: httpx.AsyncClient, first: str) -> None:
    for last in ALGORITHMS:
        location = await begin_upload(http, **{"digest-algorithm": first})
        await http.patch(location, content=CONTENT[:100])
        closing = {"digest": digest_of(CONTENT, last)}
        await readable(http, await http.put(location, params=closing, content=CONTENT[100:]), CONTENT)


async def test_chunks_in_order_then_the_closing_put(http: httpx.AsyncClient) -> None:
    location = await begin_upload(http)
    for begin in range(0, SIZE, 3000):
        part = CONTENT[begin : begin + 3000]
        last = begin + len(part) - 1
        answer = await http.patch(location, content=part, headers={"Content-Range": f"{begin}-{last}"})
        assert (answer.status_code, answer.headers["range"]) == (202, f"0-{last}")
        location = urljoin(str(answer.url), answer.headers["location"])
    await readable(http, await http.put(location, params={"digest": digest_of(CONTENT)}), CONTENT)


@pytest.mark.parametrize("method", ["PATCH", "PUT"])
@pytest.mark.parametrize("header", ["5", "-5", "5-", "a-b", "9-5", "0-9,10-19", "bytes", "0x0-0x9", "0-" + "9" * 400])
async def test_a_content_range_of_another_form_is_400(http: httpx.AsyncClient, method: str, header: str) -> None:
    location = await begin_upload(http)
    query = {"digest": digest_of(CONTENT)} if method == "PUT" else None
    answer = await http.request(method, location, params=query, content=CONTENT, headers={"Content-Range": header})
    assert (answer.status_code, codes(answer)) == (400, ["BLOB_UPLOAD_INVALID"])
    assert (await http.get(location)).status_code == 204


@pytest.mark.parametrize("method", ["PATCH", "PUT"])
async def test_a_final_chunk_out_of_order_is_416_and_the_session_goes_on(http: httpx.AsyncClient, method: str) -> None:
    location = await begin_upload(http)
    await http.patch(location, content=CONTENT[:500], headers={"Content-Range": "0-499"})
    query = {"digest": digest_of(CONTENT)} if method == "PUT" else None
    wrong = {"Content-Range": f"600-{SIZE - 1}"}
    answer = await http.request(method, location, params=query, content=CONTENT[600:], headers=wrong)
    assert (answer.status_code, answer.headers["range"]) == (416, "0-499")
    status = await http.get(location)
    assert (status.status_code, status.headers["range"]) == (204, "0-499")
    assert same_but_date((await http.head(location)).headers, status.headers)
    location = urljoin(str(status.url), status.headers["location"])
    right = {"Content-Range": f"500-{SIZE - 1}"}
    closing = {"digest": digest_of(CONTENT)}
    await readable(http, await http.put(location, params=closing, content=CONTENT[500:], headers=right), CONTENT)


async def test_a_session_goes_on_after_a_restart(yard: Yard) -> None:
    location = urlsplit(await begin_upload(yard.http)).path
    await yard.http.patch(location, content=CONTENT[:4000], headers={"Content-Range": "0-3999"})
    await yard.restart()
    status = await yard.http.get(location)
    assert (status.status_code, status.headers["range"], status.headers["location"]) == (204, "0-3999", location)
    rest = {"Content-Range": f"4000-{SIZE - 1}"}
    assert (await yard.http.patch(location, content=CONTENT[4000:], headers=rest)).status_code == 202
    await yard.restart()
    await readable(yard.http, await yard.http.put(location, params={"digest": digest_of(CONTENT)}), CONTENT)


async def test_a_cancelled_session_is_204_and_gone(http: httpx.AsyncClient) -> None:
    location = await begin_upload(http)
    await http.patch(location, content=CONTENT)
    answer = await http.delete(location, headers={"Content-Length": "0"})
    assert (answer.status_code, answer.content) == (204, b"")
    for method in ("GET", "PATCH", "PUT", "DELETE"):
        answer = await http.request(method, location, params={"digest": digest_of(CONTENT)})
        assert (answer.status_code, codes(answer)) == (404, ["BLOB_UPLOAD_UNKNOWN"])
    assert (await http.head(f"/v2/app/blobs/{digest_of(CONTENT)}")).status_code == 404


async def test_a_session_that_nobody_writes_to_is_collected(yard: Yard) -> None:
    location = urlsplit(await begin_upload(yard.http)).path
    await yard.http.patch(location, content=CONTENT)
    assert await yard.store.collect_uploads(3600) == 0
    assert (await yard.http.get(location)).status_code == 204
    assert await yard.store.collect_uploads(0) == 1
    assert (await yard.http.get(location)).status_code == 404


@pytest.mark.parametrize("query", [{"from": "other"}, {"from": "never/was"}, {"from": "UPPER"}, {}])
async def test_a_blob_that_is_here_is_mounted_whatever_from_says(
    http: httpx.AsyncClient, query: dict[str, str]
) -> None:
    digest = await push_blob(http, "other", CONTENT)
    answer = await http.post("/v2/app/blobs/uploads/", params={"mount": digest, **query})
    await readable(http, answer, CONTENT)
    assert "/app/" in answer.headers["location"]
    assert answer.headers["docker-content-digest"] == digest


async def test_a_mount_of_what_is_not_here_is_a_session(http: httpx.AsyncClient) -> None:
    location = await begin_upload(http, mount=digest_of(CONTENT), **{"from": "other"})
    await readable(http, await http.put(location, params={"digest": digest_of(CONTENT)}, content=CONTENT), CONTENT)


@dataclass(frozen=True)
class Step:
    """One thing a client does to a session; `shift`: by how much a chunk's begin misses the place where it belongs."""

    what: str
    length: int = 1
    shift: int = 0
    chunked: bool = False


STEPS = st.one_of(
    st.builds(
        Step,
        what=st.sampled_from(["patch", "put"]),
        length=st.integers(1, 4000),
        shift=st.sampled_from([0, 0, 0, 1, -1, 100, 10**17]),
        chunked=st.booleans(),
    ),
    st.builds(
        Step, what=st.sampled_from(["stream", "status", "status", "restart", "wrong end"]), length=st.integers(0, 4000)
    ),
    st.builds(Step, what=st.sampled_from(["cancel"])),
)


@many
@given(steps=st.lists(STEPS, max_size=9))
async def test_whatever_a_client_does_the_session_is_what_the_specification_says(yard: Yard, steps: list[Step]) -> None:
    """Against a model: the bytes taken so far, or None once the session is over."""
    location = urlsplit(await begin_upload(yard.http)).path
    taken: bytes | None = b""
    for step in steps:
        taken = await _do(yard, location, step, taken)
        answer = await yard.http.get(location)
        if taken is None:
            assert answer.status_code == 404
        else:
            assert answer.status_code == 204
            assert answer.headers["range"] == f"0-{max(0, len(taken) - 1)}"
            assert answer.headers["location"] == location
    if taken is not None:
        await readable(yard.http, await yard.http.put(location, params={"digest": digest_of(taken)}), taken)


async def _do(yard: Yard, location: str, step: Step, taken: bytes | None) -> bytes | None:
    http, size = yard.http, len(taken or b"")
    part = bytes((size + index) % 251 for index in range(step.length))
    whole = (taken or b"") + part
    closing = {"digest": digest_of(whole)}
    body = pieces(part) if step.chunked else part
    begin = max(0, size + step.shift)
    chunk = {"Content-Range": f"{begin}-{begin + len(part) - 1}"}
    match step.what:
        case "restart":
            await yard.restart()
            return taken
        case "cancel":
            assert (await http.delete(location)).status_code == (404 if taken is None else 204)
            return None
        case "stream":
            answer = await http.patch(location, content=part)
            assert answer.status_code == (404 if taken is None else 202)
            return None if taken is None else whole
        case "wrong end":
            answer = await http.put(location, params={"digest": digest_of(b"no such bytes")}, content=part)
            assert answer.status_code == (404 if taken is None else 400)
            return None
        case "patch" | "put" as method:
            query = closing if method == "put" else None
            answer = await http.request(method.upper(), location, params=query, content=body, headers=chunk)
            if taken is None:
                assert answer.status_code == 404
                return None
            if begin != size:
                assert answer.status_code == 416
                assert answer.headers["range"] == f"0-{max(0, size - 1)}"
                assert answer.headers["location"] == location
                return taken
            if method == "put":
                await readable(http, answer, whole)
                return None
            assert (answer.status_code, answer.headers["range"]) == (202, f"0-{len(whole) - 1}")
            return whole
    return taken  # "status": asked after every step
