"""Specification, "Content management": deletes of tags, manifests and blobs."""

from __future__ import annotations

import json

import httpx
import pytest

from tests.specification.conftest import Yard
from tests.specification.wire import index_of, link_descriptor
from tests.support.images import OCI_INDEX, OCI_MANIFEST, Content, build_image, build_index
from tests.unit.registry.pushing import codes, digest_of, image_manifest, push_blob, push_image, put_manifest

BARE = index_of()
IMAGE = build_image("deleted")


async def test_a_deleted_tag_is_202_and_then_404(http: httpx.AsyncClient) -> None:
    await put_manifest(http, "app", BARE.digest, BARE, params={"tag": ["v1", "v2"]})
    assert (await http.delete("/v2/app/manifests/v1")).status_code == 202
    assert (await http.get("/v2/app/manifests/v1")).status_code == 404
    for reference in ("v2", BARE.digest):
        assert (await http.get(f"/v2/app/manifests/{reference}")).content == BARE.content
    assert (await http.get("/v2/app/tags/list")).json()["tags"] == ["v2"]


async def test_a_deleted_manifest_is_202_and_it_and_its_tags_are_404(http: httpx.AsyncClient) -> None:
    newer = index_of(annotations={"newer": "yes"})
    await put_manifest(http, "app", BARE.digest, BARE, params={"tag": ["v1", "v2"]})
    await put_manifest(http, "app", "v2", newer)
    assert (await http.delete(f"/v2/app/manifests/{BARE.digest}")).status_code == 202
    for reference in ("v1", BARE.digest):
        assert (await http.get(f"/v2/app/manifests/{reference}")).status_code == 404
    assert (await http.get("/v2/app/manifests/v2")).content == newer.content


@pytest.mark.parametrize("name", ["app", "never/was"])
@pytest.mark.parametrize("reference", ["v1", digest_of(b"none"), digest_of(b"none", "sha512")])
async def test_a_delete_of_what_is_not_there_is_404(http: httpx.AsyncClient, name: str, reference: str) -> None:
    await put_manifest(http, "app", "other", BARE)
    answer = await http.delete(f"/v2/{name}/manifests/{reference}")
    assert (answer.status_code, codes(answer)) == (404, ["MANIFEST_UNKNOWN"])
    if ":" in reference:
        answer = await http.delete(f"/v2/{name}/blobs/{reference}")
        assert (answer.status_code, codes(answer)) == (404, ["BLOB_UNKNOWN"])


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
async def test_a_deleted_blob_is_202_and_then_404_and_may_come_again(http: httpx.AsyncClient, algorithm: str) -> None:
    url = f"/v2/app/blobs/{digest_of(b'blob', algorithm)}"
    for _ in range(2):
        query = {"digest": url.rpartition("/")[2]}
        assert (await http.post("/v2/app/blobs/uploads/", params=query, content=b"blob")).status_code == 201
        assert (await http.delete(url)).status_code == 202
        for method in ("GET", "HEAD", "DELETE"):
            assert (await http.request(method, url)).status_code == 404
        assert (await http.post("/v2/app/blobs/uploads/", params={"mount": query["digest"]})).status_code == 202


async def test_a_blob_that_an_image_needs_is_405_with_the_reason(http: httpx.AsyncClient) -> None:
    """Content is shared by all repositories here, so that whose path it is called by does not matter."""
    await push_image(http, "app", "v1", IMAGE)
    for name in ("app", "other"):
        for blob in IMAGE.blobs:
            answer = await http.delete(f"/v2/{name}/blobs/{blob.digest}")
            assert (answer.status_code, codes(answer)) == (405, ["UNSUPPORTED"])
            assert blob.digest in answer.json()["errors"][0]["message"]
            assert (await http.head(f"/v2/app/blobs/{blob.digest}")).status_code == 200
    await http.delete(f"/v2/app/manifests/{IMAGE.manifest.digest}")
    for blob in IMAGE.blobs:
        assert (await http.delete(f"/v2/app/blobs/{blob.digest}")).status_code == 202


async def test_a_layer_of_a_cache_is_needed_by_the_index_that_lists_it(http: httpx.AsyncClient) -> None:
    digest = await push_blob(http, "app", b"layer")
    layer = {"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": digest, "size": 5}
    cache = Content(OCI_INDEX, index_of(layer).content)
    assert (await put_manifest(http, "app", "cache", cache)).status_code == 201
    assert (await http.delete(f"/v2/app/blobs/{digest}")).status_code == 405


async def test_what_a_manifest_needs_is_needed_however_it_says_so(http: httpx.AsyncClient) -> None:
    """By escapes of JSON's, and where nobody here knows the manifest's type."""
    digest = await push_blob(http, "app", b"{}")
    escaped = image_manifest(b"{}", []).content.replace(b"sha256", b"sh\\u0061256")
    kind = "application/vnd.example.thing.v1+json"
    unknown = json.dumps({"mediaType": kind, "parts": [{"at": digest}]}).encode()
    for manifest in (Content(OCI_MANIFEST, escaped), Content(kind, unknown)):
        assert (await put_manifest(http, "app", "v1", manifest)).status_code == 201
        assert (await http.delete(f"/v2/app/blobs/{digest}")).status_code == 405
        assert (await http.delete(f"/v2/app/manifests/{manifest.digest}")).status_code == 202
    assert (await http.delete(f"/v2/app/blobs/{digest}")).status_code == 202


async def test_a_child_may_be_deleted_and_its_index_stays(http: httpx.AsyncClient) -> None:
    index = build_index("deleted")
    await push_image(http, "app", "v1", index)
    child = index.images[0].manifest.digest
    assert (await http.delete(f"/v2/app/manifests/{child}")).status_code == 202
    assert (await http.get(f"/v2/app/manifests/{child}")).status_code == 404
    assert (await http.get("/v2/app/manifests/v1")).content == index.manifest.content


async def test_a_deleted_referrer_is_listed_no_more(http: httpx.AsyncClient) -> None:
    referrer = index_of(subject=link_descriptor(BARE))
    await put_manifest(http, "app", referrer.digest, referrer)
    await http.delete(f"/v2/app/manifests/{referrer.digest}")
    answer = await http.get(f"/v2/app/referrers/{BARE.digest}")
    assert (answer.status_code, answer.json()["manifests"]) == (200, [])


async def test_what_was_deleted_stays_deleted_after_a_restart(yard: Yard) -> None:
    await push_image(yard.http, "app", "v1", IMAGE)
    await put_manifest(yard.http, "app", "v2", BARE)
    await yard.http.delete("/v2/app/manifests/v2")
    await yard.http.delete(f"/v2/app/manifests/{IMAGE.manifest.digest}")
    await yard.restart()
    assert json.loads((await yard.http.get("/v2/app/tags/list")).content) == {"name": "app", "tags": []}
    assert (await yard.http.get(f"/v2/app/manifests/{BARE.digest}")).status_code == 200
    assert (await yard.http.get(f"/v2/app/manifests/{IMAGE.manifest.digest}")).status_code == 404
