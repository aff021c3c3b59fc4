"""Blobs on their way in: one fetch however many ask, and never a complete answer with wrong bytes."""

from __future__ import annotations

import asyncio
import errno
import os
import random
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import aclosing, asynccontextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.support.content import push_blob
from tests.support.fake_upstreams import FakeUpstream
from tests.support.waiting import until_async
from tests.unit.cache.test_pull_through import REPOSITORY, Cache
from yarddesk.cache.fills import HELD_BACK_BYTES, Fills
from yarddesk.cache.room import Room
from yarddesk.cache.unkept import passed_on
from yarddesk.content.errors import StorageError, StorageFull
from yarddesk.content.store import UploadSession
from yarddesk.content.target import DigestMismatch, NotFound
from yarddesk.content.upstream import UpstreamAway, UpstreamBroken, UpstreamUntrue
from yarddesk.oci.descriptor import Descriptor
from yarddesk.oci.digest import Digest
from yarddesk.oci.name import RepositoryName
from yarddesk.progress.traffic import Traffic
from yarddesk.storage.durable import sync_file
from yarddesk.storage.filesystem import FilesystemStore

BLOB = bytes(range(256)) * 4096 * 5  # 5 MiB: more than is kept in memory
DIGEST = Digest.of(BLOB)


@pytest.fixture
async def cache(tmp_path: Path) -> AsyncIterator[Cache]:
    made = Cache(tmp_path)
    upload = await made.upstream.store.start_upload(REPOSITORY)
    await upload.write(BLOB)
    await upload.commit(DIGEST)
    async with FilesystemStore.open(tmp_path / "store") as store:
        made.store = store  # type: ignore[assignment]
        made.pulls = made.make()
        async with made.pulls:
            yield made


async def read(cache: Cache, start: int = 0, end: int = len(BLOB), into: list[bytes] | None = None) -> bytes:
    pieces = [] if into is None else into
    async with cache.pulls.open_blob(REPOSITORY, DIGEST) as blob:
        assert blob.size == len(BLOB)
        async with aclosing(blob.read(start, end)) as read:
            async for piece in read:
                pieces.append(piece)
    return b"".join(pieces)


async def while_time_goes_by(cache: Cache, work: Coroutine[Any, Any, bytes]) -> bytes:
    """What is waited for with the clock comes at once."""
    task = asyncio.create_task(work)
    while not task.done():
        await asyncio.wait([task], timeout=0.001)
        cache.clock.advance(cache.clock.next_alarm or 0.0)
    return await task


async def test_a_cold_blob_is_streamed_and_kept(cache: Cache) -> None:
    assert await read(cache) == BLOB
    assert await cache.store.blob_size(DIGEST) == len(BLOB)
    assert await read(cache) == BLOB
    assert cache.upstream.asked["fetch"] == 1


async def test_fifty_readers_make_one_fetch(cache: Cache) -> None:
    contents = await asyncio.gather(*(read(cache) for _ in range(50)))
    assert all(content == BLOB for content in contents)
    assert (cache.upstream.asked["fetch"], cache.upstream.asked["blob_size"]) == (1, 1)


async def test_who_looks_whether_there_is_room_while_it_comes_in_fetches_it_no_second_time(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    looking, looked, admits = asyncio.Event(), asyncio.Event(), Room.admits

    async def slow_at_first(room: Room, size: int, coming: Callable[[], int]) -> bool:
        if not looking.is_set():
            looking.set()
            await looked.wait()
        return await admits(room, size, coming)

    monkeypatch.setattr(Room, "admits", slow_at_first)
    slow = asyncio.create_task(read(cache))
    await looking.wait()
    assert await read(cache) == BLOB
    await until_async(lambda: not cache.pulls.is_filling(DIGEST))
    looked.set()
    assert await slow == BLOB
    assert cache.upstream.asked["fetch"] == 1


async def test_the_first_bytes_are_given_while_the_rest_is_still_to_come(cache: Cache) -> None:
    cache.upstream.held, cache.upstream.hold_after = asyncio.Event(), 3 * 1024 * 1024
    early: list[bytes] = []
    reading = asyncio.create_task(read(cache, into=early))
    await until_async(lambda: sum(map(len, early)) == 3 * 1024 * 1024)
    assert cache.pulls.is_filling(DIGEST)
    late: list[bytes] = []
    following = asyncio.create_task(read(cache, into=late))
    await until_async(lambda: sum(map(len, late)) == 3 * 1024 * 1024)
    assert await cache.store.blob_size(DIGEST) is None
    cache.upstream.held.set()
    assert await reading == await following == BLOB
    await until_async(lambda: not cache.pulls.is_filling(DIGEST))
    assert cache.upstream.asked["fetch"] == 1


async def test_a_part_of_a_cold_blob_can_be_read(cache: Cache) -> None:
    assert await read(cache, len(BLOB) - 10) == BLOB[-10:]
    assert await read(cache, 1_000_000) == BLOB[1_000_000:]
    assert await read(cache, 10, 20) == BLOB[10:20]


async def test_wrong_bytes_are_never_kept_and_never_complete(cache: Cache) -> None:
    cache.upstream.corrupt = True
    pieces: list[bytes] = []
    with pytest.raises((DigestMismatch, UpstreamUntrue)):
        await read(cache, into=pieces)
    assert sum(map(len, pieces)) < len(BLOB)
    assert await cache.store.blob_size(DIGEST) is None
    cache.upstream.corrupt = False
    assert await read(cache) == BLOB


@pytest.mark.parametrize("keeps", [True, False])
@pytest.mark.parametrize(("start", "end"), [(0, 1), (0, 1024), (1024, 200_000), (3_000_000, len(BLOB)), (0, len(BLOB))])
async def test_no_part_of_wrong_bytes_ever_ends_as_a_complete_one(
    cache: Cache, monkeypatch: pytest.MonkeyPatch, keeps: bool, start: int, end: int
) -> None:
    cache.upstream.corrupt = True
    if not keeps:
        monkeypatch.setattr(FilesystemStore, "start_upload", no_room)
    pieces: list[bytes] = []
    with pytest.raises((DigestMismatch, UpstreamUntrue)):
        await read(cache, start, end, into=pieces)
    assert sum(map(len, pieces)) < end - start


@pytest.mark.parametrize("keeps", [True, False])
async def test_parts_of_a_cold_blob_are_right_whether_it_is_kept_or_not(
    cache: Cache, monkeypatch: pytest.MonkeyPatch, keeps: bool
) -> None:
    if not keeps:
        monkeypatch.setattr(FilesystemStore, "start_upload", no_room)
    parts = [(0, 1), (5, 6), (0, 65536), (65535, 65537), (1_000_000, 3_000_000), (len(BLOB) - 1, len(BLOB))]
    for (start, end), part in zip(parts, await asyncio.gather(*(read(cache, *part) for part in parts)), strict=True):
        assert part == BLOB[start:end]
    assert (await cache.store.blob_size(DIGEST) is not None) == keeps


async def test_an_answer_that_breaks_off_is_never_complete_and_nothing_of_it_is_kept(
    cache: Cache, tmp_path: Path
) -> None:
    cache.upstream.cut_after = 2 * 1024 * 1024
    cache.upstream.fault = lambda what, _: (
        UpstreamAway("corp", "gone", temporary=True) if cache.upstream.served else None
    )
    pieces: list[bytes] = []
    with pytest.raises(UpstreamBroken):
        await while_time_goes_by(cache, read(cache, into=pieces))
    assert sum(map(len, pieces)) < len(BLOB)
    assert not list((tmp_path / "store" / "uploads").glob("*"))


async def test_the_fill_goes_on_for_those_who_wait_when_the_first_reader_goes(cache: Cache) -> None:
    cache.upstream.held, cache.upstream.hold_after = asyncio.Event(), 1024 * 1024
    first, second = asyncio.create_task(read(cache)), asyncio.create_task(read(cache))
    await until_async(lambda: cache.upstream.served >= 1024 * 1024)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    cache.upstream.held.set()
    assert await second == BLOB
    assert cache.upstream.asked["fetch"] == 1


async def test_a_fill_that_nobody_waits_for_ends_unless_most_of_it_is_there(cache: Cache) -> None:
    for there, kept in ((1024 * 1024, False), (3 * 1024 * 1024, True)):
        cache.upstream.held, cache.upstream.hold_after = asyncio.Event(), there
        pieces: list[bytes] = []
        reading = asyncio.create_task(read(cache, into=pieces))
        await until_async(partial(_all_came, pieces, there))
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        cache.upstream.held.set()
        if kept:
            await until_async(lambda: cache.store.blob_size(DIGEST))
        else:
            await until_async(lambda: not any((cache.folder / "store" / "uploads").iterdir()))
            assert await cache.store.blob_size(DIGEST) is None


class HeldDisk:
    """The medium: a file that comes in waits here for `let_go`, and then fails by `failure`, where there is one.

    `lost_from`: of what is there from then on nothing is left but zeros.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked = threading.Event()
        self.let_go = threading.Event()
        self.failure: OSError | None = None
        self.lost_from: int | None = None
        monkeypatch.setattr("yarddesk.storage.uploads.sync_file", self._held)

    def _held(self, descriptor: int) -> None:
        self.asked.set()
        assert self.let_go.wait(60)
        if self.lost_from is not None:
            os.pwrite(descriptor, bytes(os.fstat(descriptor).st_size - self.lost_from), self.lost_from)
        if self.failure is not None:
            raise self.failure
        sync_file(descriptor)


LARGE = BLOB * 4  # 20 MiB
LARGE_DIGEST = Digest.of(LARGE)


async def test_the_end_of_a_large_blob_does_not_wait_for_the_disk(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    await push_blob(cache.upstream.store, LARGE, REPOSITORY)
    disk = HeldDisk(monkeypatch)
    assert await _all_of(cache, REPOSITORY, LARGE_DIGEST) == LARGE
    assert await cache.store.blob_size(LARGE_DIGEST) is None
    assert cache.pulls.is_filling(LARGE_DIGEST)
    assert await _all_of(cache, REPOSITORY, LARGE_DIGEST) == LARGE, "who comes meanwhile has it from the same fill"
    disk.let_go.set()
    await until_async(lambda: not cache.pulls.is_filling(LARGE_DIGEST))
    assert await cache.store.blob_size(LARGE_DIGEST) == len(LARGE)
    assert cache.upstream.asked["fetch"] == 1


async def test_the_end_of_a_small_blob_waits_until_it_is_kept(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = HeldDisk(monkeypatch)
    pieces: list[bytes] = []
    reading = asyncio.create_task(read(cache, into=pieces))
    await until_async(disk.asked.is_set)
    assert sum(map(len, pieces)) < len(BLOB)
    disk.let_go.set()
    assert await reading == BLOB
    assert await cache.store.blob_size(DIGEST) == len(BLOB)


async def test_a_disk_that_fails_at_the_end_takes_nothing_from_who_has_the_blob(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    await push_blob(cache.upstream.store, LARGE, REPOSITORY)
    disk = HeldDisk(monkeypatch)
    disk.failure = OSError(errno.EIO, "Input/output error")
    assert await _all_of(cache, REPOSITORY, LARGE_DIGEST) == LARGE
    disk.let_go.set()
    await until_async(lambda: not cache.pulls.is_filling(LARGE_DIGEST))
    assert await cache.store.blob_size(LARGE_DIGEST) is None
    disk.failure = None
    assert await _all_of(cache, REPOSITORY, LARGE_DIGEST) == LARGE
    await until_async(lambda: not cache.pulls.is_filling(LARGE_DIGEST))
    assert await cache.store.blob_size(LARGE_DIGEST) == len(LARGE)


async def test_what_a_failing_disk_made_of_the_bytes_never_ends_as_a_complete_answer(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    await push_blob(cache.upstream.store, LARGE, REPOSITORY)
    disk = HeldDisk(monkeypatch)
    # What could not be written may be dropped from memory, too (NFS does so): then the file is read as the disk has it.
    disk.lost_from = 15 * 1024 * 1024
    disk.failure = OSError(errno.EIO, "Input/output error")
    given = 0
    with pytest.raises(StorageError):  # noqa: PT012 - somewhere on the way
        async with cache.pulls.open_blob(REPOSITORY, LARGE_DIGEST) as blob, aclosing(blob.read(0, blob.size)) as pieces:
            given += len(await anext(pieces))
            await until_async(disk.asked.is_set)
            given += len(await anext(pieces))  # this reader knows that all of it is true
            disk.let_go.set()
            await until_async(lambda: not cache.pulls.is_filling(LARGE_DIGEST))
            async for piece in pieces:
                given += len(piece)
    assert given < len(LARGE)


@pytest.mark.parametrize("size", [5, len(LARGE)])
async def test_wrong_bytes_of_any_size_are_never_complete(cache: Cache, size: int) -> None:
    content = LARGE[:size]
    await push_blob(cache.upstream.store, content, REPOSITORY)
    cache.upstream.corrupt = True
    pieces: list[bytes] = []
    with pytest.raises((DigestMismatch, UpstreamUntrue)):
        await _all_of(cache, REPOSITORY, Digest.of(content), pieces)
    assert sum(map(len, pieces)) < size


@pytest.mark.parametrize("size", [1, 3000, HELD_BACK_BYTES, HELD_BACK_BYTES + 1, 3 * HELD_BACK_BYTES])
async def test_of_what_is_passed_on_the_last_bytes_wait_for_the_whole_as_those_of_a_fill_do(size: int) -> None:
    content = random.Random(size).randbytes(size)

    @asynccontextmanager
    async def opened(sent: bytes) -> AsyncIterator[AsyncIterator[bytes]]:
        async def pieces() -> AsyncIterator[bytes]:
            for begin in range(0, len(sent), 1000):
                yield sent[begin : begin + 1000]

        yield pieces()

    for sent in (content, bytes(size)):
        for start, end in ((0, size), (size // 3, size), (0, size // 2 + 1)):
            given = bytearray()
            reading = passed_on(partial(opened, sent), Digest.of(content), size, start, end)
            with nullcontext() if sent == content else pytest.raises(DigestMismatch):
                async for piece in reading:
                    given += piece
            if sent == content:
                assert given == content[start:end]
            else:
                assert len(given) <= max(0, end - start - HELD_BACK_BYTES)


async def test_of_a_blob_that_did_not_come_no_session_is_left(cache: Cache) -> None:
    sessions = cache.folder / "store" / "uploads"
    assert await cache.pulls.blob_size(REPOSITORY, DIGEST) == len(BLOB)
    await cache.upstream.store.delete_blob(DIGEST)
    with pytest.raises(NotFound):
        await read(cache)
    await until_async(lambda: not cache.pulls.is_filling(DIGEST))
    assert list(sessions.iterdir()) == []
    await push_blob(cache.upstream.store, BLOB, REPOSITORY)
    assert await read(cache) == BLOB
    assert list(sessions.iterdir()) == []


async def test_a_blob_that_no_upstream_has_is_not_found(cache: Cache) -> None:
    with pytest.raises(NotFound):
        async with cache.pulls.open_blob(REPOSITORY, Digest.of(b"nothing")):
            pass


async def test_an_upstream_that_is_away_is_told_on_entering(cache: Cache) -> None:
    cache.upstream.away = True
    with pytest.raises(UpstreamAway):
        async with cache.pulls.open_blob(REPOSITORY, DIGEST):
            pass


async def test_an_empty_blob_comes_too(cache: Cache) -> None:
    upload = await cache.upstream.store.start_upload(REPOSITORY)
    await upload.commit(Digest.of(b""))
    async with cache.pulls.open_blob(REPOSITORY, Digest.of(b"")) as blob:
        assert [piece async for piece in blob.read(0, blob.size)] == []
    assert await cache.store.blob_size(Digest.of(b"")) == 0


async def test_a_slow_upstream_holds_up_nobody_who_pulls_from_another(cache: Cache) -> None:
    other, quick = RepositoryName.parse("hub/app"), FakeUpstream(name="hub", push=False)
    cache.routes.upstreams.append(quick)
    cache.routes.only = {"corp": "team/", "hub": "hub/"}
    await push_blob(quick.store, b"from the quick one", other)
    cache.upstream.held = asyncio.Event()
    cache.upstream.piece_bytes = 1024
    blobs = [bytes([number]) * 4096 for number in range(40)]
    for content in blobs:
        await push_blob(cache.upstream.store, content, REPOSITORY)
    slow = [asyncio.create_task(_all_of(cache, REPOSITORY, Digest.of(content))) for content in blobs]
    await until_async(lambda: cache.upstream.asked["fetch"] == 32)
    async with asyncio.timeout(20):
        assert await _all_of(cache, other, Digest.of(b"from the quick one")) == b"from the quick one"
    assert not any(task.done() for task in slow)
    cache.upstream.held.set()
    assert await asyncio.gather(*slow) == blobs


async def _all_of(cache: Cache, repository: RepositoryName, digest: Digest, into: list[bytes] | None = None) -> bytes:
    pieces = [] if into is None else into
    async with cache.pulls.open_blob(repository, digest) as blob:
        async for piece in blob.read(0, blob.size):
            pieces.append(piece)
    return b"".join(pieces)


async def test_what_failed_is_joined_by_nobody_though_its_end_is_still_to_be_told(cache: Cache) -> None:
    """Who got nothing of it looks for it elsewhere at once, and must not find it again."""
    cache.upstream.corrupt = True
    fills = Fills(cache.store, 1, Traffic())
    source = partial(cache.upstream.repository(REPOSITORY).fetch, Descriptor("a/b", DIGEST, len(BLOB), manifest=False))
    fill = fills.begin("key", "origin", REPOSITORY, DIGEST, len(BLOB), source)
    assert fills.find("key") is fill
    while not fill.has_failed:
        await asyncio.sleep(0)
    assert fills.brings(DIGEST), "its end is not told yet"
    assert fills.find("key") is None
    await fills.close()


async def no_room(*_: object, **_named: object) -> UploadSession:
    raise StorageFull("The disk is full.")


def _all_came(pieces: list[bytes], there: int) -> bool:
    return sum(map(len, pieces)) == there
