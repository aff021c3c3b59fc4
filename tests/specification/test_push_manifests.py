"""Specification, "Pushing manifests": kept to the byte, with subjects and tags; and what is no manifest."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urljoin

import httpx
import pytest

from tests.specification.wire import index_of
from tests.support.images import DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST, Content
from tests.unit.registry.pushing import codes, digest_of, image_manifest, push_blob, put_manifest

BARE = index_of()
FOUR_MEBIBYTES = 4 * 1024 * 1024
THING = "application/vnd.example.Thing.v3+json"
SUBJECT: dict[str, Any] = {"mediaType": OCI_MANIFEST, "digest": digest_of(b"not here"), "size": 8}
LAYER = {"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest_of(b"layer"), "size": 5}


def document(**keys: Any) -> bytes:
    return json.dumps(keys).encode()


async def stored(http: httpx.AsyncClient, reference: str, content: bytes, media_type: str) -> None:
    answer = await http.get(f"/v2/app/manifests/{reference}")
    assert (answer.status_code, answer.content, answer.headers["content-type"]) == (200, content, media_type)


async def test_a_push_is_201_with_a_pullable_location(http: httpx.AsyncClient) -> None:
    for reference in ("v1", BARE.digest, digest_of(BARE.content, "sha512")):
        answer = await put_manifest(http, "app", reference, BARE)
        digest = BARE.digest if reference == "v1" else reference
        assert (answer.status_code, answer.headers["docker-content-digest"]) == (201, digest)
        pulled = await http.get(urljoin(str(answer.url), answer.headers["location"]))
        assert (pulled.status_code, pulled.content) == (200, BARE.content)


@pytest.mark.parametrize(
    "content",
    [
        b'{"manifests":[],"schemaVersion":2}',
        b'\n { "schemaVersion" : 2 ,\t"manifests" : [ ] , "\\u00e9\xc3\xa9": [1.50, -0, 1e-9, true, null] } \r\n',
        document(schemaVersion=2, manifests=[], z=1, a={"b": [{"c": {}}]}),
        document(schemaVersion=2, manifests=[], annotations=None),
    ],
)
async def test_the_bytes_are_kept_as_they_came(http: httpx.AsyncClient, content: bytes) -> None:
    for reference in ("v1", digest_of(content)):
        assert (await put_manifest(http, "app", reference, Content(OCI_INDEX, content))).status_code == 201
        await stored(http, reference, content, OCI_INDEX)


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
async def test_a_digest_that_is_not_the_contents_is_400(http: httpx.AsyncClient, algorithm: str) -> None:
    answer = await put_manifest(http, "app", digest_of(b"other", algorithm), BARE)
    assert (answer.status_code, codes(answer)) == (400, ["DIGEST_INVALID"])


@pytest.mark.parametrize("digest", ["sha256:abc", "md5:" + "0" * 32, "sha256:" + "A" * 64, "a:b", ":"])
async def test_a_reference_that_is_neither_tag_nor_digest_is_refused(http: httpx.AsyncClient, digest: str) -> None:
    for method in ("GET", "PUT", "DELETE"):
        answer = await http.request(method, f"/v2/app/manifests/{digest}", content=BARE.content)
        assert (answer.status_code, codes(answer)) == (400, ["DIGEST_INVALID"])


@pytest.mark.parametrize(
    ("media_type", "content"),
    [
        (THING, document(schemaVersion=2, mediaType=THING, config={"any": "thing"}, layers="none", subject=5)),
        (THING, document(schemaVersion=2, manifests=[1, None, {"digest": "sha256:../.."}])),
        (THING, document(mediaType=THING, annotations={"a": 1})),
    ],
)
async def test_types_that_nobody_knows_are_kept_as_they_are(
    http: httpx.AsyncClient, media_type: str, content: bytes
) -> None:
    assert (await put_manifest(http, "app", "v1", Content(media_type, content))).status_code == 201
    await stored(http, "v1", content, media_type)


async def test_a_manifest_may_have_no_layers(http: httpx.AsyncClient) -> None:
    await push_blob(http, "app", b"{}")
    assert (await put_manifest(http, "app", "v1", image_manifest(b"{}", []))).status_code == 201


async def test_missing_blobs_are_each_named(http: httpx.AsyncClient) -> None:
    manifest = image_manifest(b"config", [b"one", b"two", b"one"])
    answer = await put_manifest(http, "app", "v1", manifest)
    assert (answer.status_code, set(codes(answer))) == (400, {"MANIFEST_BLOB_UNKNOWN"})
    named = [error["detail"]["digest"] for error in answer.json()["errors"]]
    assert named == [digest_of(content) for content in (b"config", b"one", b"two")]
    assert (await http.get("/v2/app/manifests/v1")).status_code == 404


async def test_of_many_missing_blobs_the_first_are_named(http: httpx.AsyncClient) -> None:
    manifest = image_manifest(b"config", [str(number).encode() for number in range(5000)])
    answer = await put_manifest(http, "app", "v1", manifest)
    assert (answer.status_code, codes(answer)) == (400, ["MANIFEST_BLOB_UNKNOWN"] * 100)


async def test_a_subject_that_is_missing_is_taken_and_answered_for(http: httpx.AsyncClient) -> None:
    await push_blob(http, "app", b"{}")
    for manifest in (index_of(subject=SUBJECT), image_manifest(b"{}", [], subject=SUBJECT)):
        for reference in ("v1", manifest.digest):
            answer = await put_manifest(http, "app", reference, manifest)
            assert (answer.status_code, answer.headers["oci-subject"]) == (201, SUBJECT["digest"])
    assert "oci-subject" not in (await put_manifest(http, "app", "v1", BARE)).headers


async def test_tags_in_the_query_are_each_made_and_told(http: httpx.AsyncClient) -> None:
    tags = [f"Tag.{number}-x" for number in range(30)]
    answer = await put_manifest(http, "app", BARE.digest, BARE, params={"tag": [*tags, tags[0]]})
    assert answer.status_code == 201
    told = [tag.strip() for header in answer.headers.get_list("oci-tag") for tag in header.split(",")]
    assert told == tags
    for tag in tags:
        await stored(http, tag, BARE.content, OCI_INDEX)


async def test_more_tags_than_a_target_may_hold_are_414(http: httpx.AsyncClient) -> None:
    tags = [f"{number:0128}" for number in range(70)]
    answer = await put_manifest(http, "app", BARE.digest, BARE, params={"tag": tags})
    assert answer.status_code == 414
    assert (await http.get(f"/v2/app/manifests/{BARE.digest}")).status_code == 404


async def test_one_tag_that_is_none_makes_none_of_them(http: httpx.AsyncClient) -> None:
    answer = await put_manifest(http, "app", BARE.digest, BARE, params={"tag": ["good", "not good"]})
    assert (answer.status_code, codes(answer)) == (400, ["TAG_INVALID"])
    assert (await http.get("/v2/app/manifests/good")).status_code == 404


async def test_a_pull_of_a_repository_that_is_not_there_is_404(http: httpx.AsyncClient) -> None:
    assert (await http.get("/v2/never/was/manifests/latest")).status_code == 404


def padded(size: int) -> bytes:
    frame = document(schemaVersion=2, manifests=[], annotations={"pad": ""})
    content = frame.replace(b'""', b'"' + b"x" * (size - len(frame)) + b'"')
    assert len(content) == size
    return content


async def test_four_mebibytes_are_taken(http: httpx.AsyncClient) -> None:
    content = padded(FOUR_MEBIBYTES)
    assert (await put_manifest(http, "app", "v1", Content(OCI_INDEX, content))).status_code == 201
    await stored(http, "v1", content, OCI_INDEX)


@pytest.mark.parametrize("chunked", [False, True])
async def test_one_byte_more_is_413(http: httpx.AsyncClient, chunked: bool) -> None:
    content = padded(FOUR_MEBIBYTES + 1)

    async def pieces() -> AsyncIterator[bytes]:
        for begin in range(0, len(content), 100_000):
            yield content[begin : begin + 100_000]

    answer = await http.put(
        "/v2/app/manifests/v1", content=pieces() if chunked else content, headers={"Content-Type": OCI_INDEX}
    )
    assert (answer.status_code, codes(answer)) == (413, ["SIZE_INVALID"])
    assert (await http.get("/v2/app/manifests/v1")).status_code == 404


def nested(depth: int) -> bytes:
    return b'{"schemaVersion": 2, "manifests": [], "deep": ' + b"[" * depth + b"]" * depth + b"}"


IMAGE_KEYS = {"schemaVersion": 2, "config": LAYER, "layers": [LAYER]}
AMBIGUOUS = {
    "both an image and an index": document(**IMAGE_KEYS, manifests=[]),
    "an index with a config": document(schemaVersion=2, manifests=[], config=LAYER),
    "another type inside": document(schemaVersion=2, mediaType=OCI_MANIFEST, manifests=[]),
    "a type that is no text": document(schemaVersion=2, mediaType=5, manifests=[]),
    "a key twice": b'{"schemaVersion": 2, "manifests": [], "manifests": []}',
    "a key twice further in": b'{"schemaVersion": 2, "manifests": [], "annotations": {"a": "1", "a": "2"}}',
    "a key in other letters": document(schemaVersion=2, manifests=[], Layers=[LAYER]),
    "a type in other letters": document(schemaVersion=2, manifests=[], MediaType=OCI_MANIFEST),
    "a key with a long s": b'{"schemaVersion": 2, "manifests": [], "manife\\u017ft\\u017f": []}',
    "a descriptor's key in other letters": document(
        schemaVersion=2, manifests=[{**SUBJECT, "Digest": LAYER["digest"]}]
    ),
    "UTF-16": document(schemaVersion=2, manifests=[]).decode().encode("utf-16"),
    "a byte order mark": b"\xef\xbb\xbf" + document(schemaVersion=2, manifests=[]),
    "bytes that are no text": b'{"schemaVersion": 2, "manifests": [], "a": "\xff"}',
    "nested without end": nested(100_000),
    "a number beyond 64 bits": b'{"schemaVersion": 2, "manifests": [], "a": 18446744073709551616}',
    "a number of a million digits": b'{"schemaVersion": 2, "manifests": [], "a": ' + b"9" * 1_000_000 + b"}",
    "a fraction beyond all": b'{"schemaVersion": 2, "manifests": [], "a": 1e999}',
    "no number": b'{"schemaVersion": 2, "manifests": [], "a": NaN}',
    "an annotation that is no text": document(schemaVersion=2, manifests=[], annotations={"a": 1}),
    "annotations that are a list": document(schemaVersion=2, manifests=[], annotations=["a"]),
    "a size below nothing": document(schemaVersion=2, manifests=[{**SUBJECT, "size": -1}]),
    "a size that is none": document(schemaVersion=2, manifests=[{**SUBJECT, "size": True}]),
    "a digest that climbs": document(schemaVersion=2, manifests=[{**SUBJECT, "digest": "sha256:../../x"}]),
    "a digest in capitals": document(schemaVersion=2, manifests=[{**SUBJECT, "digest": "sha256:" + "A" * 64}]),
    "a descriptor that is none": document(schemaVersion=2, manifests=["sha256"]),
    "manifests that are no list": document(schemaVersion=2, manifests={"0": SUBJECT}),
    "a subject that is none": document(schemaVersion=2, manifests=[], subject="x"),
    "another version": document(schemaVersion=3, manifests=[]),
    "the first version": document(schemaVersion=1, manifests=[]),
    "no version": document(manifests=[]),
    "a list": b"[]",
    "nothing": b"",
    "half of it": b'{"schemaVersion": 2, "manifests": [',
    "two documents": b'{"schemaVersion": 2, "manifests": []}{}',
}


@pytest.mark.parametrize("content", AMBIGUOUS.values(), ids=AMBIGUOUS)
async def test_what_readers_could_take_for_different_things_is_refused(http: httpx.AsyncClient, content: bytes) -> None:
    answer = await put_manifest(http, "app", "v1", Content(OCI_INDEX, content))
    assert (answer.status_code, codes(answer)) == (400, ["MANIFEST_INVALID"])
    assert (await http.get("/v2/app/tags/list")).status_code == 404


@pytest.mark.parametrize("media_type", [OCI_MANIFEST, DOCKER_MANIFEST])
async def test_an_image_says_what_it_is(http: httpx.AsyncClient, media_type: str) -> None:
    for content in (
        document(schemaVersion=2, layers=[]),
        document(schemaVersion=2, manifests=[]),
        document(schemaVersion=2, config=LAYER, layers=[], mediaType=DOCKER_LIST),
        document(schemaVersion=2, config=[LAYER], layers=[]),
    ):
        answer = await put_manifest(http, "app", "v1", Content(media_type, content))
        assert (answer.status_code, codes(answer)) == (400, ["MANIFEST_INVALID"])


@pytest.mark.parametrize("media_type", ["text/html", "image/svg+xml", "application/xhtml+xml", "application/json", "x"])
async def test_a_type_that_is_no_manifests_is_refused(http: httpx.AsyncClient, media_type: str) -> None:
    answer = await put_manifest(http, "app", "v1", Content(media_type, BARE.content))
    assert (answer.status_code, codes(answer)) == (400, ["MANIFEST_INVALID"])


async def test_a_manifest_in_a_coding_is_415(http: httpx.AsyncClient) -> None:
    for coding, status in (("gzip", 415), ("identity", 201)):
        answer = await put_manifest(http, "app", "v1", BARE, headers={"Content-Encoding": coding})
        assert answer.status_code == status
        assert status == 201 or (codes(answer), answer.headers["accept-encoding"]) == (["UNSUPPORTED"], "identity")


async def test_a_conditional_push_or_delete_does_not_touch_what_it_did_not_see(http: httpx.AsyncClient) -> None:
    """How clients keep a referrers tag without losing each other's entries (RFC 9110, 13)."""
    newer, url = index_of(annotations={"newer": "yes"}), "/v2/app/manifests/sha256-tag"
    first = {"If-None-Match": "*"}
    assert (await put_manifest(http, "app", "sha256-tag", BARE, headers=first)).status_code == 201
    assert (await put_manifest(http, "app", "sha256-tag", newer, headers=first)).status_code == 412
    etag = (await http.get(url)).headers["etag"]
    assert (await put_manifest(http, "app", "sha256-tag", newer, headers={"If-Match": f"W/{etag}"})).status_code == 412
    assert (
        await put_manifest(http, "app", "sha256-tag", newer, headers={"If-Match": f'"x", {etag}'})
    ).status_code == 201
    assert (await put_manifest(http, "app", "sha256-tag", BARE, headers={"If-Match": etag})).status_code == 412
    assert (await http.delete(url, headers={"If-Match": etag})).status_code == 412
    assert (await http.get(url)).content == newer.content
    assert (await http.delete(url, headers={"If-Match": "*"})).status_code == 202
    assert (await http.delete(url, headers={"If-Match": "*"})).status_code == 412
