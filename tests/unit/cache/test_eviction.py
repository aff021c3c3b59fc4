"""What can be had again is kept within its bound: whole images, what wasn't used for longest first."""

from __future__ import annotations

import errno
import shutil
from unittest.mock import AsyncMock

import pytest

from tests.support.bounded_yard import (
    ALONE,
    OTHER,
    PUSHED,
    REPOSITORY,
    V1,
    V2,
    V3,
    BoundedYard,
    HandQueue,
    World,
    bounded_yard,
    here,
    pulled,
    small_image,
)
from tests.support.content import about, index, push_blob
from tests.support.waiting import until_async
from yarddesk.cache.ledger import LEDGER_FILE
from yarddesk.content.errors import StorageFull
from yarddesk.events import BlobsEvicted, ImageEvicted
from yarddesk.oci.digest import Digest
from yarddesk.oci.manifest import Manifest
from yarddesk.oci.name import RepositoryName, referrers_tag
from yarddesk.storage.line_file import LineFile


async def test_what_was_not_used_for_longest_goes_first_whole_with_its_tag(yard: BoundedYard, world: World) -> None:
    first = await pulled(yard, world, "first", V1)
    second = await pulled(yard, world, "second", V2)
    third = await pulled(yard, world, "third", V3)
    await yard.manifest(REPOSITORY, V1)
    everything = (await yard.evictor.survey()).used
    assert everything == await yard.store.used_bytes()
    yard.bound(everything - 1)
    found = await yard.settle()
    assert [await here(yard, each) for each in (first, second, third)] == [True, False, True]
    assert await yard.store.blob_size(second.blobs[1].digest) is None
    assert list(await yard.store.tags(REPOSITORY)) == [V1, V3]
    assert found.used == await yard.store.used_bytes()
    await yard.pull(REPOSITORY, V2)
    assert await here(yard, second)


async def test_what_was_just_stored_when_the_machine_died_can_go_all_the_same(
    tmp_path_factory: pytest.TempPathFactory, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead = tmp_path_factory.mktemp("dead") / "data"
    async with bounded_yard(world.folder, world.queue, world.routes) as yard:
        put = yard.store.put_manifest

        async def put_and_die(repository: RepositoryName, manifest: Manifest) -> None:
            await put(repository, manifest)
            shutil.copytree(world.folder, dead)

        monkeypatch.setattr(yard.store, "put_manifest", put_and_die)
        manifest = await pulled(yard, world, "first", V1)
    async with bounded_yard(dead, HandQueue(world.routes), world.routes) as after:
        assert manifest.digest in await after.store.digests(REPOSITORY)
        assert (await after.evictor.survey()).used == await after.store.used_bytes()
        after.bound(1)
        await after.settle()
        assert manifest.digest not in await after.store.digests(REPOSITORY)


async def test_what_could_not_be_stored_is_not_remembered(
    yard: BoundedYard, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(repository: RepositoryName, manifest: Manifest) -> None:
        raise StorageFull("The disk is full.")

    monkeypatch.setattr(yard.store, "put_manifest", full)
    manifest, blobs = small_image("first")
    await world.publish(manifest, blobs, V1)
    assert await yard.manifest(REPOSITORY, V1) == manifest
    assert yard.keeping.ledger.known() == []


async def test_what_could_not_be_noted_is_served_not_kept_and_forgotten(
    yard: BoundedYard, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = small_image("first"), small_image("second")
    await world.publish(*first, V1)
    await world.publish(*second, V2)
    with monkeypatch.context() as full:
        full.setattr(LineFile, "write", AsyncMock(side_effect=OSError(errno.ENOSPC, "No space left on device")))
        assert await yard.manifest(REPOSITORY, V1) == first[0]
    assert first[0].digest not in await yard.store.digests(REPOSITORY)
    assert yard.keeping.ledger.known() == []
    await yard.pull(REPOSITORY, V2)
    assert str(first[0].digest) not in (world.folder / LEDGER_FILE).read_text()
    assert yard.keeping.ledger.known() == [(REPOSITORY, second[0].digest)]


async def test_a_layer_that_another_image_needs_stays(yard: BoundedYard, world: World) -> None:
    base = b"base" * 1000
    first = await pulled(yard, world, "first", V1, base)
    second = await pulled(yard, world, "second", V2, base)
    yard.bound((await yard.evictor.survey()).used - 1)
    await yard.settle()
    assert not await here(yard, first)
    assert await here(yard, second)
    assert await yard.store.blob_size(Digest.of(base)) == len(base)


async def test_a_layer_that_is_needed_in_another_repository_stays(yard: BoundedYard, world: World) -> None:
    manifest = await pulled(yard, world, "one", V1)
    _, blobs = small_image("one")
    await yard.push(ALONE, manifest, blobs, V1)
    yard.bound(1)
    found = await yard.settle()
    assert await here(yard, manifest, ALONE)
    assert found.used == 0
    assert manifest.digest not in await yard.store.digests(REPOSITORY)


async def test_an_index_goes_with_what_it_lists_and_what_is_about_it(yard: BoundedYard, world: World) -> None:
    one, two = small_image("amd64"), small_image("arm64")
    whole = index(one[0], two[0])
    signature = about(one[0])
    old_signature, old_blobs = small_image("signature")
    for manifest, blobs in (one, two):
        await world.publish(manifest, blobs)
    await world.publish(whole, [], V1)
    await world.publish(signature, [b"{}"])
    await world.publish(old_signature, old_blobs, referrers_tag(whole.digest))
    await yard.pull(REPOSITORY, V1)
    await yard.pull(REPOSITORY, signature.digest)
    await yard.pull(REPOSITORY, referrers_tag(whole.digest))
    found = await yard.evictor.survey()
    assert [image.root for image in found.images] == [whole.digest]
    assert found.used == await yard.store.used_bytes()
    yard.bound(1)
    assert (await yard.settle()).used == await yard.store.used_bytes() == 0


async def test_a_platform_with_a_tag_of_its_own_outlives_its_index(yard: BoundedYard, world: World) -> None:
    one, two = small_image("amd64"), small_image("arm64")
    whole = index(one[0], two[0])
    await world.publish(*one, V2)
    await world.publish(*two)
    await world.publish(whole, [], V1)
    await yard.pull(REPOSITORY, V1)
    await yard.pull(REPOSITORY, V2)
    survey = await yard.evictor.survey()
    assert [image.root for image in survey.images] == [whole.digest]
    yard.bound(survey.used - 1)
    await yard.settle()
    assert await here(yard, one[0])
    assert not await here(yard, two[0])


async def test_a_platform_that_two_indexes_list_stays_with_the_other(yard: BoundedYard, world: World) -> None:
    shared, one, two = small_image("shared"), small_image("one"), small_image("two")
    first, second = index(shared[0], one[0]), index(shared[0], two[0])
    for manifest, blobs in (shared, one, two):
        await world.publish(manifest, blobs)
    await world.publish(first, [], V1)
    await world.publish(second, [], V2)
    await yard.pull(REPOSITORY, V1)
    await yard.pull(REPOSITORY, V2)
    yard.bound((await yard.evictor.survey()).used - 1)
    await yard.settle()
    assert [await here(yard, each) for each in (first, one[0], shared[0], second, two[0])] == [
        False,
        False,
        True,
        True,
        True,
    ]


async def test_an_index_counts_as_used_when_a_platform_of_it_is(yard: BoundedYard, world: World) -> None:
    one = small_image("amd64")
    whole = index(one[0])
    await world.publish(*one)
    await world.publish(whole, [], V1)
    await yard.pull(REPOSITORY, V1)
    other = await pulled(yard, world, "other", V2)
    await yard.manifest(REPOSITORY, one[0].digest)
    yard.bound((await yard.evictor.survey()).used - 1)
    await yard.settle()
    assert not await here(yard, other)
    assert await here(yard, one[0])


async def test_a_fill_whose_manifest_went_leaves_nothing_for_good(yard: BoundedYard, world: World) -> None:
    manifest, blobs = small_image("one")
    await world.publish(manifest, blobs, V1)
    async with yard.pulls.open_blob(REPOSITORY, manifest.blobs[1].digest) as content:
        assert [piece async for piece in content.read(0, content.size)]
    found = await yard.evictor.survey()
    assert found.used == manifest.blobs[1].size
    yard.bound(1)
    await yard.settle()
    assert await yard.store.used_bytes() == 0


async def test_what_was_pushed_stays_while_its_upstreams_name_leads_to_another_registry(world: World) -> None:
    """What was read back is at the old one; what was pulled is a copy of another's, as ever."""
    async with bounded_yard(world.folder, world.queue, world.routes) as yard:
        await pulled(yard, world, "pulled", V1)
        await yard.push(PUSHED, *small_image("pushed"), V1)
        await yard.sync(PUSHED, V1, world.corp)
    old, both = world.corp.registry, {REPOSITORY, PUSHED}
    for registry, may_go in (("registry.new", {REPOSITORY}), (f"{old}/elsewhere", {REPOSITORY}), (old, both)):
        world.corp.registry = registry
        async with bounded_yard(world.folder, world.queue, world.routes) as yard:
            assert {image.repository for image in (await yard.evictor.survey()).images} == may_go


async def test_a_restart_changes_nothing_of_it(world: World) -> None:
    async with bounded_yard(world.folder, world.queue, world.routes) as yard:
        await pulled(yard, world, "first", V1)
        second = await pulled(yard, world, "second", V2)
        pushed, blobs = small_image("pushed")
        await yard.push(PUSHED, pushed, blobs, V1)
        await yard.sync(PUSHED, V1, world.corp)
        await yard.push(PUSHED, *small_image("waits"), V2)
        await yard.push(ALONE, *small_image("alone"), V1)
        async with yard.pulls.open_blob(OTHER, second.blobs[1].digest):
            await yard.manifest(REPOSITORY, V1)
        before = await yard.evictor.survey()
        assert len(before.images) == 3
    async with bounded_yard(world.folder, world.queue, world.routes) as yard:
        after = await yard.evictor.survey()
        assert after.used == before.used
        assert [(each.root, each.tags) for each in after.images] == [(each.root, each.tags) for each in before.images]
        assert await yard.store.used_bytes() > after.used


async def test_it_happens_by_itself(world: World) -> None:
    async with bounded_yard(world.folder, world.queue, world.routes, running=True) as yard:
        first = await pulled(yard, world, "first", V1)
        second = await pulled(yard, world, "second", V2)
        await until_async(lambda: yard.evictor.used > 2000)
        yard.bound(yard.evictor.used - 1)
        await until_async(lambda: first.digest not in yard.store.contents.repositories[REPOSITORY].manifests)
        assert await here(yard, second)
        await until_async(lambda: yard.evictor.used < 2000)


async def test_an_image_that_never_fits_is_named_in_the_log(
    yard: BoundedYard, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    await pulled(yard, world, "fits", V1)
    large, blobs = small_image("large", size=5000)
    await world.publish(large, blobs, V2)
    await yard.pull(REPOSITORY, V2)
    yard.bound(3000)
    await yard.settle()
    said = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert said == [f"{REPOSITORY}:{V2} alone is larger than cache.max_size: each pull of it comes from its upstream"]


async def test_what_would_not_be_enough_is_not_evicted_for_a_full_disk(yard: BoundedYard, world: World) -> None:
    manifest = await pulled(yard, world, "one", V1)
    yard.evictor.make_room(1_000_000)
    await yard.settle()
    assert await here(yard, manifest)
    yard.evictor.make_room(1)
    await yard.settle()
    assert not await here(yard, manifest)


async def test_it_is_told_what_went_and_what_room_was_made_for(yard: BoundedYard, world: World) -> None:
    told: list[tuple[str, int, str]] = []
    yard.events.subscribe(lambda event: told.append(("image", event.size, event.bound)), ImageEvicted)
    yard.events.subscribe(lambda event: told.append(("blobs", event.size, event.bound)), BlobsEvicted)
    unnamed, blobs = small_image("unnamed")
    await world.publish(unnamed, blobs)
    async with yard.pulls.open_blob(REPOSITORY, unnamed.blobs[1].digest) as content:
        assert [piece async for piece in content.read(0, content.size)]
    first, second = await pulled(yard, world, "first", V1), await pulled(yard, world, "second", V2)
    sizes = [len(each.content) + sum(blob.size for blob in each.blobs) for each in (first, second)]
    yard.bound((await yard.evictor.survey()).used - 1)
    await yard.settle()
    assert told == [("blobs", 1000, "max_size")]
    yard.evictor.make_room(1)
    await yard.settle()
    assert told[1:] == [("image", sizes[0], "min_free")]
    yard.bound(1)
    yard.evictor.make_room(1)
    await yard.settle()
    assert told[2:] == [("image", sizes[1], "max_size")]


async def test_what_a_fill_left_over_is_known_after_a_restart(world: World) -> None:
    manifest, blobs = small_image("one")
    await world.publish(manifest, blobs)
    async with bounded_yard(world.folder, world.queue, world.routes) as yard:
        await push_blob(yard.store, b"sent by a client")
        async with yard.pulls.open_blob(REPOSITORY, manifest.blobs[1].digest) as content:
            assert [piece async for piece in content.read(0, content.size)]
    async with bounded_yard(world.folder, world.queue, world.routes) as yard:
        yard.bound(1)
        await yard.settle()
        assert await yard.store.used_bytes() == len(b"sent by a client")
