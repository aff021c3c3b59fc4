"""One manifest that is asked for by several names at once is fetched once, where they are known to mean the same."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from tests.support.images import build_image
from tests.support.waiting import until_async
from tests.unit.cache.test_pull_through import REPOSITORY, V1, Cache
from yarddesk.content.upstream import UpstreamTrouble
from yarddesk.oci.manifest import Manifest
from yarddesk.oci.name import Reference, Tag

V2 = Tag.parse("v2")
BY_DIGEST = "its digest"


@pytest.fixture
async def cache(tmp_path: Path) -> AsyncIterator[Cache]:
    """With an older image of two tags, which are to be asked for again."""
    made = Cache(tmp_path)
    async with made.pulls:
        for tag in (V1, V2):
            await made.put_upstream(build_image("older"), tag)
            await made.pulled(tag)
        made.clock.advance(301)
        made.upstream.asked.clear()
        yield made


async def moved(cache: Cache) -> Manifest:
    """To what both tags are now upstream."""
    await cache.put_upstream(build_image("newer"), V1)
    return await cache.put_upstream(build_image("newer"), V2)


async def ask(cache: Cache, names: Sequence[Reference]) -> list[asyncio.Task[Manifest | None]]:
    """The first is being fetched, and then the others are asked for."""
    cache.upstream.stops["fetch_manifest"] = asyncio.Event()
    tasks = []
    for number, name in enumerate(names, start=1):
        tasks.append(asyncio.create_task(cache.pulled(name)))
        tags = len({each for each in names[:number] if isinstance(each, Tag)})
        await until_async(lambda: cache.upstream.asked["resolve"] == tags)  # noqa: B023
        await until_async(lambda: cache.upstream.asked["fetch_manifest"] > 0)
    for _ in range(50):  # what could be asked for beside is asked for by now
        await asyncio.sleep(0)
    return tasks


@pytest.mark.parametrize(
    "names", [(V1, BY_DIGEST), (BY_DIGEST, V1), (V1, V2), (V2, BY_DIGEST, V1, BY_DIGEST, V2)], ids=" ".join
)
async def test_it_is_fetched_once_and_all_its_tags_move(cache: Cache, names: Sequence[str]) -> None:
    newer = await moved(cache)
    tasks = await ask(cache, [newer.digest if name == BY_DIGEST else Tag.parse(name) for name in names])
    cache.upstream.stops["fetch_manifest"].set()
    assert await asyncio.gather(*tasks) == [newer] * len(names)
    assert cache.upstream.asked["fetch_manifest"] == 1
    for tag in {Tag.parse(name) for name in names if name != BY_DIGEST}:
        assert (await cache.store.resolve(REPOSITORY, tag)).digest == newer.digest
        assert cache.pulls.is_fresh(REPOSITORY, tag)
        assert ("corp", tag, newer.digest) in cache.seen


async def test_who_wants_what_the_tag_was_a_moment_before_gets_that(cache: Cache) -> None:
    newer = await moved(cache)
    tasks = await ask(cache, [V1, newer.digest, V2])
    newest = await cache.put_upstream(build_image("newest"), V1)
    cache.upstream.stops["fetch_manifest"].set()
    assert await asyncio.gather(*tasks) == [newest, newer, newer]
    assert (await cache.store.resolve(REPOSITORY, V1)).digest == newest.digest
    assert (await cache.store.resolve(REPOSITORY, V2)).digest == newer.digest


async def test_a_tag_that_is_gone_a_moment_later_says_nothing_of_the_digest(cache: Cache) -> None:
    newer = await moved(cache)
    tasks = await ask(cache, [V1, newer.digest])
    await cache.upstream.store.delete_tag(REPOSITORY, V1)
    cache.upstream.stops["fetch_manifest"].set()
    assert await asyncio.gather(*tasks) == [None, newer]


async def test_all_hear_why_it_does_not_come(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    newer = await moved(cache)
    older = await cache.store.get_manifest(REPOSITORY, V1)
    trouble = UpstreamTrouble("corp", "corp is in trouble.", temporary=True, status=500)
    tasks = await ask(cache, [V1, newer.digest, V2])

    async def fails(*_: object) -> None:
        raise trouble

    monkeypatch.setattr(cache.upstream.store, "get_manifest", fails)
    cache.upstream.stops["fetch_manifest"].set()
    assert await asyncio.gather(*tasks, return_exceptions=True) == [older, trouble, older]
    assert cache.upstream.asked["fetch_manifest"] == 1
