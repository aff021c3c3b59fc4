"""A blob's bytes come from the upstreams of its route in order, and the next goes on where one broke off."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from tests.support.fake_upstreams import FakeUpstream
from tests.support.waiting import until_async
from tests.unit.cache.test_fills import BLOB, DIGEST, no_room, read, while_time_goes_by
from tests.unit.cache.test_pull_through import REPOSITORY, Cache
from yarddesk.content.target import DigestMismatch
from yarddesk.content.upstream import UpstreamAway, UpstreamBroken, UpstreamFailure, UpstreamTrouble, UpstreamUntrue
from yarddesk.settings.model import Settings
from yarddesk.storage.filesystem import FilesystemStore

HALF = len(BLOB) // 2


@pytest.fixture
async def cache(tmp_path: Path) -> AsyncIterator[Cache]:
    """Two upstreams that have the blob: `corp`, and `second` after it."""
    made = Cache(tmp_path)
    made.routes.upstreams.append(FakeUpstream(name="second", push=False))
    for upstream in made.routes.upstreams:
        upload = await upstream.store.start_upload(REPOSITORY)
        await upload.write(BLOB)
        await upload.commit(DIGEST)
    async with FilesystemStore.open(tmp_path / "store") as store:
        made.store = store  # type: ignore[assignment]
        made.pulls = made.make()
        async with made.pulls:
            yield made


def second(cache: Cache) -> FakeUpstream:
    return cache.routes.upstreams[1]


def nothing_half(cache: Cache) -> bool:
    return not any((cache.folder / "store" / "uploads").iterdir())


async def got_wrong_bytes(cache: Cache, liar: FakeUpstream | None = None) -> None:
    """Somebody reads the blob, and gets some of it before it turns out to be wrong: that can't be called back."""
    liar = liar or cache.upstream
    liar.held = asyncio.Event()
    pieces: list[bytes] = []
    reading = asyncio.create_task(read(cache, into=pieces))
    await until_async(lambda: pieces)
    liar.release()
    with pytest.raises(DigestMismatch):
        await reading
    assert sum(map(len, pieces)) < len(BLOB)


@pytest.mark.parametrize("after", [0, 1, HALF, len(BLOB) - 70_000])
async def test_the_next_upstream_goes_on_where_the_first_broke_off(cache: Cache, after: int) -> None:
    cache.upstream.cut_after, cache.upstream.piece_bytes = after, 65_537
    assert await read(cache) == BLOB
    assert (cache.upstream.asked["fetch"], second(cache).asked["fetch"]) == (1, 1)
    assert second(cache).served == len(BLOB) - cache.upstream.served
    assert nothing_half(cache)


async def test_it_goes_back_and_forth_as_long_as_something_comes(cache: Cache) -> None:
    for upstream in cache.routes.upstreams:
        upstream.cut_after = 1024 * 1024
    assert await while_time_goes_by(cache, read(cache)) == BLOB
    assert sum(upstream.served for upstream in cache.routes.upstreams) == len(BLOB)


async def test_an_upstream_that_is_back_after_a_moment_goes_on(cache: Cache) -> None:
    del cache.routes.upstreams[1]
    cache.upstream.cut_after = HALF
    reading = asyncio.create_task(read(cache))
    await until_async(lambda: cache.pulls.health("corp").state != "ok")
    cache.upstream.cut_after = None
    assert await while_time_goes_by(cache, _result(reading)) == BLOB
    assert cache.upstream.served == len(BLOB)


@pytest.mark.parametrize(
    "failure",
    [
        UpstreamAway("corp", "gone", temporary=True),
        UpstreamTrouble("corp", "busy", temporary=True, status=503),
        UpstreamTrouble("corp", "wait", temporary=True, status=429, retry_after_seconds=3600),
    ],
)
async def test_what_never_goes_on_ends_in_what_broke_it_and_nothing_is_kept(
    cache: Cache, failure: UpstreamFailure
) -> None:
    del cache.routes.upstreams[1]
    cache.upstream.cut_after = HALF
    cache.upstream.fault = lambda _what, _of: failure if cache.upstream.served else None
    pieces: list[bytes] = []
    with pytest.raises(UpstreamBroken):
        await while_time_goes_by(cache, read(cache, into=pieces))
    assert b"".join(pieces) == BLOB[: sum(map(len, pieces))]
    assert sum(map(len, pieces)) <= HALF + 65_536
    assert nothing_half(cache)
    assert await cache.store.blob_size(DIGEST) is None


async def test_an_upstream_that_lied_is_asked_last_for_that_blob_for_a_while(cache: Cache) -> None:
    cache.upstream.corrupt = True
    await got_wrong_bytes(cache)
    assert await read(cache) == BLOB
    assert (cache.upstream.asked["fetch"], second(cache).asked["fetch"]) == (1, 1)


@pytest.mark.parametrize("keeps", [True, False])
async def test_who_got_nothing_of_wrong_bytes_yet_gets_the_next_upstreams(
    cache: Cache, monkeypatch: pytest.MonkeyPatch, keeps: bool
) -> None:
    if not keeps:
        monkeypatch.setattr(FilesystemStore, "start_upload", no_room)
    cache.upstream.corrupt = True
    cache.upstream.held, cache.upstream.hold_after = asyncio.Event(), HALF
    parts = [(0, 10), (100, 20_000), (len(BLOB) - 10, len(BLOB))]
    pieces: list[bytes] = []
    whole = asyncio.create_task(read(cache, into=pieces))
    reading = [asyncio.create_task(read(cache, *part)) for part in parts]
    await until_async(lambda: pieces)
    cache.upstream.release()
    for (start, end), part in zip(parts, await asyncio.gather(*reading), strict=True):
        assert part == BLOB[start:end]
    with pytest.raises(DigestMismatch):
        await whole
    second(cache).corrupt = True
    if keeps:
        await cache.store.delete_blob(DIGEST)
    with pytest.raises(UpstreamUntrue):
        await read(cache, 0, 10)
    assert await cache.store.blob_size(DIGEST) is None


async def test_a_liar_is_asked_all_the_same_where_no_other_has_it_and_first_again_later(cache: Cache) -> None:
    cache.upstream.corrupt = True
    await got_wrong_bytes(cache)
    cache.upstream.corrupt, second(cache).away = False, True
    assert await read(cache) == BLOB
    await cache.store.delete_blob(DIGEST)
    second(cache).away = False
    cache.clock.advance(601)
    assert await read(cache) == BLOB
    assert cache.upstream.asked["fetch"] == 3


async def test_all_that_bytes_came_from_are_asked_last_where_they_are_wrong(cache: Cache) -> None:
    third = FakeUpstream(name="third", push=False, store=cache.upstream.store)
    cache.routes.upstreams.append(third)
    cache.upstream.cut_after, second(cache).corrupt = HALF, True
    await got_wrong_bytes(cache, second(cache))
    assert await read(cache) == BLOB
    assert third.served == len(BLOB)


async def test_one_that_sends_too_much_is_gone_on_from_without_a_pause(cache: Cache) -> None:
    del cache.routes.upstreams[1]
    untrue = UpstreamUntrue("corp", "It sent more than that.")

    async def pieces(_content: bytes) -> AsyncIterator[bytes]:
        yield BLOB[:10]
        raise untrue

    repository = cache.upstream.repository(REPOSITORY)
    repository._pieces = pieces  # type: ignore[method-assign,assignment]
    cache.upstream.repository = lambda name: repository  # type: ignore[method-assign]
    with pytest.raises(UpstreamUntrue):
        await read(cache)


@pytest.mark.parametrize("what", ["blob_size", "fetch"])
async def test_a_silent_upstream_has_its_time_and_then_the_next_one_is_asked(
    tmp_path: Path, cache: Cache, what: str
) -> None:
    silent = FakeUpstream(name="silent", push=False, store=cache.upstream.store)
    silent.stops[what] = asyncio.Event()
    cache.routes.upstreams.insert(0, silent)
    settings = Settings(data_dir=tmp_path, check_timeout=timedelta(seconds=0.05))
    cache.pulls.reload(cache.routes, settings)
    async with asyncio.timeout(20):
        assert await read(cache) == BLOB
    assert (silent.asked[what], cache.upstream.asked["fetch"]) == (1, 1)
    assert cache.pulls.health("silent").state != "ok"


async def _result(task: asyncio.Task[bytes]) -> bytes:
    return await task
