"""What is answered from memory is never older than the disk, whatever happens at once or is cancelled."""

from __future__ import annotations

import asyncio
import os
import random
from pathlib import Path

import pytest

from tests.support.content import LATEST, REPOSITORY, about, image, push_blob, push_image
from tests.support.waiting import until_async
from tests.unit.storage.gate import Gate
from yarddesk.content.target import NotFound
from yarddesk.oci.name import RepositoryName, Tag
from yarddesk.storage.filesystem import FilesystemStore


async def test_a_tag_that_moves_while_it_is_read_is_not_remembered_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with FilesystemStore.open(tmp_path) as store:
        old, new = await push_image(store, "old"), await push_image(store, "new", tags=())
    async with FilesystemStore.open(tmp_path) as store:
        gate = Gate(
            monkeypatch, "read", lambda descriptor, _: old.digest.hex in os.readlink(f"/proc/self/fd/{descriptor}")
        )
        reading = asyncio.create_task(store.resolve(REPOSITORY, LATEST))
        await gate.reached()
        await store.put_tag(REPOSITORY, LATEST, new.digest)
        gate.open()
        assert await reading in (old.descriptor, new.descriptor)
        assert store.resolve_cached(REPOSITORY, LATEST) in (None, new.descriptor)
        assert await store.resolve(REPOSITORY, LATEST) == new.descriptor


async def test_a_blob_that_is_deleted_while_its_size_is_asked_for_is_not_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with FilesystemStore.open(tmp_path) as store:
        digest = await push_blob(store, b"hello")
    async with FilesystemStore.open(tmp_path) as store:
        gate = Gate(monkeypatch, "unlink", lambda path: digest.hex in path)
        deleting = asyncio.create_task(store.delete_blob(digest))
        await gate.reached()
        asking = asyncio.create_task(store.blob_size(digest))
        await asyncio.sleep(0)
        gate.open()
        await deleting
        assert await asking in (None, 5)
        assert await store.blob_size(digest) is None


async def test_a_push_whose_client_has_gone_is_finished_and_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with FilesystemStore.open(tmp_path) as store:
        await push_image(store, "old")
        new = await push_image(store, "new", tags=())
        await store.resolve(REPOSITORY, LATEST)
        gate = Gate(monkeypatch, "replace", lambda _, target: target.endswith("latest"))
        moving = asyncio.create_task(store.put_tag(REPOSITORY, LATEST, new.digest))
        await gate.reached()
        moving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await moving
        gate.open()
        await until_async(lambda: store.resolve_cached(REPOSITORY, LATEST) == new.descriptor)
    async with FilesystemStore.open(tmp_path) as store:
        assert await store.resolve(REPOSITORY, LATEST) == new.descriptor


async def test_pushes_and_deletes_of_one_repository_at_once_end_in_order(tmp_path: Path) -> None:
    chance = random.Random(7)
    manifests = [image(f"layer {number}".encode()) for number in range(6)]
    nested = RepositoryName.parse(f"{REPOSITORY}/nested")

    async def push(store: FilesystemStore) -> None:
        manifest, tag = chance.choice(manifests), Tag.parse(chance.choice("abc"))
        repository = chance.choice([REPOSITORY, nested])
        await store.put_manifest(repository, manifest)
        await store.put_manifest(repository, about(manifest))
        try:
            await store.put_tag(repository, tag, manifest.digest)
        except NotFound:
            return  # deleted since

    async def delete(store: FilesystemStore) -> None:
        manifest = chance.choice(manifests)
        for one in (manifest, about(manifest)):
            try:
                await store.delete_manifest(chance.choice([REPOSITORY, nested]), one.digest)
            except NotFound:
                continue

    async with FilesystemStore.open(tmp_path) as store:
        for _ in range(15):
            await asyncio.gather(*(chance.choice([push, push, delete])(store) for _ in range(8)))
        known = {
            pair: store.resolve_cached(*pair)
            for pair in [(r, Tag.parse(t)) for r in (REPOSITORY, nested) for t in "abc"]
        }
        used = await store.used_bytes()
    async with FilesystemStore.open(tmp_path) as store:
        assert await store.used_bytes() == used
        for (repository, tag), descriptor in known.items():
            if descriptor is not None:
                assert await store.resolve(repository, tag) == descriptor
            else:
                with pytest.raises(NotFound):
                    await store.resolve(repository, tag)
        async for repository, digest in store.manifests():
            await store.delete_manifest(repository, digest)
        assert await store.used_bytes() == 0
    assert list((tmp_path / "manifests").iterdir()) == []
