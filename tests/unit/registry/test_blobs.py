"""Blobs read and deleted (OCI distribution specification v1.1, "Pulling blobs", "Deleting blobs"; RFC 9110, 13 and 14)."""

from __future__ import annotations

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.images import build_image
from tests.unit.registry.pushing import codes, digest_of, push_blob, push_image

CONTENT = bytes(range(256)) * 40
DIGEST = digest_of(CONTENT)
SIZE = len(CONTENT)
URL = f"/v2/app/blobs/{DIGEST}"
STANDING = ("date", "x-content-type-options", "content-security-policy", "cross-origin-resource-policy")


@pytest.fixture(autouse=True)
async def pushed(client: httpx.AsyncClient) -> None:
    await push_blob(client, "app", CONTENT)


async def test_a_blob_comes_whole_with_its_digest_and_size(client: httpx.AsyncClient) -> None:
    answer = await client.get(URL)
    assert (answer.status_code, answer.content) == (200, CONTENT)
    assert answer.headers["docker-content-digest"] == DIGEST
    assert answer.headers["content-length"] == str(SIZE)
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["etag"] == f'"{DIGEST}"'


async def test_head_has_the_headers_of_get_and_no_body(client: httpx.AsyncClient) -> None:
    head, get = await client.head(URL), await client.get(URL)
    assert (head.status_code, head.content) == (200, b"")
    for name in ("date",):
        del head.headers[name], get.headers[name]
    assert head.headers == get.headers


async def test_a_blob_is_read_through_any_repository(client: httpx.AsyncClient) -> None:
    assert (await client.get(f"/v2/another/repository/blobs/{DIGEST}")).content == CONTENT


async def test_the_colon_of_a_digest_may_be_escaped(client: httpx.AsyncClient) -> None:
    for colon in (b"%3A", b"%3a"):
        url = client.base_url.copy_with(raw_path=URL.encode().replace(b"sha256:", b"sha256" + colon))
        assert (await client.get(url)).content == CONTENT


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
async def test_a_blob_that_is_not_here_is_404(client: httpx.AsyncClient, method: str) -> None:
    answer = await client.request(method, f"/v2/app/blobs/{digest_of(b'other')}")
    assert answer.status_code == 404
    if method != "HEAD":
        assert codes(answer) == ["BLOB_UNKNOWN"]


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
@pytest.mark.parametrize("digest", ["sha256:short", "md5:" + "0" * 32, "latest", DIGEST.upper(), DIGEST + "0"])
async def test_what_is_no_digest_is_refused(client: httpx.AsyncClient, method: str, digest: str) -> None:
    answer = await client.request(method, f"/v2/app/blobs/{digest}")
    assert answer.status_code == 400
    if method != "HEAD":
        assert codes(answer) == ["DIGEST_INVALID"]


@pytest.mark.parametrize(
    ("asked", "begin", "end"),
    [
        ("bytes=0-0", 0, 0),
        ("bytes=0-99", 0, 99),
        ("bytes=100-", 100, SIZE - 1),
        ("bytes=-100", SIZE - 100, SIZE - 1),
        (f"bytes=-{SIZE * 2}", 0, SIZE - 1),
        (f"bytes={SIZE - 1}-{SIZE * 9}", SIZE - 1, SIZE - 1),
    ],
)
async def test_a_range_is_206_with_those_bytes(client: httpx.AsyncClient, asked: str, begin: int, end: int) -> None:
    answer = await client.get(URL, headers={"Range": asked})
    assert (answer.status_code, answer.content) == (206, CONTENT[begin : end + 1])
    assert answer.headers["content-range"] == f"bytes {begin}-{end}/{SIZE}"
    assert answer.headers["docker-content-digest"] == DIGEST


@pytest.mark.parametrize("asked", [f"bytes={SIZE}-", f"bytes={SIZE}-{SIZE + 5}", "bytes=-0"])
async def test_a_range_beyond_the_end_is_416_and_names_the_size(client: httpx.AsyncClient, asked: str) -> None:
    answer = await client.get(URL, headers={"Range": asked})
    assert (answer.status_code, answer.headers["content-range"]) == (416, f"bytes */{SIZE}")


@pytest.mark.parametrize(
    "asked", ["bytes=5-2", "lines=1-2", "bytes=a-b", "bytes", "bytes=0-1,5-6", "bytes=" + "0-0," * 5000]
)
async def test_a_range_that_is_none_or_are_several_is_answered_whole(client: httpx.AsyncClient, asked: str) -> None:
    answer = await client.get(URL, headers={"Range": asked})
    assert (answer.status_code, answer.content) == (200, CONTENT)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first=st.integers(0, SIZE - 1), length=st.integers(1, SIZE * 2))
async def test_any_range_within_the_blob_is_those_bytes(client: httpx.AsyncClient, first: int, length: int) -> None:
    last = first + length - 1
    answer = await client.get(URL, headers={"Range": f"bytes={first}-{last}"})
    assert (answer.status_code, answer.content) == (206, CONTENT[first : last + 1])


async def test_what_the_client_has_is_not_sent_again(client: httpx.AsyncClient) -> None:
    for condition in (f'"{DIGEST}"', f'"x", W/"{DIGEST}"', "*"):
        for method in ("GET", "HEAD"):
            answer = await client.request(method, URL, headers={"If-None-Match": condition})
            assert (answer.status_code, answer.content) == (304, b"")
            assert answer.headers["etag"] == f'"{DIGEST}"'
    assert (await client.get(URL, headers={"If-None-Match": '"other"'})).status_code == 200


async def test_a_range_is_of_the_blob_that_if_range_names_or_of_none(client: httpx.AsyncClient) -> None:
    held = {"Range": "bytes=0-3", "If-Range": f'"{DIGEST}"'}
    assert (await client.get(URL, headers=held)).status_code == 206
    assert (await client.get(URL, headers=held | {"If-Range": '"other"'})).content == CONTENT


async def test_a_deleted_blob_is_gone(client: httpx.AsyncClient) -> None:
    assert (await client.delete(URL)).status_code == 202
    assert (await client.get(URL)).status_code == 404


async def test_a_blob_that_a_manifest_needs_is_not_deleted(client: httpx.AsyncClient) -> None:
    image = build_image("needed")
    await push_image(client, "app", "v1", image)
    for blob in image.blobs:
        answer = await client.delete(f"/v2/elsewhere/blobs/{blob.digest}")
        assert (answer.status_code, codes(answer)) == (405, ["UNSUPPORTED"])
        assert blob.digest in answer.json()["errors"][0]["message"]
    await client.delete(f"/v2/app/manifests/{image.manifest.digest}")
    assert (await client.delete(f"/v2/app/blobs/{image.config.digest}")).status_code == 202


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "OPTIONS"])
async def test_other_methods_are_405_with_those_that_are_allowed(client: httpx.AsyncClient, method: str) -> None:
    answer = await client.request(method, URL)
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD, DELETE")


async def test_a_large_blob_comes_whole_and_the_connection_goes_on(client: httpx.AsyncClient) -> None:
    large = CONTENT * 2000
    digest = await push_blob(client, "app", large)
    for _ in range(3):
        assert (await client.get(f"/v2/app/blobs/{digest}")).content == large
        assert (await client.get("/v2/")).status_code == 200
