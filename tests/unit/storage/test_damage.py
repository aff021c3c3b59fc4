"""Blobs that changed on the disk: seen before anybody reads them, hashed once, moved aside and not lost."""

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.content import LATEST, REPOSITORY, push_blob, push_image, read_blob
from tests.support.damage import blob_file, flip_a_bit, manifest_file, quarantined
from yarddesk.content.target import Damaged, NotFound
from yarddesk.oci.digest import Digest
from yarddesk.oci.name import RepositoryName
from yarddesk.storage import blobs
from yarddesk.storage.filesystem import FilesystemStore
from yarddesk.storage.quarantine import Damage

CONTENT = b"some layer" * 1000


class Hashed(Counter[str]):
    """How often the file of what was hashed, by its inode."""


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> Hashed:
    """Counts the files that are hashed from now on."""
    counted = Hashed()
    real = blobs.hash_file

    def counting(descriptor, hasher, length, passed=None):
        counted[str(os.fstat(descriptor).st_ino)] += 1
        real(descriptor, hasher, length, passed)

    monkeypatch.setattr(blobs, "hash_file", counting)
    return counted


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[FilesystemStore]:
    async with FilesystemStore.open(tmp_path) as store:
        yield store


async def test_what_was_pushed_in_this_run_is_read_without_being_hashed(store, hashed):
    digest = await push_blob(store, CONTENT)
    assert await read_blob(store, digest) == CONTENT
    assert not hashed


async def test_what_was_there_before_is_hashed_once_however_many_read_it(tmp_path, hashed):
    async with FilesystemStore.open(tmp_path) as store:
        digest = await push_blob(store, CONTENT)
    async with FilesystemStore.open(tmp_path) as store:
        assert await asyncio.gather(*(read_blob(store, digest) for _ in range(50))) == [CONTENT] * 50
        assert await read_blob(store, digest, 5, 10) == CONTENT[5:15]
    assert list(hashed.values()) == [1]


async def test_a_file_that_changed_is_hashed_again(store, tmp_path, hashed):
    digest = await push_blob(store, CONTENT)
    path = blob_file(tmp_path, digest)
    os.utime(path, ns=(1, 1))
    assert await read_blob(store, digest) == CONTENT
    assert list(hashed.values()) == [1]
    flip_a_bit(path, 77)
    os.utime(path, ns=(1, 1))  # as if nothing had happened
    with pytest.raises(Damaged):
        await read_blob(store, digest)


async def test_fifty_readers_of_a_damaged_blob_find_one_damage(tmp_path):
    found: list[tuple[Damage, RepositoryName | None]] = []
    async with FilesystemStore.open(tmp_path, on_damaged=lambda *damage: found.append(damage)) as store:
        digest = await push_blob(store, CONTENT)
        used = await store.used_bytes()
        flip_a_bit(blob_file(tmp_path, digest), 3)
        results = await asyncio.gather(*(read_blob(store, digest) for _ in range(50)), return_exceptions=True)
        assert all(isinstance(result, Damaged) for result in results)
        assert [damage.digest for damage, _ in found] == [digest]
        assert (found[0][0].size, found[0][1]) == (len(CONTENT), None)
        assert await store.blob_size(digest) is None
        assert await store.used_bytes() == used - len(CONTENT)
    assert quarantined(tmp_path) == [digest]


async def test_a_damaged_blob_is_still_called_damaged_after_a_restart_until_it_is_pushed(store, tmp_path):
    digest = await push_blob(store, CONTENT)
    flip_a_bit(blob_file(tmp_path, digest))
    assert not await store.check_blob(digest)
    async with FilesystemStore.open(tmp_path) as again:
        with pytest.raises(Damaged, match="quarantine"):
            await read_blob(again, digest)
        await push_blob(again, CONTENT)
        assert await read_blob(again, digest) == CONTENT
        with pytest.raises(NotFound) as missing:
            await read_blob(again, Digest.of(b"never here"))
        assert not isinstance(missing.value, Damaged)


async def test_a_whole_blob_that_takes_the_place_of_a_damaged_one_is_not_moved_aside(store, tmp_path, monkeypatch):
    digest = await push_blob(store, CONTENT)
    path = blob_file(tmp_path, digest)
    flip_a_bit(path)
    real = blobs.hash_file

    def healed_meanwhile(descriptor, hasher, length, passed=None):
        real(descriptor, hasher, length, passed)
        monkeypatch.setattr(blobs, "hash_file", real)
        whole = tmp_path / "whole"
        whole.write_bytes(CONTENT)
        os.replace(whole, path)

    monkeypatch.setattr(blobs, "hash_file", healed_meanwhile)
    assert await read_blob(store, digest) == CONTENT
    assert not quarantined(tmp_path)


async def test_a_damaged_blob_that_can_not_be_moved_is_not_read_either(store, tmp_path):
    digest = await push_blob(store, CONTENT)
    flip_a_bit(blob_file(tmp_path, digest))
    (tmp_path / "quarantine").write_text("a file in the way")
    with pytest.raises(NotFound):
        await read_blob(store, digest)
    assert not await store.check_blob(digest)
    await push_blob(store, CONTENT)
    assert await read_blob(store, digest) == CONTENT


async def test_a_damaged_manifest_is_forgotten_and_its_tags_wait_for_a_whole_one(tmp_path):
    async with FilesystemStore.open(tmp_path) as store:
        manifest = await push_image(store)
    found: list[tuple[Damage, RepositoryName | None]] = []
    async with FilesystemStore.open(tmp_path, on_damaged=lambda *damage: found.append(damage)) as store:
        await store.resolve(REPOSITORY, LATEST)
    flip_a_bit(manifest_file(tmp_path, REPOSITORY, manifest.digest), 9)
    async with FilesystemStore.open(tmp_path, on_damaged=lambda *damage: found.append(damage)) as store:
        for reference in (LATEST, manifest.digest):
            with pytest.raises(Damaged):
                await store.get_manifest(REPOSITORY, reference)
        assert store.resolve_cached(REPOSITORY, LATEST) is None
        assert [(damage.digest, repository) for damage, repository in found] == [(manifest.digest, REPOSITORY)]
        await store.put_manifest(REPOSITORY, manifest)
        assert await store.get_manifest(REPOSITORY, LATEST) == manifest
    assert quarantined(tmp_path) == [manifest.digest]


async def test_a_wrong_media_type_beside_a_whole_manifest_is_no_reason_to_lose_it(tmp_path):
    async with FilesystemStore.open(tmp_path) as store:
        manifest = await push_image(store)
    path = manifest_file(tmp_path, REPOSITORY, manifest.digest)
    path.with_name(f"{path.name}.type").write_text("application/vnd.oci.image.index.v1+json")
    async with FilesystemStore.open(tmp_path) as store:
        assert await store.get_manifest(REPOSITORY, LATEST) == manifest
