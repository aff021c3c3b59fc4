"""What a store does on a disk that is full, read-only or out of files. Run as a program in a mount namespace of its own.

python -m tests.unit.storage.disk_scenarios SCENARIO FOLDER      FOLDER is a file system of 8 MiB
"""

from __future__ import annotations

import asyncio
import os
import random
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.support.content import LATEST, REPOSITORY, image, push_blob, push_image, read_blob
from tests.support.disks import filled
from yarddesk.content.errors import StorageError, StorageFull, StorageReadOnly
from yarddesk.content.target import NotFound
from yarddesk.oci.digest import Digest
from yarddesk.oci.name import Tag
from yarddesk.storage.filesystem import FilesystemStore

MIB = 1024 * 1024


@contextmanager
def failing_with(kind: type[StorageError]) -> Iterator[list[StorageError]]:
    """The block fails so, in words."""
    told: list[StorageError] = []
    try:
        yield told
    except StorageError as error:
        told.append(error)
    assert [type(error) for error in told] == [kind]
    assert told[0].title
    assert told[0].hint


def temporary_files(data: Path) -> list[str]:
    return [path.name for path in (data / "uploads").iterdir()]


async def full_disk_ends_an_upload_and_leaves_nothing(folder: Path) -> None:
    data = folder / "data"
    async with FilesystemStore.open(data) as store:
        manifest = await push_image(store)
        used = await store.used_bytes()
        for piece in (16 * 1024, MIB):
            upload = await store.start_upload(REPOSITORY)
            with failing_with(StorageFull) as told:
                for number in range(20 * MIB // piece):
                    await upload.write(random.Random(number).randbytes(piece))
                await upload.commit(Digest.of(b"not reached"))
            assert "bytes are free" in told[0].message
            assert temporary_files(data) == []
            try:
                await store.find_upload(REPOSITORY, upload.id)
            except NotFound:
                pass
            else:
                raise AssertionError("the session is still there")
        assert await store.used_bytes() == used
        # Reading goes on, and so does writing once there is room.
        for blob in manifest.blobs:
            assert Digest.of(await read_blob(store, blob.digest)) == blob.digest
        await push_blob(store, b"x" * 4 * MIB)


async def full_disk_at_the_last_bytes_leaves_nothing(folder: Path) -> None:
    data = folder / "data"
    async with FilesystemStore.open(data) as store:
        await push_image(store)
        for gap in (0, 8192, 65536, 2 * MIB):
            content = random.Random(gap).randbytes(gap + 5000)
            with filled(folder, gap), failing_with(StorageFull):
                await push_blob(store, content)
            assert await store.blob_size(Digest.of(content)) is None
        assert temporary_files(data) == []


async def full_disk_leaves_the_old_manifest_and_tag(folder: Path) -> None:
    data = folder / "data"
    async with FilesystemStore.open(data) as store:
        old = await push_image(store)
        new = image(b"new layer", annotations={"long": "x" * 200_000})
        with filled(folder):
            with failing_with(StorageFull):
                await store.put_manifest(REPOSITORY, new)
            with failing_with(StorageFull):
                await store.put_tag(REPOSITORY, LATEST, old.digest)
            with failing_with(StorageFull):
                await store.put_tag(REPOSITORY, Tag.parse("other"), old.digest)
            assert temporary_files(data) == []
            assert (await store.get_manifest(REPOSITORY, LATEST)).content == old.content
            assert await store.tags(REPOSITORY) == [LATEST]
        await store.put_manifest(REPOSITORY, new)
        await store.put_tag(REPOSITORY, LATEST, new.digest)
        assert await store.resolve(REPOSITORY, LATEST) == new.descriptor


async def full_disk_does_not_keep_the_store_from_closing_and_opening(folder: Path) -> None:
    data = folder / "data"
    with ExitStack() as stack:
        async with FilesystemStore.open(data) as store:
            manifest = await push_image(store)
            upload = await store.start_upload(REPOSITORY)
            await upload.write(b"x" * 100_000)
            stack.enter_context(filled(folder))
    assert temporary_files(data) == []
    async with FilesystemStore.open(data) as store:
        assert await store.get_manifest(REPOSITORY, LATEST) == manifest


async def read_only_disk_is_read_and_recovers(folder: Path) -> None:
    data = folder / "data"
    async with FilesystemStore.open(data) as store:
        manifest = await push_image(store)
        upload = await store.start_upload(REPOSITORY)
        subprocess.run(["mount", "-o", "remount,bind,ro", folder], check=True)
        with failing_with(StorageReadOnly):
            await push_blob(store, b"more")
        with failing_with(StorageReadOnly):
            await upload.write(b"x" * 2 * MIB)
            await upload.commit(Digest.of(b"not reached"))
        with failing_with(StorageReadOnly):
            await store.put_manifest(REPOSITORY, image(b"more"))
        with failing_with(StorageReadOnly):
            await store.delete_manifest(REPOSITORY, manifest.digest)
        for blob in manifest.blobs:
            assert Digest.of(await read_blob(store, blob.digest)) == blob.digest
        assert await store.get_manifest(REPOSITORY, LATEST) == manifest
        subprocess.run(["mount", "-o", "remount,bind,rw", folder], check=True)
        await push_blob(store, b"more")


async def no_files_left_to_open_is_told_and_recovers(folder: Path) -> None:
    data = folder / "data"
    async with FilesystemStore.open(data) as store:
        manifest = await push_image(store)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        content = b"x" * 2 * MIB
        uploads = [await store.start_upload(REPOSITORY) for _ in range(3)]
        resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) - 1, hard))
        try:
            for upload in uploads:
                with failing_with(StorageError) as told:
                    await upload.write(content)
                    await upload.commit(Digest.of(content))
                assert told[0].temporary
            with failing_with(StorageError):
                await store.put_manifest(REPOSITORY, image(b"more"))
            with failing_with(StorageError):
                await read_blob(store, manifest.blobs[0].digest)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert await store.blob_size(Digest.of(content)) is None
        assert temporary_files(data) == []
        await push_blob(store, content)
        assert await store.get_manifest(REPOSITORY, LATEST) == manifest


SCENARIOS = {
    scenario.__name__: scenario
    for scenario in (
        full_disk_ends_an_upload_and_leaves_nothing,
        full_disk_at_the_last_bytes_leaves_nothing,
        full_disk_leaves_the_old_manifest_and_tag,
        full_disk_does_not_keep_the_store_from_closing_and_opening,
        read_only_disk_is_read_and_recovers,
        no_files_left_to_open_is_told_and_recovers,
    )
}

if __name__ == "__main__":
    asyncio.run(SCENARIOS[sys.argv[1]](Path(sys.argv[2])))
