"""Which tags follow an upstream: also after a crash between a tag and its line, and never one that was pushed here."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.bounded_yard import PUSHED, World, bounded_yard, small_image
from tests.support.fake_upstreams import FakeUpstream
from tests.support.images import build_image
from tests.unit.cache.test_pull_through import REPOSITORY, V1, Cache, put
from yarddesk.cache.origins import ORIGINS_FILE
from yarddesk.cache.pull_through import CachedPulls
from yarddesk.events import ImageSynced
from yarddesk.oci.digest import Digest
from yarddesk.oci.name import RepositoryName, Tag


class Died(BaseException):
    """The process, here."""


@pytest.fixture
async def cache(tmp_path: Path) -> AsyncIterator[Cache]:
    made = Cache(tmp_path)
    async with made.pulls:
        yield made


@asynccontextmanager
async def restarted(cache: Cache) -> AsyncIterator[CachedPulls]:
    """Over the same files, and the same store as it was left."""
    async with cache.make() as pulls:
        cache.pulls = pulls
        yield pulls


def lines(cache: Cache) -> list[dict[str, str]]:
    return [json.loads(line) for line in (cache.folder / ORIGINS_FILE).read_text().splitlines()]


def dies_before_the_tag_moves(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> list[list[dict[str, str]]]:
    """What was in the file just then."""
    found: list[list[dict[str, str]]] = []

    async def put_tag(_repository: RepositoryName, _tag: Tag, _digest: Digest) -> None:
        found.append(lines(cache))
        raise Died

    monkeypatch.setattr(cache.store, "put_tag", put_tag)
    return found


async def test_the_line_is_in_the_file_before_the_tag_moves(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    first = await cache.put_upstream(build_image("a"))
    await cache.pulled()
    second = await cache.put_upstream(build_image("b"))
    found = dies_before_the_tag_moves(cache, monkeypatch)
    cache.clock.advance(301)
    with pytest.raises(Died):
        await cache.pulled()
    [written] = found
    assert [(line["digest"], line["before"]) for line in written] == [
        (first.digest, None),
        (second.digest, first.digest),
    ]


@pytest.mark.parametrize("was_here", [False, True])
async def test_a_crash_between_line_and_tag_leaves_a_tag_that_still_follows_its_upstream(
    cache: Cache, was_here: bool
) -> None:
    if was_here:
        await cache.put_upstream(build_image("a"))
        await cache.pulled()
        cache.clock.advance(301)
    newer = await cache.put_upstream(build_image("b"))
    with pytest.MonkeyPatch.context() as patch:
        dies_before_the_tag_moves(cache, patch)
        with pytest.raises(Died):
            await cache.pulled()
    async with restarted(cache) as pulls:
        assert was_here is False or not pulls.is_fresh(REPOSITORY, V1)
        assert await cache.pulled() == newer
        assert (await cache.store.resolve(REPOSITORY, V1)).digest == newer.digest
        newest = await cache.put_upstream(build_image("c"))
        cache.clock.advance(301)
        assert await cache.pulled() == newest


async def test_what_was_pushed_after_such_a_crash_is_ours(cache: Cache) -> None:
    await cache.put_upstream(build_image("a"))
    await cache.pulled()
    await cache.put_upstream(build_image("b"))
    cache.clock.advance(301)
    with pytest.MonkeyPatch.context() as patch:
        dies_before_the_tag_moves(cache, patch)
        with pytest.raises(Died):
            await cache.pulled()
    ours = await put(cache.store, build_image("ours"), "v1")  # and the event, and its line, were lost in another crash
    async with restarted(cache):
        cache.clock.advance(10_000)
        assert await cache.pulled() == ours


async def test_where_the_line_can_not_be_written_the_manifest_is_served_and_no_tag_moves(cache: Cache) -> None:
    first = await cache.put_upstream(build_image("a"))
    (cache.folder / ORIGINS_FILE).mkdir()
    assert await cache.pulled() == first
    assert cache.store.resolve_cached(REPOSITORY, V1) is None
    (cache.folder / ORIGINS_FILE).rmdir()
    assert await cache.pulled() == first
    assert cache.store.resolve_cached(REPOSITORY, V1) is not None


async def test_a_file_without_what_was_before_can_be_read(cache: Cache) -> None:
    await cache.put_upstream(build_image("a"))
    await cache.pulled()
    [line] = lines(cache)
    del line["before"]
    (cache.folder / ORIGINS_FILE).write_text(json.dumps(line) + "\n")
    async with restarted(cache) as pulls:
        assert not pulls.is_fresh(REPOSITORY, V1)


async def test_what_had_arrived_follows_its_upstream_though_its_line_was_lost(cache: Cache) -> None:
    cache.upstream.push = True
    ours = await put(cache.store, build_image("ours"), "v1")
    other = await put(cache.store, build_image("pushed since"), "v2")
    queued = await put(cache.store, build_image("queued again"), "v3")
    cache.queued.add((REPOSITORY, "v3"))
    async with restarted(cache) as pulls:
        assert pulls.is_fresh(REPOSITORY, V1)
        await pulls.heal(
            ImageSynced(repository=REPOSITORY, reference=Tag.parse(tag), digest=digest, upstream="corp")
            for tag, digest in (("v1", ours.digest), ("v2", ours.digest), ("v3", queued.digest), ("gone", ours.digest))
        )
        assert not pulls.is_fresh(REPOSITORY, V1), "it's asked for again in this run"
        newer = await cache.put_upstream(build_image("a colleague's"))
        assert await cache.pulled() == newer
        await cache.put_upstream(build_image("a colleague's"), "v2")
        assert await cache.pulled(Tag.parse("v2")) == other
        assert await cache.pulled(Tag.parse("v3")) == queued


@pytest.mark.parametrize("name", ["corp", "new"])
async def test_what_was_pushed_is_served_from_here_where_another_registry_took_the_place_of_its_upstream(
    world: World, name: str
) -> None:
    manifest, blobs = small_image("ours")
    async with bounded_yard(world.folder, world.queue, world.routes) as yard:
        await yard.push(PUSHED, manifest, blobs, V1)
        await yard.sync(PUSHED, V1, world.corp)
    async with bounded_yard(world.folder, world.queue, world.routes) as yard:
        assert not yard.pulls.is_fresh(PUSHED, V1)
    new = FakeUpstream(name=name, registry="registry.new", push=True)
    world.routes.upstreams[:] = [world.hub, new]
    world.routes.only[name] = "corp/"
    async with bounded_yard(world.folder, world.queue, world.routes) as yard:
        assert await yard.manifest(PUSHED, V1) == manifest
        fetched = await yard.pulls.fetch_manifest(PUSHED, V1)
        assert fetched is not None
        assert fetched.manifest == manifest
        assert not new.asked
