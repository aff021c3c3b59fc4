"""What is ours, on its way, pinned or not to be had again is never evicted."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.bounded_yard import (
    ALONE,
    PUSHED,
    REPOSITORY,
    V1,
    V2,
    BoundedYard,
    World,
    bounded_yard,
    here,
    pulled,
    small_image,
)
from tests.support.content import about, index, push_blob
from tests.support.fake_upstreams import FakeUpstream
from yarddesk.oci.manifest import Manifest
from yarddesk.oci.name import ImageReference, RepositoryName


@pytest.mark.parametrize(
    "pin",
    [
        lambda _: ImageReference(REPOSITORY, V1),
        lambda manifest: ImageReference(REPOSITORY, manifest.digest),
        lambda _: ImageReference(REPOSITORY),
    ],
)
async def test_what_is_pinned_stays(yard: BoundedYard, world: World, pin: Callable[[Manifest], ImageReference]) -> None:
    manifest = await pulled(yard, world, "one", V1)
    reference = pin(manifest)
    assert await yard.keeping.pins.add(reference)
    yard.bound(1)
    assert (await yard.settle()).used == 0
    assert await here(yard, manifest)
    assert await yard.keeping.pins.remove(reference)
    await yard.settle()
    assert not await here(yard, manifest)


async def test_what_was_pushed_goes_only_once_every_upstream_has_it(yard: BoundedYard, world: World) -> None:
    second = FakeUpstream(name="second", push=True, pull=False)
    world.routes.upstreams.append(second)
    world.routes.only["second"] = "corp/"
    manifest, blobs = small_image("one")
    await yard.push(PUSHED, manifest, blobs, V1)
    yard.bound(1)
    for upstream in (world.corp, second):
        assert (await yard.settle()).used == 0
        assert await here(yard, manifest, PUSHED)
        await yard.sync(PUSHED, V1, upstream)
    assert (await yard.settle()).images == []
    assert not await here(yard, manifest, PUSHED)
    await yard.pull(PUSHED, V1)
    assert await here(yard, manifest, PUSHED)


async def test_what_was_cancelled_stays(yard: BoundedYard, world: World) -> None:
    manifest, blobs = small_image("one")
    await yard.push(PUSHED, manifest, blobs, V1)
    yard.cancel(PUSHED, V1)
    yard.bound(1)
    await yard.settle()
    assert await here(yard, manifest, PUSHED)


async def test_a_tag_that_was_cancelled_keeps_the_image_that_is_upstream_under_another(
    yard: BoundedYard, world: World
) -> None:
    manifest, blobs = small_image("one")
    await yard.push(PUSHED, manifest, blobs, V1)
    await yard.push(PUSHED, manifest, blobs, V2)
    yard.cancel(PUSHED, V2)
    await yard.sync(PUSHED, V1, world.corp)
    yard.bound(1)
    await yard.settle()
    assert list(await yard.store.tags(PUSHED)) == [V1, V2]


async def test_what_is_upstream_where_nobody_pulls_from_stays(yard: BoundedYard, world: World) -> None:
    world.corp.pull = False
    manifest, blobs = small_image("one")
    await yard.push(PUSHED, manifest, blobs, V1)
    await yard.sync(PUSHED, V1, world.corp)
    yard.bound(1)
    await yard.settle()
    assert await here(yard, manifest, PUSHED)


async def test_what_is_pushed_nowhere_stays(yard: BoundedYard) -> None:
    manifest, blobs = small_image("one")
    await yard.push(ALONE, manifest, blobs, V1)
    yard.bound(1)
    assert (await yard.settle()).used == 0
    assert await here(yard, manifest, ALONE)


async def test_what_was_pulled_and_then_pushed_is_ours(yard: BoundedYard, world: World) -> None:
    manifest, blobs = small_image("one")
    await world.publish(manifest, blobs, V1)
    await yard.pull(REPOSITORY, V1)
    await yard.push(REPOSITORY, manifest, blobs, V2)
    yard.bound(1)
    await yard.settle()
    assert list(await yard.store.tags(REPOSITORY)) == [V1, V2]


async def test_what_was_pushed_by_its_digest_alone_after_it_was_pulled_is_ours(yard: BoundedYard, world: World) -> None:
    manifest = await pulled(yard, world, "one", V1)
    await yard.push(REPOSITORY, manifest, small_image("one")[1])
    yard.bound(1)
    await yard.settle()
    assert await here(yard, manifest)


async def test_what_was_pushed_and_is_pulled_again_stays_ours(yard: BoundedYard, world: World) -> None:
    manifest, blobs = small_image("one")
    await yard.push(REPOSITORY, manifest, blobs)
    await world.publish(manifest, blobs, V1)
    await yard.pull(REPOSITORY, V1)
    yard.bound(1)
    await yard.settle()
    assert await here(yard, manifest)


async def test_nothing_goes_that_the_route_has_no_upstream_for_any_more(yard: BoundedYard, world: World) -> None:
    manifest = await pulled(yard, world, "one", V1)
    world.hub.pull = False
    yard.bound(1)
    await yard.settle()
    assert await here(yard, manifest)
    world.hub.pull = True
    await yard.settle()
    assert not await here(yard, manifest)


async def test_nothing_goes_while_nobody_may_be_asked(yard: BoundedYard, world: World) -> None:
    manifest = await pulled(yard, world, "one", V1)
    yard.bound(1, offline=True)
    await yard.settle()
    assert await here(yard, manifest)


async def test_a_signature_of_ours_keeps_what_it_is_about(yard: BoundedYard, world: World) -> None:
    manifest = await pulled(yard, world, "one", V1)
    await yard.push(REPOSITORY, about(manifest), [b"{}"])
    yard.bound(1)
    await yard.settle()
    assert await here(yard, manifest)


async def test_a_platform_on_its_way_upstream_keeps_its_index(yard: BoundedYard, world: World) -> None:
    one = small_image("amd64")
    whole = index(one[0])
    await yard.push(PUSHED, *one)
    await yard.push(PUSHED, whole, [], V1)
    await yard.sync(PUSHED, V1, world.corp)
    yard.bound(1)
    await yard.settle()
    assert await here(yard, whole, PUSHED)
    await yard.sync(PUSHED, one[0].digest, world.corp)
    await yard.settle()
    assert not await here(yard, whole, PUSHED)
    assert await yard.store.used_bytes() == 0


async def test_a_blob_that_a_client_sent_is_never_taken_for_a_left_over(yard: BoundedYard) -> None:
    digest = await push_blob(yard.store, b"of a push that goes on tomorrow")
    yard.bound(1)
    assert (await yard.settle()).used == 0
    assert await yard.store.blob_size(digest) is not None


async def test_a_ledger_that_is_lost_makes_all_of_it_ours(world: World) -> None:
    async with bounded_yard(world.folder, world.queue, world.routes) as yard:
        manifest = await pulled(yard, world, "first", V1)
    (world.folder / "ledger.jsonl").unlink()
    async with bounded_yard(world.folder, world.queue, world.routes) as yard:
        yard.bound(1)
        assert (await yard.settle()).used == 0
        assert await here(yard, manifest)


async def test_pins_that_cannot_be_read_stop_all_eviction(world: World) -> None:
    async with bounded_yard(world.folder, world.queue, world.routes) as yard:
        manifest = await pulled(yard, world, "first", V1)
    (world.folder / "pins.json").write_text("{torn")
    async with bounded_yard(world.folder, world.queue, world.routes) as yard:
        yard.bound(1)
        await yard.settle()
        assert await here(yard, manifest)


async def test_a_manifest_that_was_deleted_here_and_is_pulled_again_came_through_its_upstream(
    yard: BoundedYard, world: World
) -> None:
    manifest, blobs = small_image("one")
    await yard.push(REPOSITORY, manifest, blobs, V1)
    await yard.store.delete_manifest(REPOSITORY, manifest.digest)
    await pulled(yard, world, "one", V2)
    yard.bound(1)
    await yard.settle()
    assert not await here(yard, manifest)


async def test_a_push_that_comes_while_the_same_manifest_is_being_pulled_makes_it_ours(
    yard: BoundedYard, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest, blobs = small_image("one")
    await world.publish(manifest, blobs)
    put = yard.store.put_manifest

    async def pushed_just_before(repository: RepositoryName, pulled: Manifest) -> None:
        monkeypatch.setattr(yard.store, "put_manifest", put)
        await yard.push(REPOSITORY, manifest, blobs)
        await put(repository, pulled)

    monkeypatch.setattr(yard.store, "put_manifest", pushed_just_before)
    await yard.pull(REPOSITORY, manifest.digest)
    yard.bound(1)
    await yard.settle()
    assert await here(yard, manifest)


async def test_what_one_upstream_has_and_was_cancelled_for_another_stays(yard: BoundedYard, world: World) -> None:
    world.routes.upstreams.append(FakeUpstream(name="second", pull=False))
    world.routes.only["second"] = "corp/"
    manifest, blobs = small_image("one")
    await yard.push(PUSHED, manifest, blobs)
    await yard.sync(PUSHED, manifest.digest, world.corp)
    yard.cancel(PUSHED, manifest.digest)
    yard.bound(1)
    await yard.settle()
    assert await here(yard, manifest, PUSHED)
