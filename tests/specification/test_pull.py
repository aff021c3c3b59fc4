"""Specification, "Pull": manifests, blobs, and whether they exist."""

from __future__ import annotations

import re
from typing import Literal

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.specification.wire import index_of, many, same_but_date
from tests.support.images import DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST, build_image, build_index
from tests.unit.registry.pushing import codes, digest_of, push_blob, push_image, put_manifest

CONTENT = bytes(range(256)) * 12
SIZE = len(CONTENT)
IMAGE = build_image("pulled")
BARE = index_of()
ALGORITHMS = ("sha256", "sha512")
DOCKER_ACCEPTS = ", ".join(
    [DOCKER_MANIFEST, DOCKER_LIST, OCI_MANIFEST, OCI_INDEX, "application/vnd.docker.distribution.manifest.v1+prettyjws"]
)


@pytest.mark.parametrize(
    "image", [IMAGE, build_index("i"), build_image("d", docker=True), build_index("d", docker=True)]
)
async def test_a_manifest_comes_as_it_was_pushed(http: httpx.AsyncClient, image) -> None:
    await push_image(http, "app", "v1", image)
    for reference in ("v1", image.manifest.digest):
        answer = await http.get(f"/v2/app/manifests/{reference}")
        assert (answer.status_code, answer.content) == (200, image.manifest.content)
        assert answer.headers["docker-content-digest"] == image.manifest.digest == digest_of(answer.content)
        assert answer.headers["content-length"] == str(len(answer.content))


async def test_the_content_type_is_the_one_of_the_push_without_parameters(http: httpx.AsyncClient) -> None:
    await put_manifest(http, "app", "v1", BARE, headers={"Content-Type": f"{OCI_INDEX}; charset=utf-8"})
    assert (await http.get("/v2/app/manifests/v1")).headers["content-type"] == OCI_INDEX
    kind = "application/vnd.Example.Thing.v1+json"
    await http.put("/v2/app/manifests/x", content=b'{"schemaVersion": 2}', headers={"Content-Type": kind})
    assert (await http.get("/v2/app/manifests/x")).headers["content-type"] == kind


@pytest.mark.parametrize(
    "accept",
    [
        None,
        "",
        "*/*",
        "application/*",
        "application/json",
        OCI_INDEX,
        OCI_MANIFEST,
        DOCKER_MANIFEST,
        DOCKER_ACCEPTS,
        f"{OCI_MANIFEST};q=0.5, {OCI_INDEX};q=0",
        "text/html",
        "junk,,;;=",
    ],
)
async def test_a_manifest_that_exists_is_200_whatever_is_accepted(http: httpx.AsyncClient, accept: str | None) -> None:
    """There is one representation of a manifest, so there's none to choose: RFC 9110, 12.5.1 lets a server send it all the same,
    and a client that can't read it then knows at least what it is."""
    await put_manifest(http, "app", "v1", BARE)
    request = http.build_request("GET", "/v2/app/manifests/v1")
    del request.headers["accept"]
    if accept is not None:
        request.headers["accept"] = accept
    answer = await http.send(request)
    assert (answer.status_code, answer.content) == (200, BARE.content)
    assert answer.headers["content-type"] == OCI_INDEX


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_what_is_not_found_is_404(http: httpx.AsyncClient, method: str) -> None:
    missing = digest_of(b"missing")
    await put_manifest(http, "app", "v1", BARE)
    for name in ("app", "never/was"):
        for path, code in (
            ("manifests/other", "MANIFEST_UNKNOWN"),
            (f"manifests/{missing}", "MANIFEST_UNKNOWN"),
            (f"blobs/{missing}", "BLOB_UNKNOWN"),
        ):
            answer = await http.request(method, f"/v2/{name}/{path}")
            assert answer.status_code == 404
            assert method == "HEAD" or codes(answer) == [code]
    assert (await http.get("/v2/never/was/manifests/v1")).status_code == 404


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_a_blob_comes_with_its_digest(http: httpx.AsyncClient, algorithm: str) -> None:
    digest = digest_of(CONTENT, algorithm)
    assert (await http.post("/v2/app/blobs/uploads/", params={"digest": digest}, content=CONTENT)).status_code == 201
    answer = await http.get(f"/v2/app/blobs/{digest}")
    assert (answer.status_code, answer.content) == (200, CONTENT)
    assert answer.headers["docker-content-digest"] == digest == digest_of(answer.content, algorithm)
    assert answer.headers["content-length"] == str(SIZE)


async def test_head_has_all_headers_of_get(http: httpx.AsyncClient) -> None:
    await push_image(http, "app", "v1", IMAGE)
    digest = IMAGE.layers[0].digest
    for path in (
        "manifests/v1",
        f"manifests/{IMAGE.manifest.digest}",
        f"blobs/{digest}",
        "tags/list",
        "tags/list?n=0",
        f"referrers/{digest}",
        f"referrers/{digest}?artifactType=a/b",
        "manifests/none",
        f"blobs/{digest_of(b'none')}",
        "manifests/-",
        "blobs/x",
        "blobs/sha256:..",
    ):
        get, head = await http.get(f"/v2/app/{path}"), await http.head(f"/v2/app/{path}")
        assert (head.status_code, head.content) == (get.status_code, b"")
        assert same_but_date(get.headers, head.headers), path
        assert head.headers["content-length"] == str(len(get.content))


async def test_the_base_is_200(http: httpx.AsyncClient) -> None:
    for method in ("GET", "HEAD"):
        assert (await http.request(method, "/v2/")).status_code == 200


NUMBERS = st.one_of(
    st.integers(0, 2 * SIZE).map(str), st.sampled_from(["0", str(SIZE - 1), str(SIZE), "9" * 40, "007"])
)
RANGES = st.one_of(
    st.builds("{}-{}".format, NUMBERS, NUMBERS),
    st.builds("{}-".format, NUMBERS),
    st.builds("-{}".format, NUMBERS),
    st.sampled_from(["-", "", "a-b", "1", "--1", "0-0-0", "5 - 6", "\u00b2-3".encode().decode("latin-1")]),
)
HEADERS = st.one_of(
    st.builds("bytes={}".format, RANGES),
    st.builds("{}={}".format, st.sampled_from(["Bytes", "items", "", "bytes "]), RANGES),
    st.lists(RANGES, min_size=2, max_size=4).map(lambda ranges: "bytes=" + ",".join(ranges)),
)


def means(header: str) -> tuple[int, int] | Literal["unsatisfiable", "ignored"]:
    """What RFC 9110, 14 says of a Range for CONTENT: the bytes, or that none can be sent, or that it's not one range of bytes."""
    unit, _, asked = header.partition("=")
    match = re.fullmatch(r"([0-9]*)-([0-9]*)", asked)
    if unit.strip().lower() != "bytes" or not match or match[0] == "-":
        return "ignored"
    if not match[1]:
        length = int(match[2])
        return (max(0, SIZE - length), SIZE - 1) if length else "unsatisfiable"
    first = int(match[1])
    if match[2] and int(match[2]) < first:
        return "ignored"
    if first >= SIZE:
        return "unsatisfiable"
    return first, min(int(match[2]), SIZE - 1) if match[2] else SIZE - 1


@many
@given(header=HEADERS)
async def test_ranges_are_what_http_says(http: httpx.AsyncClient, header: str) -> None:
    digest = await push_blob(http, "app", CONTENT)
    answer = await http.get(f"/v2/app/blobs/{digest}", headers=[(b"Range", header.encode("latin-1"))])
    meant = means(header)
    if meant == "ignored":
        assert (answer.status_code, answer.content) == (200, CONTENT)
        assert "content-range" not in answer.headers
    elif meant == "unsatisfiable":
        assert (answer.status_code, answer.headers["content-range"]) == (416, f"bytes */{SIZE}")
    else:
        first, last = meant
        assert (answer.status_code, answer.content) == (206, CONTENT[first : last + 1])
        assert answer.headers["content-range"] == f"bytes {first}-{last}/{SIZE}"
        assert answer.headers["content-length"] == str(len(answer.content))
    if answer.status_code != 416:
        assert answer.headers["accept-ranges"] == "bytes"


@pytest.mark.parametrize(("asked", "status"), [("bytes=0-0", 416), ("bytes=0-", 416), ("bytes=-5", 200)])
async def test_the_empty_blob_has_no_range(http: httpx.AsyncClient, asked: str, status: int) -> None:
    digest = await push_blob(http, "app", b"")
    answer = await http.get(f"/v2/app/blobs/{digest}", headers={"Range": asked})
    assert answer.status_code == status
    assert status == 416 or answer.content == b""


async def test_a_range_has_no_meaning_for_head(http: httpx.AsyncClient) -> None:
    digest = await push_blob(http, "app", CONTENT)
    answer = await http.head(f"/v2/app/blobs/{digest}", headers={"Range": "bytes=0-3"})
    assert (answer.status_code, answer.headers["content-length"]) == (200, str(SIZE))


async def test_if_range_compares_strongly(http: httpx.AsyncClient) -> None:
    digest = await push_blob(http, "app", CONTENT)
    url = f"/v2/app/blobs/{digest}"
    etag = (await http.head(url)).headers["etag"]
    for condition, status in (
        (etag, 206),
        (f"W/{etag}", 200),
        ('"other"', 200),
        ("Sat, 29 Oct 1994 19:43:31 GMT", 200),
    ):
        assert (await http.get(url, headers={"Range": "bytes=0-3", "If-Range": condition})).status_code == status


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_if_match_is_412_for_what_is_not_there(http: httpx.AsyncClient, method: str) -> None:
    digest = await push_blob(http, "app", CONTENT)
    await put_manifest(http, "app", "v1", BARE)
    for url in (f"/v2/app/blobs/{digest}", "/v2/app/manifests/v1", f"/v2/app/manifests/{BARE.digest}"):
        etag = (await http.head(url)).headers["etag"]
        for condition, status in ((etag, 200), (f'"x", {etag}', 200), ("*", 200), (f"W/{etag}", 412), ('"x"', 412)):
            assert (await http.request(method, url, headers={"If-Match": condition})).status_code == status


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_if_none_match_is_304_with_the_headers_of_the_200(http: httpx.AsyncClient, method: str) -> None:
    digest = await push_blob(http, "app", CONTENT)
    await put_manifest(http, "app", "v1", BARE)
    for url in (f"/v2/app/blobs/{digest}", "/v2/app/manifests/v1", f"/v2/app/manifests/{BARE.digest}"):
        fresh = await http.request(method, url)
        etag = fresh.headers["etag"]
        for condition in (etag, f"W/{etag}", f'"a", {etag}', f'"a","b" , W/{etag},', "*"):
            answer = await http.request(method, url, headers={"If-None-Match": condition})
            assert answer.status_code == 304
            for name in ("etag", "docker-content-digest", "cache-control"):  # RFC 9110, 15.4.5
                assert answer.headers.get(name) == fresh.headers.get(name)
        for condition in ('"a"', etag.strip('"'), 'W/"a"'):
            assert (await http.request(method, url, headers={"If-None-Match": condition})).status_code == 200
