"""Upload sessions under slow and failing disks, and callers that go away."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import threading
import time
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.content import REPOSITORY, image, read_blob
from tests.support.disks import small_disk
from tests.support.waiting import until_async
from tests.unit.storage.gate import Gate
from yarddesk.content.errors import StorageError
from yarddesk.content.target import DigestMismatch, NotFound
from yarddesk.oci.digest import Digest
from yarddesk.storage.durable import find_room, start_writing
from yarddesk.storage.filesystem import FilesystemStore

MIB = 1024 * 1024


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[FilesystemStore]:
    async with FilesystemStore.open(tmp_path / "data") as store:
        await store.used_bytes()
        yield store


def failing(monkeypatch: pytest.MonkeyPatch, name: str, number: int) -> None:
    """Every call of one function of os fails."""

    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, name, fail)


def upload_files(tmp_path: Path) -> list[Path]:
    return list((tmp_path / "data" / "uploads").iterdir())


async def test_a_slow_disk_holds_the_writer_back_and_not_the_loop(
    store: FilesystemStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(monkeypatch, "fchmod")
    session = asyncio.create_task(store.start_upload(REPOSITORY))
    await gate.reached()
    gate.open()
    upload = await session
    monkeypatch.undo()
    gate = Gate(monkeypatch, "write")
    taken = 0

    async def write() -> None:
        nonlocal taken
        for _ in range(1600):
            await upload.write(b"x" * 16 * 1024)
            taken += 16 * 1024

    writing = asyncio.create_task(write())
    await gate.reached()
    for _ in range(100):
        await asyncio.sleep(0)
    assert 3 * MIB <= taken <= 5 * MIB
    assert not writing.done()
    gate.open()
    await writing
    content = b"x" * 16 * 1024 * 1600
    assert await upload.commit(Digest.of(content)) == len(content)


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
async def test_a_failing_write_ends_the_session(
    store: FilesystemStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, number: int
) -> None:
    upload = await store.start_upload(REPOSITORY)
    failing(monkeypatch, "write", number)
    with pytest.raises(StorageError):  # noqa: PT012 - the failure is told by one of the next calls
        for _ in range(50):
            await upload.write(b"x" * MIB)
    monkeypatch.undo()
    with pytest.raises(NotFound):
        await upload.write(b"x")
    assert upload_files(tmp_path) == []


async def test_a_failing_fsync_is_never_taken_for_a_blob(
    store: FilesystemStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    content = b"x" * 3 * MIB
    upload = await store.start_upload(REPOSITORY)
    await upload.write(content)
    failing(monkeypatch, "fsync", errno.EIO)
    with pytest.raises(StorageError):
        await upload.commit(Digest.of(content))
    with pytest.raises(StorageError):
        await store.put_manifest(REPOSITORY, image(b"layer"))
    monkeypatch.undo()
    assert await store.blob_size(Digest.of(content)) is None
    assert await store.repositories() == []
    assert upload_files(tmp_path) == []


async def test_a_large_upload_is_being_written_to_the_medium_while_it_comes(
    store: FilesystemStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    ranges: list[tuple[int, int]] = []

    def begun(descriptor: int, offset: int, count: int) -> None:
        ranges.append((offset, count))
        start_writing(descriptor, offset, count)

    monkeypatch.setattr("yarddesk.storage.pipeline.start_writing", begun)
    content = b"y" * 40 * MIB
    upload = await store.start_upload(REPOSITORY)
    for start in range(0, len(content), MIB):
        await upload.write(content[start : start + MIB])
    await upload.commit(Digest.of(content))
    assert ranges
    assert [offset for offset, _ in ranges] == [sum(count for _, count in ranges[:n]) for n in range(len(ranges))]
    assert len(content) - sum(count for _, count in ranges) <= 8 * MIB


@pytest.mark.parametrize("ends", ["flush", "commit"])
async def test_a_large_upload_takes_no_more_of_the_disk_than_it_has_bytes(
    store: FilesystemStore, tmp_path: Path, ends: str
) -> None:
    content = b"y" * (20 * MIB + 5)
    upload = await store.start_upload(REPOSITORY)
    for start in range(0, len(content), MIB):
        await upload.write(content[start : start + MIB])
    if ends == "commit":
        await upload.commit(Digest.of(content))
    else:
        await upload.flush()
    (found,) = [path.stat() for path in tmp_path.rglob("*") if path.is_file() and path.stat().st_size >= MIB]
    assert found.st_size == len(content)
    assert found.st_blocks * 512 < len(content) + MIB


async def test_what_a_run_that_was_killed_had_found_ahead_is_given_back_by_the_one_that_goes_on(tmp_path: Path) -> None:
    async with FilesystemStore.open(tmp_path / "data") as store:
        upload = await store.start_upload(REPOSITORY)
        await upload.write(b"some, ")
    path = tmp_path / "data" / "uploads" / upload.id
    with path.open("rb+") as file:
        find_room(file.fileno(), path.stat().st_size, 8 * MIB)
    async with FilesystemStore.open(tmp_path / "data") as store:
        again = await store.find_upload(REPOSITORY, upload.id)
        await again.write(b"and the rest")
        await again.commit(Digest.of(b"some, and the rest"))
    (blob,) = [path for path in (tmp_path / "data" / "blobs").rglob("*") if path.is_file()]
    assert blob.read_bytes() == b"some, and the rest"
    assert blob.stat().st_blocks * 512 < MIB


async def test_an_upload_needs_no_thread_but_one(store: FilesystemStore, monkeypatch: pytest.MonkeyPatch) -> None:
    upload = await store.start_upload(REPOSITORY)

    def fail(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", fail)
    content = b"y" * 5 * MIB
    async with asyncio.timeout(30):
        for start in range(0, len(content), MIB):
            await upload.write(content[start : start + MIB])
        assert await upload.commit(Digest.of(content)) == len(content)


@pytest.mark.parametrize("found", [True, False])
async def test_room_is_found_ahead_for_large_uploads_alone_and_is_an_aid_alone(
    store: FilesystemStore, monkeypatch: pytest.MonkeyPatch, found: bool
) -> None:
    asked: list[int] = []

    def find(_descriptor: int, offset: int, _count: int) -> bool:
        asked.append(offset)
        return found

    monkeypatch.setattr("yarddesk.storage.pipeline.find_room", find)
    for size, expected in ((8 * MIB, []), (17 * MIB, [8 * MIB, 16 * MIB])):
        content = b"z" * size
        upload = await store.start_upload(REPOSITORY)
        for start in range(0, size, MIB):
            await upload.write(content[start : start + MIB])
        assert await upload.commit(Digest.of(content)) == size
        assert asked == expected


async def test_what_large_uploads_find_ahead_takes_no_room_that_others_need(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 36) as disk:
        async with FilesystemStore.open(disk / "data") as store:
            large = [await store.start_upload(REPOSITORY) for _ in range(2)]
            for upload in large:
                for _ in range(10):
                    await upload.write(b"l" * MIB)
            # Of 36 MiB some 20 are written, and those two are still to go on.
            content = b"s" * 6 * MIB
            upload = await store.start_upload(REPOSITORY)
            for start in range(0, len(content), MIB):
                await upload.write(content[start : start + MIB])
            assert await upload.commit(Digest.of(content)) == len(content)
            for upload in large:
                assert await upload.commit(Digest.of(b"l" * 10 * MIB)) == 10 * MIB


async def test_a_failure_to_begin_writing_to_the_medium_is_not_forgotten(
    store: FilesystemStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # The kernel tells of it once: the fsync at the end would succeed.
    def fail(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    piece, hasher = b"x" * MIB, Digest.of(b"").hasher()
    upload = await store.start_upload(REPOSITORY)
    monkeypatch.setattr("yarddesk.storage.pipeline.start_writing", fail)
    with pytest.raises(StorageError):  # noqa: PT012 - as above
        for _ in range(70):
            await upload.write(piece)
            hasher.update(piece)
        await upload.commit(Digest.parse(f"sha256:{hasher.hexdigest()}"))
    assert upload_files(tmp_path) == []


async def test_a_commit_goes_on_when_its_caller_is_cancelled(
    store: FilesystemStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = b"y" * 2 * MIB
    upload = await store.start_upload(REPOSITORY)
    await upload.write(content)
    gate = Gate(monkeypatch, "fsync")
    committing = asyncio.create_task(upload.commit(Digest.of(content)))
    await gate.reached()
    committing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await committing
    gate.open()
    await until_async(lambda: store.blob_size(Digest.of(content)))
    assert await read_blob(store, Digest.of(content)) == content


async def test_a_commit_that_waits_for_room_goes_on_when_its_session_is_cancelled(
    store: FilesystemStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = b"a" * MIB + b"b" * MIB + b"the rest" * 20_000
    upload = await store.start_upload(REPOSITORY)
    others = [await store.start_upload(REPOSITORY) for _ in range(20)]
    gate = Gate(monkeypatch, "write")
    for start in range(0, len(content), MIB):
        await upload.write(content[start : start + MIB])
    writing = [asyncio.create_task(other.write(bytes(MIB))) for other in others]
    committing = asyncio.create_task(upload.commit(Digest.of(content)))
    await gate.reached()
    for _ in range(50):
        await asyncio.sleep(0)
    committing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await committing
    cancelling = asyncio.create_task(upload.cancel())
    await asyncio.sleep(0)
    gate.open()
    await asyncio.gather(cancelling, *writing)
    assert await read_blob(store, Digest.of(content)) == content


async def test_a_small_blob_waits_for_no_large_ones(store: FilesystemStore, monkeypatch: pytest.MonkeyPatch) -> None:
    large = [await store.start_upload(REPOSITORY) for _ in range(5)]
    gate = Gate(monkeypatch, "write", lambda _, content: len(content) >= MIB)
    writing = [asyncio.create_task(upload.write(bytes(4 * MIB))) for upload in large]
    await gate.reached()
    upload = await store.start_upload(REPOSITORY)
    await upload.write(b"small")
    async with asyncio.timeout(10):
        await upload.commit(Digest.of(b"small"))
    assert not any(task.done() for task in writing)
    gate.open()
    await asyncio.gather(*writing)


async def test_a_cancelled_write_loses_no_byte(store: FilesystemStore, monkeypatch: pytest.MonkeyPatch) -> None:
    upload = await store.start_upload(REPOSITORY)
    gate = Gate(monkeypatch, "write")
    pieces = [bytes([number]) * 700_000 for number in range(12)]

    async def write() -> None:
        for piece in pieces:
            await upload.write(piece)

    writing = asyncio.create_task(write())
    await gate.reached()
    for _ in range(50):
        await asyncio.sleep(0)
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    gate.open()
    await upload.flush()
    size = upload.size
    assert 0 < size < 12 * 700_000
    await upload.write(b"".join(pieces)[size:])
    assert await upload.commit(Digest.of(b"".join(pieces))) == 12 * 700_000


async def test_cancel_while_bytes_are_on_their_way_leaves_nothing(
    store: FilesystemStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    upload = await store.start_upload(REPOSITORY)
    gate = Gate(monkeypatch, "write")
    for _ in range(3):
        await upload.write(b"z" * MIB)
    await gate.reached()
    cancelling = asyncio.create_task(upload.cancel())
    await asyncio.sleep(0)
    gate.open()
    await cancelling
    assert upload_files(tmp_path) == []
    with pytest.raises(NotFound):
        await upload.commit(Digest.of(b"z" * 3 * MIB))


async def test_somebody_elses_bytes_in_the_file_are_noticed(store: FilesystemStore, tmp_path: Path) -> None:
    upload = await store.start_upload(REPOSITORY)
    await upload.write(b"a" * 2 * MIB)
    await upload.flush()
    with (tmp_path / "data" / "uploads" / upload.id).open("ab") as file:
        file.write(b"more")
    with pytest.raises((StorageError, DigestMismatch)):
        await upload.commit(Digest.of(b"a" * 2 * MIB))
    assert await store.blob_size(Digest.of(b"a" * 2 * MIB)) is None


async def test_two_hundred_sessions_at_once_take_little_memory_each(store: FilesystemStore) -> None:
    content = b"m" * 3 * MIB
    digest = Digest.of(content)

    async def push() -> None:
        upload = await store.start_upload(REPOSITORY)
        for start in range(0, len(content), 64 * 1024):
            await upload.write(content[start : start + 64 * 1024])
        await upload.commit(digest)

    await asyncio.gather(*(push() for _ in range(200)))
    assert await store.used_bytes() == len(content)


async def test_what_waits_for_a_slow_disk_to_be_committed_counts_as_memory(
    store: FilesystemStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync = os.fsync

    def slow(descriptor: int) -> None:
        time.sleep(0.02)
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", slow)
    piece, pieces = bytes(60_000), 15

    async def push(number: int) -> None:
        upload = await store.start_upload(REPOSITORY)
        content = hashlib.sha256()
        for part in (b"%d" % number, *(piece,) * pieces):
            await upload.write(part)
            content.update(part)
        await upload.commit(Digest(f"sha256:{content.hexdigest()}"))

    tracemalloc.start()
    try:
        await asyncio.gather(*map(push, range(100)))
        assert tracemalloc.get_traced_memory()[1] < 40 * MIB
    finally:
        tracemalloc.stop()


async def test_closing_the_store_keeps_what_sessions_hold(tmp_path: Path) -> None:
    async with FilesystemStore.open(tmp_path / "data") as store:
        upload = await store.start_upload(REPOSITORY)
        await upload.write(b"q" * 100)
    assert (tmp_path / "data" / "uploads" / upload.id).read_bytes() == b"q" * 100


async def test_a_session_whose_caller_went_away_while_it_was_made_does_not_stay(
    store: FilesystemStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    gate = Gate(monkeypatch, "fchmod")
    starting = asyncio.create_task(store.start_upload(REPOSITORY))
    await gate.reached()
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    gate.open()
    await until_async(lambda: not upload_files(tmp_path))


async def test_a_growing_file_that_is_opened_for_nobody_any_more_is_closed(
    store: FilesystemStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    upload = await store.start_upload(REPOSITORY)
    growing = upload.grow(lambda: None)
    assert growing is not None
    path = tmp_path / "data" / "uploads" / upload.id
    opened: list[int] = []
    os_open = os.open

    def noting(*arguments: Any, **options: Any) -> int:
        opened.append(os_open(*arguments, **options))
        return opened[-1]

    monkeypatch.setattr(os, "open", noting)
    gate = Gate(monkeypatch, "open", lambda name, *_: name == str(path))
    opening = asyncio.create_task(growing.open())
    await gate.reached()
    opening.cancel()
    await asyncio.sleep(0)
    gate.open()
    with pytest.raises(asyncio.CancelledError):
        await opening
    await until_async(lambda: opened)
    await until_async(lambda: not any(is_open(descriptor, path) for descriptor in opened))


def is_open(descriptor: int, path: Path) -> bool:
    """Whether this descriptor is one of this file."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except OSError:
        return False
