"""While images go: pushes keep what they were told is here, pulls are served, and a kill leaves nothing half."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from tests.support.bounded_yard import (
    ALONE,
    REPOSITORY,
    V1,
    V2,
    V3,
    BoundedYard,
    HandQueue,
    World,
    bounded_yard,
    here,
    nobody_waits,
    pulled,
    small_image,
)
from tests.support.content import about, index, push_blob
from tests.support.stored_oracle import Walked
from tests.support.waiting import until_async
from tests.unit.storage.gate import Gate
from yarddesk.oci.digest import Digest
from yarddesk.oci.name import RepositoryName, Tag
from yarddesk.settings.model import CacheSettings, Settings


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
    asking_always = CacheSettings(max_size=0, min_free=0, manifest_ttl=timedelta(0))
    yard.pulls.reload(world.routes, Settings(data_dir=world.folder, cache=asking_always))
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


async def test_what_is_pulled_again_while_its_blobs_go_is_not_ours_alone(
    yard: BoundedYard, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = await pulled(yard, world, "one", V1)
    yard.bound(1)
    remove = yard.store.images._remove

    async def pulled_just_before(digests: Sequence[Digest], grace: float) -> list[int]:
        await yard.manifest(REPOSITORY, V1)
        return await remove(digests, grace)

    with monkeypatch.context() as patch:
        patch.setattr(yard.store.images, "_remove", pulled_just_before)
        await yard.evictor.evict(await yard.evictor.survey())
    assert manifest.digest in await yard.store.digests(REPOSITORY)
    assert (await yard.settle()).used == 0
    assert not await here(yard, manifest)


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
