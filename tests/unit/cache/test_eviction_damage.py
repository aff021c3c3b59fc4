"""What is damaged keeps what it needs from eviction."""

from __future__ import annotations

import errno
import os

import pytest

from tests.support.bounded_yard import (
    ALONE,
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
from tests.support.content import index
from tests.support.damage import flip_a_bit, manifest_file
from yarddesk.content.errors import StorageError
from yarddesk.oci.digest import Digest
from yarddesk.storage.manifests import ManifestCheck


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
