"""What is answered from memory is never older than the disk, whatever happens at once or is cancelled."""

from __future__ import annotations

import asyncio
import errno
import os
import random
import shutil
from pathlib import Path

import pytest

from tests.support.content import LATEST, REPOSITORY, about, image, push_blob, push_image
from tests.support.waiting import until_async
from tests.unit.storage.gate import Gate
from yarddesk.content.errors import StorageError
from yarddesk.content.target import NotFound
from yarddesk.oci.digest import Digest
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


@pytest.mark.parametrize("by_digest", [True, False])
async def test_what_became_of_a_deletion_that_failed_is_looked_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by_digest: bool
) -> None:
    def fail(_descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    async with FilesystemStore.open(tmp_path) as store:
        manifest = await push_image(store)
        assert store.resolve_cached(REPOSITORY, LATEST) == manifest.descriptor
        monkeypatch.setattr(os, "fsync", fail)
        deletion = (
            store.delete_manifest(REPOSITORY, manifest.digest) if by_digest else store.delete_tag(REPOSITORY, LATEST)
        )
        with pytest.raises(StorageError):
            await deletion
        monkeypatch.undo()
        assert not (tmp_path / "manifests" / REPOSITORY / "_tags" / LATEST).exists()
        with pytest.raises(NotFound):
            await store.resolve(REPOSITORY, LATEST)


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


async def test_nobody_builds_on_a_blob_before_its_name_is_durable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with FilesystemStore.open(tmp_path) as store:
        digest = Digest.of(b"hello")
        gate = Gate(monkeypatch, "fsync", lambda file: os.readlink(f"/proc/self/fd/{file}").endswith(digest.hex[:2]))
        pushing = asyncio.create_task(push_blob(store, b"hello"))
        await gate.reached()
        assert (tmp_path / "blobs/sha256" / digest.hex[:2] / digest.hex).exists()
        assert await store.blob_size(digest) is None
        gate.open()
        await pushing
        assert await store.blob_size(digest) == 5
        # One that is here stays here while it's pushed again.
        gate = Gate(monkeypatch, "fsync", lambda file: os.readlink(f"/proc/self/fd/{file}").endswith(digest.hex[:2]))
        pushing = asyncio.create_task(push_blob(store, b"hello"))
        await gate.reached()
        assert await store.blob_size(digest) == 5
        gate.open()
        await pushing


async def test_a_blob_whose_folder_cannot_be_synced_is_not_here_until_it_is_pushed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest, fsync = Digest.of(b"hello"), os.fsync

    def fail(file: int) -> None:
        if os.readlink(f"/proc/self/fd/{file}").endswith(f"/{digest.hex[:2]}"):
            raise OSError(errno.EIO, "Input/output error")
        fsync(file)

    async with FilesystemStore.open(tmp_path) as store:
        monkeypatch.setattr(os, "fsync", fail)
        with pytest.raises(StorageError):
            await push_blob(store, b"hello")
        assert await store.blob_size(digest) is None
        monkeypatch.undo()
        await push_blob(store, b"hello")
        assert await store.blob_size(digest) == 5


async def test_what_a_killed_run_left_to_the_kernel_is_durable_before_anybody_builds_on_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with FilesystemStore.open(tmp_path / "data") as store:
        digest = await push_blob(store, b"hello")
        shutil.copytree(tmp_path / "data", tmp_path / "killed")
    synced: list[str] = []
    fsync = os.fsync

    def noted(file: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{file}"))
        fsync(file)

    monkeypatch.setattr(os, "fsync", noted)
    folders = [f"blobs/sha256/{digest.hex[:2]}", "blobs/sha256", "blobs"]
    for name, unclean in (("data", False), ("killed", True)):
        async with FilesystemStore.open(tmp_path / name):
            for folder in folders:
                assert (str(tmp_path / name / folder) in synced) == unclean
