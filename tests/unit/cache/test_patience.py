"""Who waits for an answer when an upstream turns out to give none doesn't wait to the end of all the time that it has."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import pytest

from tests.support.fake_upstreams import FakeUpstream
from tests.support.images import build_image
from tests.support.waiting import until_async
from tests.unit.cache.test_breaker import fails
from tests.unit.cache.test_pull_through import REPOSITORY, V1, Cache
from yarddesk.content.upstream import UpstreamAway, UpstreamFailure, UpstreamNotAsked, UpstreamTrouble
from yarddesk.oci.digest import Digest

IMAGE = build_image("a")
LAYER = Digest.parse(IMAGE.layers[0].digest)
_T = TypeVar("_T")
GONE = UpstreamAway("corp", "corp gave no answer.", temporary=True)


@pytest.fixture
async def cache(tmp_path: Path) -> AsyncIterator[Cache]:
    made = Cache(tmp_path)
    async with made.pulls:
        await made.put_upstream(IMAGE)
        yield made


@asynccontextmanager
async def unanswered(cache: Cache, what: str, *, pings: UpstreamFailure | None = None) -> AsyncIterator[None]:
    """Within: questions of this kind wait at the upstream, until somebody asks there for another tag and it's found away."""
    cache.upstream.stops[what] = never = asyncio.Event()
    before = cache.upstream.asked[what]
    yield
    await until_async(lambda: cache.upstream.asked[what] > before, what="it waits for an answer")
    cache.upstream.fault = lambda asked, _of: pings if asked == "ping" else GONE
    await fails(cache, "another")
    assert not never.is_set()


async def probed(cache: Cache) -> None:
    """The first probe has its answer."""
    await until_async(lambda: cache.clock.next_alarm is not None)
    cache.clock.advance(1)
    await until_async(lambda: cache.upstream.pinged == 1)


async def soon(task: asyncio.Task[_T]) -> _T:
    async with asyncio.timeout(30):
        return await task


async def opened(cache: Cache) -> bytes:
    async with cache.pulls.open_blob(REPOSITORY, LAYER) as content:
        return b"".join([piece async for piece in content.read(0, content.size)])


@pytest.mark.parametrize("what", ["blob_size", "fetch"])
async def test_a_blob_is_not_waited_for_once_a_probe_was_in_vain(cache: Cache, what: str) -> None:
    async with unanswered(cache, what, pings=GONE):
        waits = asyncio.create_task(opened(cache))
    await probed(cache)
    with pytest.raises(UpstreamNotAsked, match=r"registry\.corp is away"):
        await soon(waits)


async def test_a_tag_that_is_here_is_served_stale(cache: Cache) -> None:
    manifest = await cache.pulled()
    cache.clock.advance(301)
    async with unanswered(cache, "resolve", pings=GONE):
        waits = asyncio.create_task(cache.pulls.fetch_manifest(REPOSITORY, V1))
    await probed(cache)
    found = await soon(waits)
    assert found is not None
    assert (found.manifest, found.stale) == (manifest, True)


async def test_the_next_upstream_is_asked(cache: Cache) -> None:
    second = FakeUpstream("second", "registry.second", push=False)
    manifest = await cache.put_upstream(IMAGE, upstream=second)
    async with unanswered(cache, "fetch_manifest", pings=GONE):
        waits = asyncio.create_task(cache.pulls.fetch_manifest(REPOSITORY, V1))
        cache.routes.upstreams.append(second)
    await probed(cache)
    found = await soon(waits)
    assert found is not None
    assert (found.manifest, found.stale) == (manifest, False)


@pytest.mark.parametrize("pings", [None, UpstreamTrouble("corp", "corp is busy.", temporary=True, status=500)])
async def test_one_that_is_there_after_all_is_waited_for(cache: Cache, pings: UpstreamFailure | None) -> None:
    async with unanswered(cache, "fetch", pings=pings):
        waits = asyncio.create_task(opened(cache))
    await probed(cache)
    if pings is None:
        await until_async(lambda: cache.pulls.health("corp").state == "ok")
    await asyncio.sleep(0)
    assert not waits.done()
    cache.upstream.stops["fetch"].set()
    assert await soon(waits) == IMAGE.layers[0].content


async def test_a_probe_without_an_answer_says_enough_after_a_moment(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("yarddesk.cache.breaker._LAST_WAIT_SECONDS", 0.05)
    async with unanswered(cache, "fetch"):
        waits = asyncio.create_task(opened(cache))
    with pytest.raises(UpstreamNotAsked):
        await soon(waits)
    assert cache.upstream.pinged == 0


@pytest.mark.parametrize("status", [429, 503])
async def test_errors_are_answers_and_the_others_will_have_theirs(
    cache: Cache, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setattr("yarddesk.cache.breaker._LAST_WAIT_SECONDS", 0.0)
    cache.upstream.stops["fetch"] = asyncio.Event()
    waits = asyncio.create_task(opened(cache))
    await until_async(lambda: cache.upstream.asked["fetch"] == 1)
    busy = UpstreamTrouble("corp", "corp is busy.", temporary=True, status=status, retry_after_seconds=60)
    cache.upstream.fault = lambda *_: busy
    await fails(cache, "another")
    assert cache.pulls.health("corp").state != "ok"
    cache.upstream.stops["fetch"].set()
    assert await soon(waits) == IMAGE.layers[0].content
