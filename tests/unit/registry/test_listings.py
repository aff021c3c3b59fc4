"""Tags, the catalog and referrers (OCI distribution specification v1.1, "Content discovery")."""

from __future__ import annotations

from typing import Any
from urllib.parse import urljoin

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.images import OCI_INDEX, OCI_MANIFEST
from tests.unit.registry.pushing import (
    codes,
    digest_of,
    image_manifest,
    manifest_without_blobs,
    push_blob,
    put_manifest,
)
from yarddesk.oci.link import next_link

BARE = manifest_without_blobs()
TAGS = ["10", "9", "A", "V1", "_x", "a", "a-b", "a.b", "latest", "v1"]


async def tag(client: httpx.AsyncClient, repository: str, *tags: str) -> None:
    answer = await put_manifest(client, repository, BARE.digest, BARE, params={"tag": list(tags)})
    assert answer.status_code == 201


async def pages(client: httpx.AsyncClient, url: str, key: str) -> list[list[str]]:
    """Every page, by following the links."""
    found = []
    following: str | None = url
    while following:
        answer = await client.get(following)
        assert answer.status_code == 200
        found.append(answer.json()[key])
        link = answer.headers.get("link")
        following = urljoin(following, next_link(link)) if link else None
    return found


async def test_tags_come_in_lexical_order_without_a_link(client: httpx.AsyncClient) -> None:
    await tag(client, "app", *reversed(TAGS))
    answer = await client.get("/v2/app/tags/list")
    assert answer.json() == {"name": "app", "tags": TAGS}
    assert "link" not in answer.headers


async def test_a_repository_that_is_not_here_has_no_tags(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v2/app/tags/list")
    assert (answer.status_code, codes(answer)) == (404, ["NAME_UNKNOWN"])


async def test_a_repository_without_tags_has_an_empty_list(client: httpx.AsyncClient) -> None:
    await tag(client, "app")
    assert (await client.get("/v2/app/tags/list")).json() == {"name": "app", "tags": []}


async def test_no_tags_are_asked_for_and_none_come(client: httpx.AsyncClient) -> None:
    await tag(client, "app", *TAGS)
    answer = await client.get("/v2/app/tags/list?n=0")
    assert (answer.status_code, answer.json()["tags"]) == (200, [])
    assert "link" not in answer.headers


async def test_the_list_goes_on_after_last_whether_or_not_that_is_a_tag(client: httpx.AsyncClient) -> None:
    await tag(client, "app", *TAGS)
    assert (await client.get("/v2/app/tags/list?last=a")).json()["tags"] == ["a-b", "a.b", "latest", "v1"]
    assert (await client.get("/v2/app/tags/list?last=b&n=1")).json()["tags"] == ["latest"]
    assert (await client.get("/v2/app/tags/list?last=zzz&n=1")).json()["tags"] == []


@pytest.mark.parametrize("number", ["-1", "x", "", "1.5", "²", "1e3"])
async def test_a_number_that_is_none_is_refused(client: httpx.AsyncClient, number: str) -> None:
    await tag(client, "app", *TAGS)
    for url in ("/v2/app/tags/list", "/v2/_catalog"):
        assert (await client.get(url, params={"n": number})).status_code == 400


async def test_a_number_beyond_all_bounds_is_all_there_is(client: httpx.AsyncClient) -> None:
    await tag(client, "app", *TAGS)
    assert (await client.get(f"/v2/app/tags/list?n={2**63}")).json()["tags"] == TAGS


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(size=st.integers(1, 12), names=st.sets(st.from_regex(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,9}", fullmatch=True)))
async def test_the_pages_of_any_size_are_the_whole_list(client: httpx.AsyncClient, size: int, names: set[str]) -> None:
    await client.delete(f"/v2/app/manifests/{BARE.digest}")
    await tag(client, "app", *names)
    found = await pages(client, f"/v2/app/tags/list?n={size}", "tags")
    assert [name for page in found for name in page] == sorted(names)
    assert all(len(page) == size for page in found[:-1])


async def test_the_catalog_lists_repositories_in_pages(client: httpx.AsyncClient) -> None:
    names = ["a", "a/b", "a0", "math", "math-voila", "math/a", "z"]
    for name in reversed(names):
        await tag(client, name, "v1")
    assert (await client.get("/v2/_catalog")).json() == {"repositories": sorted(names)}
    for size in range(1, 9):
        found = await pages(client, f"/v2/_catalog?n={size}", "repositories")
        assert [name for page in found for name in page] == sorted(names)
    assert (await client.get("/v2/_catalog?last=math&n=2")).json()["repositories"] == ["math-voila", "math/a"]


async def referrers(
    client: httpx.AsyncClient, digest: str, **query: str
) -> tuple[httpx.Response, list[dict[str, Any]]]:
    answer = await client.get(f"/v2/app/referrers/{digest}", params=query)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == OCI_INDEX
    document = answer.json()
    assert (document["schemaVersion"], document["mediaType"]) == (2, OCI_INDEX)
    return answer, document["manifests"]


async def test_nothing_refers_to_what_nobody_knows(client: httpx.AsyncClient) -> None:
    assert (await referrers(client, digest_of(b"unknown")))[1] == []


async def test_referrers_are_listed_with_type_and_annotations_before_and_after_their_subject(
    client: httpx.AsyncClient,
) -> None:
    subject = {"mediaType": BARE.media_type, "digest": BARE.digest, "size": len(BARE.content)}
    await push_blob(client, "app", b"{}")
    by_config = image_manifest(b"{}", [], subject=subject, annotations={"org.example.kind": "sbom"})
    by_type = manifest_without_blobs(subject=subject, artifactType="application/vnd.example.signature")
    plain = manifest_without_blobs(subject=subject, annotations={"a": "b"})
    for manifest in (by_config, by_type, plain):
        assert (await put_manifest(client, "app", manifest.digest, manifest)).status_code == 201
    expected = {
        by_config.digest: {
            "mediaType": OCI_MANIFEST,
            "digest": by_config.digest,
            "size": len(by_config.content),
            "artifactType": "application/vnd.oci.image.config.v1+json",
            "annotations": {"org.example.kind": "sbom"},
        },
        by_type.digest: {
            "mediaType": OCI_INDEX,
            "digest": by_type.digest,
            "size": len(by_type.content),
            "artifactType": "application/vnd.example.signature",
        },
        plain.digest: {
            "mediaType": OCI_INDEX,
            "digest": plain.digest,
            "size": len(plain.content),
            "annotations": {"a": "b"},
        },
    }
    for _ in range(2):
        answer, found = await referrers(client, BARE.digest)
        assert {entry["digest"]: entry for entry in found} == expected
        assert "oci-filters-applied" not in answer.headers
        await put_manifest(client, "app", "v1", BARE)
    answer, found = await referrers(client, BARE.digest, artifactType="application/vnd.example.signature")
    assert found == [expected[by_type.digest]]
    assert answer.headers["oci-filters-applied"] == "artifactType"
    for plus in ("+", "%2B"):
        by_hand = f"/v2/app/referrers/{BARE.digest}?artifactType=application/vnd.oci.image.config.v1{plus}json"
        assert (await client.get(by_hand)).json()["manifests"] == [expected[by_config.digest]]
    await client.delete(f"/v2/app/manifests/{by_type.digest}")
    assert (await referrers(client, BARE.digest, artifactType="application/vnd.example.signature"))[1] == []


async def test_referrers_of_what_is_no_digest_are_refused(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v2/app/referrers/latest")
    assert (answer.status_code, codes(answer)) == (400, ["DIGEST_INVALID"])


@pytest.mark.parametrize("url", ["/v2/", "/v2"])
async def test_the_base_says_that_this_is_a_registry(client: httpx.AsyncClient, url: str) -> None:
    answer = await client.get(url)
    assert (answer.status_code, answer.json()) == (200, {})
    assert answer.headers["docker-distribution-api-version"] == "registry/2.0"


@pytest.mark.parametrize("url", ["/v2/x", "/v2/app/other/thing", "/v1/", "/", "/v2x/", "/v2/app/tags/list/"])
async def test_there_is_nothing_else(client: httpx.AsyncClient, url: str) -> None:
    answer = await client.get(url)
    assert answer.status_code == 404
    assert answer.headers["x-content-type-options"] == "nosniff"
