"""Specification, "Content discovery": tags, referrers; and Docker's catalog."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.specification.conftest import Yard
from tests.specification.wire import TAG, fewer, index_of, link_descriptor, many, pages
from tests.support.images import OCI_INDEX, Content
from tests.unit.registry.pushing import codes, digest_of, image_manifest, push_blob, put_manifest

BARE = index_of()
TAGS = ["1.10", "1.9", "A", "V1", "_x", "a", "a-b", "a.b", "latest", "v1"]
NAMES = [
    "a",
    "a/b",
    "a0",
    "math",
    "math-voila",
    "math-voila/x",
    "math.x",
    "math/a",
    "math/a-b",
    "math/a/c",
    "math0",
    "z",
]
SUBJECT = index_of(annotations={"the": "subject"})
CONFIG = b"{}"
MIB = 1024 * 1024


async def tag(http: httpx.AsyncClient, name: str, *tags: str) -> None:
    assert (await put_manifest(http, name, BARE.digest, BARE, params={"tag": list(tags)})).status_code == 201


async def test_the_whole_list_is_200_and_in_order(http: httpx.AsyncClient) -> None:
    await tag(http, "team/app", *reversed(TAGS))
    answer = await http.get("/v2/team/app/tags/list")
    assert (answer.status_code, answer.json()) == (200, {"name": "team/app", "tags": TAGS})
    assert answer.headers["content-type"] == "application/json"
    assert "link" not in answer.headers


async def test_a_list_without_tags_is_empty_and_one_of_no_repository_404(http: httpx.AsyncClient) -> None:
    await tag(http, "app")
    assert (await http.get("/v2/app/tags/list")).json() == {"name": "app", "tags": []}
    answer = await http.get("/v2/never/was/tags/list")
    assert (answer.status_code, codes(answer)) == (404, ["NAME_UNKNOWN"])


@pytest.mark.parametrize("n", range(len(TAGS) + 2))
async def test_n_is_how_many_come_and_a_link_tells_of_more(http: httpx.AsyncClient, n: int) -> None:
    await tag(http, "app", *TAGS)
    answer = await http.get(f"/v2/app/tags/list?n={n}")
    assert (answer.status_code, answer.json()["tags"]) == (200, TAGS[:n])
    assert ("link" in answer.headers) == (0 < n < len(TAGS))


@pytest.mark.parametrize("n", [2**31, 2**63, 10**400])
async def test_n_beyond_all_bounds_is_the_whole_list(http: httpx.AsyncClient, n: int) -> None:
    await tag(http, "app", *TAGS)
    answer = await http.get(f"/v2/app/tags/list?n={n}")
    assert (answer.status_code, answer.json()["tags"]) == (200, TAGS)


@pytest.mark.parametrize("n", ["-1", "x", "", "1.5", "1e3", "0x1", " 1", "\u00b2"])
async def test_n_that_is_no_number_is_400(http: httpx.AsyncClient, n: str) -> None:
    await tag(http, "app", *TAGS)
    for path in ("/v2/app/tags/list", "/v2/_catalog", f"/v2/app/referrers/{BARE.digest}"):
        assert (await http.get(path, params={"n": n})).status_code == 400


@pytest.mark.parametrize("last", ["", "1.9", "a", "a-", "b", "zzz", "not a tag", "\u00e9"])
@pytest.mark.parametrize("n", [None, 2])
async def test_last_is_a_value_and_not_in_the_list(http: httpx.AsyncClient, last: str, n: int | None) -> None:
    await tag(http, "app", *TAGS)
    query: dict[str, Any] = {"last": last} | ({"n": n} if n else {})
    answer = await http.get("/v2/app/tags/list", params=query)
    after = [each for each in TAGS if each > last]
    assert (answer.status_code, answer.json()["tags"]) == (200, after[:n])
    assert ("link" in answer.headers) == (n is not None and len(after) > n)


@many
@given(
    before=st.sets(st.from_regex(TAG, fullmatch=True), max_size=12),
    gone=st.sets(st.integers(0, 11), max_size=4),
    after=st.sets(st.from_regex(TAG, fullmatch=True), max_size=3),
    size=st.integers(1, 9),
)
async def test_all_pages_together_are_the_list(
    http: httpx.AsyncClient, before: set[str], gone: set[int], after: set[str], size: int
) -> None:
    """Also between pushes and deletes: what is told is what is there."""
    await http.delete(f"/v2/app/manifests/{BARE.digest}")
    await tag(http, "app", *before)
    expected = set(before)
    for index in gone:
        if index < len(before):
            name = sorted(before)[index]
            assert (await http.delete(f"/v2/app/manifests/{name}")).status_code == 202
            expected.discard(name)
    assert (await http.get("/v2/app/tags/list")).json()["tags"] == sorted(expected)
    await tag(http, "app", *after)
    found = await pages(http, f"/v2/app/tags/list?n={size}")
    assert [name for page in found for name in page["tags"]] == sorted(expected | after)
    assert all(len(page["tags"]) == size for page in found[:-1])


async def test_a_hundred_thousand_tags_come_right_and_each_page_quickly(yard: Yard) -> None:
    await tag(yard.http, "app", "first")
    await yard.stop()
    names = sorted({f"v{number:x}" for number in range(100_000)} | {"first"})
    link_all(yard.folder / "manifests" / "app" / "_tags", names)
    await yard.start()
    began = time.monotonic()
    found = await pages(yard.http, "/v2/app/tags/list?n=500")
    seconds = time.monotonic() - began
    assert [name for page in found for name in page["tags"]] == names
    # Of 201 pages: to read and sort the folder for each of them would take minutes.
    assert seconds < 30
    await tag(yard.http, "app", "v-new")
    assert (await yard.http.get("/v2/app/tags/list?n=2&last=v")).json()["tags"][0] == "v-new"
    assert len((await yard.http.get("/v2/app/tags/list")).json()["tags"]) == len(names) + 1


def link_all(folder: Path, names: list[str]) -> None:
    """A tag's file of each name; a file system takes some ten thousand links to one file."""
    content = (folder / "first").read_bytes()
    for number, name in enumerate(names):
        if number % 20_000 == 0:
            source = folder.parent / f"source-{number}"
            source.write_bytes(content)
        if name != "first":
            os.link(source, folder / name)
    for source in folder.parent.glob("source-*"):
        source.unlink()


async def test_the_catalog_comes_in_order_and_in_pages(http: httpx.AsyncClient) -> None:
    for name in reversed(NAMES):
        await tag(http, name, "v1")
    assert (await http.get("/v2/_catalog")).json() == {"repositories": sorted(NAMES)}
    for size in range(1, len(NAMES) + 2):
        found = await pages(http, f"/v2/_catalog?n={size}")
        assert [name for page in found for name in page["repositories"]] == sorted(NAMES)
    for last in ("", "m", "math", "math-voila", "math/a", "zz"):
        answer = await http.get("/v2/_catalog", params={"last": last, "n": 3})
        assert answer.json()["repositories"] == [name for name in sorted(NAMES) if name > last][:3]
    assert (await http.get("/v2/_catalog?n=0")).json() == {"repositories": []}
    for name in ("math", "a"):
        await http.delete(f"/v2/{name}/manifests/{BARE.digest}")
        assert name not in (await http.get("/v2/_catalog")).json()["repositories"]
    await tag(http, "math", "again")
    assert "math" in (await http.get("/v2/_catalog")).json()["repositories"]


async def listed(http: httpx.AsyncClient, digest: str, kind: str = "") -> dict[str, dict[str, Any]]:
    """The referrers by digest, after a look at what holds of every answer."""
    answer = await http.get(f"/v2/app/referrers/{digest}", params={"artifactType": kind} if kind else None)
    assert (answer.status_code, answer.headers["content-type"]) == (200, OCI_INDEX)
    assert answer.headers.get("oci-filters-applied") == ("artifactType" if kind else None)
    document = answer.json()
    assert (document["schemaVersion"], document["mediaType"]) == (2, OCI_INDEX)
    return {entry["digest"]: entry for entry in document["manifests"]}


async def test_nothing_refers_and_that_is_no_404(http: httpx.AsyncClient) -> None:
    for algorithm in ("sha256", "sha512"):
        assert await listed(http, digest_of(b"unknown", algorithm)) == {}
        assert await listed(http, digest_of(b"unknown", algorithm), "a/b") == {}


@pytest.mark.parametrize("digest", ["latest", "sha256:", "sha256:" + "g" * 64, "md5:" + "0" * 32])
async def test_referrers_of_what_is_no_digest_are_400(http: httpx.AsyncClient, digest: str) -> None:
    answer = await http.get(f"/v2/app/referrers/{digest}")
    assert (answer.status_code, codes(answer)) == (400, ["DIGEST_INVALID"])


KINDS = ("application/vnd.example.sbom.v1", "application/vnd.example.signature.v1", "")


@fewer
@given(
    made=st.lists(st.tuples(st.booleans(), st.sampled_from(KINDS), st.booleans(), st.booleans()), max_size=5),
    subject_first=st.booleans(),
)
async def test_referrers_are_what_the_specification_says_of_their_manifests(
    http: httpx.AsyncClient, made: list[tuple[bool, str, bool, bool]], subject_first: bool
) -> None:
    """Images and indexes, with and without artifactType and annotations, some of them deleted again."""
    await push_blob(http, "app", CONFIG)
    subject = index_of(annotations={"of": json.dumps([made, subject_first])})
    if subject_first:
        await put_manifest(http, "app", "subject", subject)
    expected: dict[str, dict[str, Any]] = {}
    for number, (is_image, kind, annotated, deleted) in enumerate(made):
        more: dict[str, Any] = {"subject": link_descriptor(subject), "number": number}
        more |= {"artifactType": kind} if kind else {}
        more |= {"annotations": {"org.example.key": "value \u00e9", "b": ""}} if annotated else {}
        manifest = image_manifest(CONFIG, [], **more) if is_image else index_of(**more)
        answer = await put_manifest(http, "app", manifest.digest, manifest)
        assert (answer.status_code, answer.headers["oci-subject"]) == (201, subject.digest)
        if deleted:
            assert (await http.delete(f"/v2/app/manifests/{manifest.digest}")).status_code == 202
            continue
        entry = link_descriptor(manifest)
        if kind or is_image:
            entry["artifactType"] = kind or "application/vnd.oci.image.config.v1+json"
        if annotated:
            entry["annotations"] = more["annotations"]
        expected[manifest.digest] = entry
    await put_manifest(http, "app", "subject", subject)
    assert await listed(http, subject.digest) == expected
    for kind in {entry.get("artifactType", "no/such") for entry in expected.values()} | {"no/such"}:
        matching = {name: entry for name, entry in expected.items() if entry.get("artifactType") == kind}
        assert await listed(http, subject.digest, kind) == matching
    await http.delete(f"/v2/app/manifests/{subject.digest}")
    assert await listed(http, subject.digest) == expected


async def test_referrers_belong_to_their_repository(http: httpx.AsyncClient) -> None:
    manifest = index_of(subject=link_descriptor(SUBJECT))
    await put_manifest(http, "other", manifest.digest, manifest)
    assert await listed(http, SUBJECT.digest) == {}


async def test_more_referrers_than_a_manifest_holds_come_in_pages(http: httpx.AsyncClient) -> None:
    kind = "application/vnd.example.large"
    for number in range(5):
        pad = {"pad": "x" * MIB, "number": str(number)}
        manifest = index_of(subject=link_descriptor(SUBJECT), artifactType=kind, annotations=pad)
        assert (await put_manifest(http, "app", manifest.digest, manifest)).status_code == 201
    for url in (f"/v2/app/referrers/{SUBJECT.digest}", f"/v2/app/referrers/{SUBJECT.digest}?artifactType={kind}"):
        found = await pages(http, url)
        assert len(found) == 2
        assert all(len(json.dumps(page, separators=(",", ":"))) <= 4 * MIB for page in found)
        numbers = [entry["annotations"]["number"] for page in found for entry in page["manifests"]]
        assert sorted(numbers) == ["0", "1", "2", "3", "4"]
        first = await http.get(url)
        assert ("oci-filters-applied" in first.headers) == ("artifactType" in url)
    one_by_one = await pages(http, f"/v2/app/referrers/{SUBJECT.digest}?n=1")
    assert [len(page["manifests"]) for page in one_by_one] == [1] * 5


async def test_the_tag_that_clients_fall_back_to_is_a_tag_like_any_other(http: httpx.AsyncClient) -> None:
    """A client of an older version keeps its list there, and the API still tells what has the subject."""
    signature = index_of(subject=link_descriptor(SUBJECT), artifactType=KINDS[1])
    await put_manifest(http, "app", signature.digest, signature)
    fallback = SUBJECT.digest.replace(":", "-")
    entry = link_descriptor(signature) | {"artifactType": KINDS[1]}
    kept = Content(OCI_INDEX, index_of(entry).content)
    assert (await put_manifest(http, "app", fallback, kept)).status_code == 201
    assert (await http.get(f"/v2/app/manifests/{fallback}")).content == kept.content
    assert list(await listed(http, SUBJECT.digest)) == [signature.digest]
    assert (await http.get("/v2/app/tags/list")).json()["tags"] == [fallback]
