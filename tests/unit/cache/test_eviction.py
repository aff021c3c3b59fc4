"""What can be had again is kept within its bound: whole images, what wasn't used for longest first, and nothing else."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tests.support.bounded_yard import (
    OTHER,
    REPOSITORY,
    BoundedYard,
    HandQueue,
    bounded_yard,
    nobody_waits,
    small_image,
)
from tests.support.content import about, index, push_blob
from tests.support.damage import flip_a_bit, manifest_file
from tests.support.fake_upstreams import FakeRoutes, FakeUpstream
from tests.support.stored_oracle import Walked
from tests.support.waiting import until_async
from tests.unit.storage.gate import Gate
from yarddesk.content.errors import StorageError
from yarddesk.oci.digest import Digest
from yarddesk.oci.manifest import Manifest
from yarddesk.oci.name import ImageReference, RepositoryName, Tag, referrers_tag
from yarddesk.storage.manifests import ManifestCheck

V1, V2, V3 = (Tag.parse(text) for text in ("v1", "v2", "v3"))


class World:
    """The upstreams, the queue and the folder, which outlive a run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.hub = FakeUpstream(name="hub", push=False)
        self.corp = FakeUpstream(name="corp", push=True)
        self.routes = FakeRoutes([self.hub, self.corp], only={"hub": "team/", "corp": "corp/"})
        self.queue = HandQueue(self.routes)
        self.hours = 0

    async def publish(
        self, manifest: Manifest, blobs: list[bytes], *tags: Tag, to: RepositoryName = REPOSITORY
    ) -> None:
        upstream = self.hub if to.startswith("team/") else self.corp
        for content in blobs:
            await push_blob(upstream.store, content, to)
        await upstream.store.put_manifest(to, manifest)
        for tag in tags:
            await upstream.store.put_tag(to, tag, manifest.digest)


PUSHED = RepositoryName.parse("corp/app")
ALONE = RepositoryName.parse("mine/app")


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    nobody_waits(monkeypatch)
    return World(tmp_path)


@pytest.fixture
async def yard(world: World) -> AsyncIterator[BoundedYard]:
    async with bounded_yard(world.folder, world.queue, world.routes) as yard:
        yield yard


async def pulled(yard: BoundedYard, world: World, name: str, tag: Tag, *shared: bytes) -> Manifest:
    manifest, blobs = small_image(name, *shared)
    await world.publish(manifest, blobs, tag)
    await yard.pull(REPOSITORY, tag)
    return manifest


async def here(yard: BoundedYard, manifest: Manifest, repository: RepositoryName = REPOSITORY) -> bool:
    """Whether all of it is; it's all or nothing."""
    there = [await yard.store.blob_size(blob.digest) is not None for blob in manifest.blobs]
    there.append(manifest.digest in await yard.store.digests(repository))
    assert all(there) or not there[-1]
    return there[-1]


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


async def test_a_blob_that_a_client_sent_is_never_taken_for_a_left_over(yard: BoundedYard) -> None:
    digest = await push_blob(yard.store, b"of a push that goes on tomorrow")
    yard.bound(1)
    assert (await yard.settle()).used == 0
    assert await yard.store.blob_size(digest) is not None


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


async def test_it_happens_by_itself(world: World) -> None:
    async with bounded_yard(world.folder, world.queue, world.routes, running=True) as yard:
        first = await pulled(yard, world, "first", V1)
        second = await pulled(yard, world, "second", V2)
        await until_async(lambda: yard.evictor.used > 2000)
        yard.bound(yard.evictor.used - 1)
        await until_async(lambda: first.digest not in yard.store.contents.repositories[REPOSITORY].manifests)
        assert await here(yard, second)
        await until_async(lambda: yard.evictor.used < 2000)


async def test_what_would_not_be_enough_is_not_evicted_for_a_full_disk(yard: BoundedYard, world: World) -> None:
    manifest = await pulled(yard, world, "one", V1)
    yard.evictor.make_room(1_000_000)
    await yard.settle()
    assert await here(yard, manifest)
    yard.evictor.make_room(1)
    await yard.settle()
    assert not await here(yard, manifest)


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


@pytest.mark.parametrize("is_known", [False, True])
async def test_a_pull_whose_manifest_goes_before_its_tag_moves_is_served_all_the_same(
    yard: BoundedYard, world: World, monkeypatch: pytest.MonkeyPatch, *, is_known: bool
) -> None:
    manifest, blobs = small_image("one")
    await world.publish(manifest, blobs, V1)
    if is_known:
        await pulled(yard, world, "older", V1)
        await world.publish(manifest, blobs, V1)
        await yard.pull(REPOSITORY, manifest.digest)
    put_tag = yard.store.put_tag

    async def evicted_just_before(repository: RepositoryName, tag: Tag, digest: Digest) -> None:
        await yard.store.delete_manifest(repository, digest)
        await put_tag(repository, tag, digest)

    monkeypatch.setattr(yard.store, "put_tag", evicted_just_before)
    found = await yard.pulls.fetch_manifest(REPOSITORY, V1)
    assert found is not None
    assert found.manifest == manifest


async def test_what_is_used_after_the_look_stays_for_now(yard: BoundedYard, world: World) -> None:
    manifest = await pulled(yard, world, "one", V1)
    yard.bound(1)
    found = await yard.evictor.survey()
    await yard.manifest(REPOSITORY, V1)
    await yard.evictor.evict(found)
    assert await here(yard, manifest)


async def test_pulls_and_pushes_go_on_while_images_go(world: World) -> None:
    async with bounded_yard(world.folder, world.queue, world.routes, running=True) as yard:
        for number in range(60):
            await pulled(yard, world, f"old {number}", Tag.parse(f"old-{number}"))
        kept = [await pulled(yard, world, f"kept {number}", Tag.parse(f"kept-{number}")) for number in range(3)]
        await until_async(lambda: yard.evictor.used > 60_000)
        going = asyncio.ensure_future(until_async(lambda: yard.evictor.used < 10_000, 30))
        yard.bound(5_000)
        for number in range(30):
            await yard.pull(REPOSITORY, Tag.parse(f"kept-{number % 3}"))
            await yard.push(ALONE, *small_image(f"pushed {number % 5}"), V1)
            if number == 3:
                assert not going.done(), "this shows nothing"
        await going
        assert all([await here(yard, manifest) for manifest in kept])
        assert await here(yard, small_image("pushed 4")[0], ALONE)


# While it goes


async def going(yard: BoundedYard, monkeypatch: pytest.MonkeyPatch, folder: str) -> tuple[Gate, asyncio.Task[object]]:
    """An eviction of everything that stops before it unlinks a file in such a folder."""
    gate = Gate(monkeypatch, "unlink", lambda path, *_: folder in str(path))
    yard.bound(1)
    task = asyncio.ensure_future(yard.settle())
    await gate.reached()
    return gate, task


async def test_a_push_that_was_told_a_blob_is_here_gets_its_201_though_its_only_image_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path)
    async with bounded_yard(world.folder, world.queue, world.routes) as yard:
        manifest = await pulled(yard, world, "one", V1)
        gate, task = await going(yard, monkeypatch, "/manifests/")
        assert all([await yard.store.promise_blob(blob.digest) for blob in manifest.blobs])
        pushed = asyncio.ensure_future(yard.intake.take(ALONE, manifest, (V1,)))
        gate.open()
        await task
        await pushed
        assert await here(yard, manifest, ALONE)
        assert manifest.digest not in await yard.store.digests(REPOSITORY)


async def test_a_push_that_asks_for_a_blob_that_is_just_going_is_told_that_it_is_gone(
    yard: BoundedYard, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = await pulled(yard, world, "one", V1)
    gate, task = await going(yard, monkeypatch, "/blobs/")
    asked = asyncio.ensure_future(yard.store.promise_blob(manifest.blobs[1].digest))
    await asyncio.sleep(0)
    assert not asked.done()
    gate.open()
    await task
    assert await asked is None


async def test_what_a_client_was_told_is_here_stays_with_its_image(tmp_path: Path) -> None:
    world = World(tmp_path)
    async with bounded_yard(world.folder, world.queue, world.routes) as yard:
        asked, mounted, other = [
            await pulled(yard, world, name, tag) for name, tag in zip("abc", (V1, V2, V3), strict=True)
        ]
        assert await yard.store.promise_blob(asked.blobs[0].digest)
        yard.store.promise_manifest(mounted.digest)
        yard.bound(1)
        await yard.settle()
        assert [await here(yard, each) for each in (asked, mounted, other)] == [True, True, False]


async def test_a_blob_that_a_push_sent_stays_until_its_manifest_came(tmp_path: Path) -> None:
    world = World(tmp_path)
    async with bounded_yard(world.folder, world.queue, world.routes) as yard:
        manifest, blobs = small_image("one")
        await world.publish(manifest, blobs, V1)
        await yard.manifest(REPOSITORY, V1)
        for content in blobs:
            await push_blob(yard.store, content, ALONE)
        yard.bound(1)
        await yard.settle()
        await yard.intake.take(ALONE, manifest, (V1,))
        await yard.settle()
        assert await here(yard, manifest, ALONE)
        assert manifest.digest not in await yard.store.digests(REPOSITORY)


async def test_a_kill_at_any_step_leaves_nothing_half(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two, other = small_image("amd64"), small_image("arm64"), small_image("other")
    whole = index(one[0], two[0])
    signature = about(whole)
    states: list[Path] = []
    calls: list[str] = []

    def noting(name: str) -> None:
        call = getattr(os, name)

        def noted(*arguments: object, **options: object) -> object:
            where = os.readlink(f"/proc/self/fd/{arguments[0]}") if name == "fsync" else str(arguments[0])
            if "/data/manifests" in where or "/data/blobs" in where:
                calls.append(f"{name} {where}")
                states.append(tmp_path / f"killed-{len(states)}" / "data")
                shutil.copytree(world.folder, states[-1])
            return call(*arguments, **options)

        monkeypatch.setattr(os, name, noted)

    world.folder = tmp_path / "data"
    async with bounded_yard(world.folder, world.queue, world.routes) as yard:
        for manifest, blobs in (one, two):
            await world.publish(manifest, blobs)
        await world.publish(whole, [], V1)
        await world.publish(signature, [b"{}"])
        await yard.pull(REPOSITORY, V1)
        await yard.pull(REPOSITORY, signature.digest)
        await yard.push(ALONE, *other, V2)
        with monkeypatch.context():
            for name in ("unlink", "fsync", "rmdir"):
                noting(name)
            yard.bound(1)
            await yard.settle()
            monkeypatch.undo()
        assert manifest.digest not in await yard.store.digests(REPOSITORY)
    first_blob = next(number for number, call in enumerate(calls) if "unlink" in call and "/blobs/" in call)
    gone = [call for call in calls if "unlink" in call and "/_sha256/" in call and ".type" not in call]
    assert len(gone) == 4
    assert whole.digest.hex in gone[0]
    assert not any("/manifests/" in call for call in calls[first_blob:] if "unlink" in call)
    assert any("fsync" in call and call.endswith("/_sha256") for call in calls[:first_blob])
    nobody_waits(monkeypatch)
    for state in states:
        walked = Walked.folder(state)
        for repository, manifests in walked.manifests.items():
            for root in (min(image, key=lambda each: each != whole.digest) for image in walked.images(repository)):
                if walked.children_of(manifests[root][0]) <= manifests.keys():
                    assert walked.is_whole(repository, root), (state, root)
            assert walked.is_whole(str(ALONE), other[0].digest)
        async with bounded_yard(state, HandQueue(world.routes), world.routes) as yard:
            yard.bound(1)
            assert (await yard.settle()).used == 0
            assert await here(yard, other[0], ALONE)


# What is damaged


async def test_what_a_damaged_manifest_needs_stays_also_after_a_restart(world: World) -> None:
    base = b"base" * 1000
    async with bounded_yard(world.folder, world.queue, world.routes) as yard:
        lost, blobs = small_image("lost", base)
        await yard.push(ALONE, lost, blobs, V1)
        await pulled(yard, world, "one", V1, base)
        flip_a_bit(manifest_file(world.folder, ALONE, lost.digest))
        assert await yard.store.verify_manifest(ALONE, lost.digest) is ManifestCheck.DAMAGED
        yard.bound(1)
        await yard.settle()
        assert all([await yard.store.blob_size(blob.digest) is not None for blob in lost.blobs])
    async with bounded_yard(world.folder, world.queue, world.routes) as yard:
        await pulled(yard, world, "two", V2, base)
        yard.bound(1)
        await yard.settle()
        assert all([await yard.store.blob_size(blob.digest) is not None for blob in lost.blobs])
        await yard.push(ALONE, lost, [], V1)
        assert await here(yard, lost, ALONE)


async def test_what_a_damaged_index_lists_stays(yard: BoundedYard, world: World) -> None:
    one = small_image("amd64")
    whole = index(one[0])
    await world.publish(*one)
    await world.publish(whole, [], V1)
    await yard.pull(REPOSITORY, V1)
    flip_a_bit(manifest_file(world.folder, REPOSITORY, whole.digest))
    assert await yard.store.verify_manifest(REPOSITORY, whole.digest) is ManifestCheck.DAMAGED
    yard.bound(1)
    await yard.settle()
    assert await here(yard, one[0])


async def test_what_a_manifest_needs_that_could_not_be_written_for_sure_stays(
    yard: BoundedYard, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = b"base" * 1000
    await pulled(yard, world, "one", V1, base)
    manifest, blobs = small_image("two", base)
    with monkeypatch.context() as failing:
        sync = os.fsync

        def fail(descriptor: int) -> None:
            if os.readlink(f"/proc/self/fd/{descriptor}").endswith("/_sha256"):
                raise OSError(errno.EIO, "The disk failed.")
            sync(descriptor)

        failing.setattr(os, "fsync", fail)
        with pytest.raises(StorageError):
            await yard.push(ALONE, manifest, blobs, V1)
    yard.bound(1)
    await yard.settle()
    assert await yard.store.blob_size(Digest.of(base)) is not None
    await yard.push(ALONE, manifest, blobs, V1)
    assert await here(yard, manifest, ALONE)
