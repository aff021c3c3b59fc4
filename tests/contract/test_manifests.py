"""What every store promises of manifests, tags, repositories and referrers."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests.support.content import LATEST, OTHER, REPOSITORY, about, image, index, push_image
from yarddesk.content.store import Store
from yarddesk.content.target import DigestMismatch, NotFound
from yarddesk.oci import media_types
from yarddesk.oci.digest import Digest
from yarddesk.oci.manifest import parse_manifest
from yarddesk.oci.name import Reference, RepositoryName, Tag

ABSENT = Digest.of(b"never pushed")


async def test_a_manifest_comes_back_to_the_byte_by_digest_and_by_tag(store: Store) -> None:
    manifest = await push_image(store)
    for reference in (manifest.digest, LATEST):
        assert await store.resolve(REPOSITORY, reference) == manifest.descriptor
        assert await store.get_manifest(REPOSITORY, reference) == manifest


@pytest.mark.parametrize(
    "media_type",
    [media_types.OCI_MANIFEST, media_types.DOCKER_MANIFEST, media_types.OCI_INDEX, media_types.DOCKER_MANIFEST_LIST],
)
async def test_the_media_type_is_kept_also_where_the_document_does_not_say_it(store: Store, media_type: str) -> None:
    document: dict[str, object] = {"schemaVersion": 2}
    if media_type in media_types.INDEXES:
        document["manifests"] = []
    else:
        document |= {"config": {"mediaType": "c", "digest": str(ABSENT), "size": 1}, "layers": []}
    manifest = parse_manifest(json.dumps(document).encode(), media_type)
    await store.put_manifest(REPOSITORY, manifest)
    assert (await store.get_manifest(REPOSITORY, manifest.digest)).media_type == media_type
    assert (await store.resolve(REPOSITORY, manifest.digest)).media_type == media_type


async def test_the_same_bytes_put_as_another_media_type_are_of_that_one_from_then_on(store: Store) -> None:
    content = json.dumps({"schemaVersion": 2, "manifests": []}).encode()
    for media_type in (media_types.DOCKER_MANIFEST_LIST, media_types.OCI_INDEX):
        manifest = parse_manifest(content, media_type)
        await store.put_manifest(REPOSITORY, manifest)
        for _ in range(2):  # once it's read, and once it's known
            assert await store.get_manifest(REPOSITORY, manifest.digest) == manifest
            assert await store.resolve(REPOSITORY, manifest.digest) == manifest.descriptor


async def test_a_manifest_can_go_by_a_sha512_digest(store: Store) -> None:
    content = image(b"layer").content
    manifest = parse_manifest(content, digest=Digest.of(content, "sha512"))
    await store.put_manifest(REPOSITORY, manifest)
    await store.put_tag(REPOSITORY, LATEST, manifest.digest)
    assert (await store.resolve(REPOSITORY, LATEST)).digest == manifest.digest
    assert await store.repositories() == [REPOSITORY]
    await store.delete_manifest(REPOSITORY, manifest.digest)
    assert await store.repositories() == []


async def test_a_manifest_that_is_not_its_digests_is_refused(store: Store) -> None:
    manifest = parse_manifest(image(b"layer").content, digest=ABSENT)
    with pytest.raises(DigestMismatch):
        await store.put_manifest(REPOSITORY, manifest)
    with pytest.raises(NotFound):
        await store.resolve(REPOSITORY, ABSENT)


async def test_a_glance_tells_what_many_names_lead_to(store: Store) -> None:
    manifest = await push_image(store)
    asked: list[Reference] = [ABSENT, LATEST, Tag.parse("none"), manifest.digest] * 150
    assert await store.glance(REPOSITORY, asked) == [None, manifest.digest, None, manifest.digest] * 150
    assert await store.glance(OTHER, [LATEST, manifest.digest]) == [None, None]
    assert await store.glance(REPOSITORY, []) == []


async def test_a_manifest_belongs_to_its_repository(store: Store) -> None:
    manifest = await push_image(store)
    for reference in (manifest.digest, LATEST):
        with pytest.raises(NotFound):
            await store.resolve(OTHER, reference)
        with pytest.raises(NotFound):
            await store.get_manifest(OTHER, reference)


async def test_what_is_not_here_is_not_found(store: Store) -> None:
    await push_image(store)
    for reference in (ABSENT, Tag.parse("none")):
        with pytest.raises(NotFound):
            await store.resolve(REPOSITORY, reference)
        with pytest.raises(NotFound):
            await store.get_manifest(REPOSITORY, reference)
    with pytest.raises(NotFound):
        await store.delete_tag(REPOSITORY, Tag.parse("none"))
    with pytest.raises(NotFound):
        await store.delete_manifest(REPOSITORY, ABSENT)
    with pytest.raises(NotFound):
        await store.tags(OTHER)
    assert await store.referrers(OTHER, ABSENT) == []


async def test_a_tag_can_only_name_a_manifest_that_is_here(store: Store) -> None:
    manifest = await push_image(store)
    with pytest.raises(NotFound):
        await store.put_tag(REPOSITORY, LATEST, ABSENT)
    with pytest.raises(NotFound):
        await store.put_tag(OTHER, LATEST, manifest.digest)
    assert (await store.resolve(REPOSITORY, LATEST)).digest == manifest.digest


async def test_a_tag_moves(store: Store) -> None:
    first = await push_image(store, "one")
    assert (await store.resolve(REPOSITORY, LATEST)).digest == first.digest
    second = await push_image(store, "two")
    assert (await store.resolve(REPOSITORY, LATEST)).digest == second.digest
    assert (await store.get_manifest(REPOSITORY, LATEST)).content == second.content
    assert (await store.get_manifest(REPOSITORY, first.digest)).content == first.content


async def test_what_was_asked_for_is_answered_from_memory_and_follows_every_change(store: Store) -> None:
    assert store.resolve_cached(REPOSITORY, LATEST) is None
    first = await push_image(store, "one")
    await store.resolve(REPOSITORY, LATEST)
    assert store.resolve_cached(REPOSITORY, LATEST) == first.descriptor
    assert store.resolve_cached(REPOSITORY, first.digest) == first.descriptor
    assert store.resolve_cached(OTHER, LATEST) is None
    second = await push_image(store, "two")
    assert store.resolve_cached(REPOSITORY, LATEST) in (None, second.descriptor)
    await store.delete_tag(REPOSITORY, LATEST)
    assert store.resolve_cached(REPOSITORY, LATEST) is None
    assert (await store.resolve(REPOSITORY, second.digest)) == second.descriptor
    await store.delete_manifest(REPOSITORY, second.digest)
    assert store.resolve_cached(REPOSITORY, second.digest) is None


async def test_deleting_a_manifest_takes_its_tags_and_names_them(store: Store) -> None:
    tags = [Tag.parse(name) for name in ("V1", "latest", "v1")]
    manifest = await push_image(store, tags=tags)
    other = await push_image(store, "two", tags=[Tag.parse("two")])
    assert list(await store.delete_manifest(REPOSITORY, manifest.digest)) == tags
    references: list[Reference] = [manifest.digest, *tags]
    for reference in references:
        with pytest.raises(NotFound):
            await store.resolve(REPOSITORY, reference)
    assert await store.tags(REPOSITORY) == ["two"]
    assert (await store.resolve(REPOSITORY, other.digest)) == other.descriptor


async def test_deleting_a_tag_leaves_its_manifest(store: Store) -> None:
    manifest = await push_image(store)
    await store.delete_tag(REPOSITORY, LATEST)
    assert (await store.get_manifest(REPOSITORY, manifest.digest)) == manifest
    assert await store.tags(REPOSITORY) == []
    with pytest.raises(NotFound):
        await store.delete_tag(REPOSITORY, LATEST)


async def test_tags_come_in_the_order_of_their_bytes_page_by_page(store: Store) -> None:
    names = ["0.9", "1.0", "10", "9", "A", "B", "Z", "_x", "a", "aux", "b", "b-1", "b.1", "latest.json", "x" * 128]
    await push_image(store, tags=[Tag.parse(name) for name in reversed(names)])
    assert await store.tags(REPOSITORY) == names
    assert await store.tags(REPOSITORY, last="A") == names[5:]
    assert await store.tags(REPOSITORY, last="AA") == names[5:]
    assert await store.tags(REPOSITORY, last="zz") == []
    assert await store.tags(REPOSITORY, limit=0) == []
    gathered: list[str] = []
    while page := await store.tags(REPOSITORY, last=gathered[-1] if gathered else "", limit=4):
        assert len(page) <= 4
        gathered += page
    assert gathered == names


async def test_repositories_come_in_the_order_of_their_bytes_page_by_page(store: Store) -> None:
    names = [
        "a",
        "a-b",
        "a-b/c",
        "a.b",
        "a/b",
        "a/b/c",
        "a/c",
        "a0",
        "ab",
        "aux",
        "con.x/nul",
        "math",
        "math-voila",
        "math/a",
        "z",
    ]
    for name in reversed(names):
        await push_image(store, repository=RepositoryName.parse(name))
    assert sorted(names) == names
    assert await store.repositories() == names
    for position, name in enumerate(names):
        assert await store.repositories(last=name, limit=3) == names[position + 1 : position + 4]
    assert await store.repositories(last="a/bb") == names[6:]
    assert await store.repositories(last="a-b/") == names[2:]
    assert await store.repositories(limit=0) == []
    assert await store.repositories(last="zz") == []


async def test_a_repository_is_listed_while_it_holds_a_manifest(store: Store) -> None:
    nested = RepositoryName.parse("team/app/tests")
    first = await push_image(store)
    second = await push_image(store, "two", repository=nested)
    assert await store.repositories() == [REPOSITORY, nested]
    await store.delete_manifest(REPOSITORY, first.digest)
    assert await store.repositories() == [nested]
    with pytest.raises(NotFound):
        await store.tags(REPOSITORY)
    await push_image(store)
    await store.delete_manifest(nested, second.digest)
    assert await store.repositories() == [REPOSITORY]


async def test_every_manifest_is_told_with_its_repository(store: Store) -> None:
    one, two = await push_image(store, "one"), await push_image(store, "two")
    three = await push_image(store, "one", repository=OTHER)
    found = [pair async for pair in store.manifests()]
    assert sorted(found) == sorted([(REPOSITORY, one.digest), (REPOSITORY, two.digest), (OTHER, three.digest)])


async def test_referrers_are_told_with_their_type_and_annotations(store: Store) -> None:
    subject = await push_image(store)
    signature = about(subject, "application/vnd.test.signature", annotations={"by": "me"})
    note = about(subject)
    listing = index(
        subject,
        artifactType="application/vnd.test.index",
        subject=json.loads(
            json.dumps({"mediaType": subject.media_type, "digest": str(subject.digest), "size": len(subject.content)})
        ),
    )
    for manifest in (signature, note, listing):
        await store.put_manifest(REPOSITORY, manifest)
        await store.put_manifest(REPOSITORY, manifest)
    found = {one.digest: one for one in await store.referrers(REPOSITORY, subject.digest)}
    assert found == {one.digest: one.descriptor for one in (signature, note, listing)}
    assert found[signature.digest].annotations == {"by": "me"}
    assert found[signature.digest].artifact_type == "application/vnd.test.signature"
    (only,) = await store.referrers(REPOSITORY, subject.digest, "application/vnd.test.signature")
    assert only == signature.descriptor
    assert await store.referrers(OTHER, subject.digest) == []
    await store.delete_manifest(REPOSITORY, signature.digest)
    assert {one.digest for one in await store.referrers(REPOSITORY, subject.digest)} == {note.digest, listing.digest}


async def test_a_referrer_may_come_before_its_subject(store: Store) -> None:
    subject = image(b"layer")
    await store.put_manifest(REPOSITORY, about(subject))
    assert len(await store.referrers(REPOSITORY, subject.digest)) == 1


async def test_changes_at_once_leave_one_of_their_outcomes_everywhere(store: Store) -> None:
    manifests = [await push_image(store, f"image {number}", tags=()) for number in range(8)]
    for _ in range(5):
        await asyncio.gather(*(store.put_tag(REPOSITORY, LATEST, one.digest) for one in manifests))
        cached, asked = store.resolve_cached(REPOSITORY, LATEST), await store.resolve(REPOSITORY, LATEST)
        assert cached in (None, asked)
        assert (await store.get_manifest(REPOSITORY, LATEST)).digest == asked.digest
