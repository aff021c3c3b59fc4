"""Lists of tags and of referrers: the union of ours and the upstream's, and what is known while that is away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from tests.support.artifacts import cosign_referrer
from tests.support.fake_upstreams import FakeUpstream
from tests.support.images import build_image
from tests.support.waiting import until_async
from tests.unit.cache.test_pull_through import REPOSITORY, Cache, put
from yarddesk.content.upstream import Quota, UpstreamNotAsked, UpstreamTimeout
from yarddesk.oci.digest import Digest
from yarddesk.oci.manifest import parse_manifest

IMAGE = build_image("signed")
SUBJECT = Digest.parse(IMAGE.manifest.digest)


@pytest.fixture
async def cache(tmp_path: Path) -> AsyncIterator[Cache]:
    made = Cache(tmp_path)
    async with made.pulls:
        yield made


async def signed(cache: Cache) -> Digest:
    """A signature of the image that the upstream lists."""
    await cache.put_upstream(IMAGE)
    signature = cosign_referrer(IMAGE.manifest)
    content = signature.manifest.content
    manifest = parse_manifest(content, signature.manifest.media_type)
    await cache.upstream.store.put_manifest(REPOSITORY, manifest)
    return manifest.digest


async def listed(cache: Cache, artifact_type: str = "") -> tuple[list[Digest], bool]:
    found = await cache.pulls.referrers(REPOSITORY, SUBJECT, artifact_type)
    return [each.digest for each in found.descriptors], found.stale


async def test_referrers_that_were_listed_stay_known_while_the_upstream_is_away(cache: Cache) -> None:
    cache.upstream.quota = Quota(100, 0, 21600)  # so that nothing is fetched
    signature = await signed(cache)
    assert await listed(cache) == ([signature], False)
    cache.upstream.away = True
    assert await listed(cache) == ([signature], True)
    assert await listed(cache, "something/else") == ([], True)
    assert cache.store.resolve_cached(REPOSITORY, signature) is None


async def test_a_referrer_that_went_upstream_is_no_longer_known(cache: Cache) -> None:
    cache.upstream.quota = Quota(100, 0, 21600)
    signature = await signed(cache)
    await listed(cache)
    await cache.upstream.store.delete_manifest(REPOSITORY, signature)
    assert await listed(cache) == ([], False)
    cache.upstream.away = True
    assert await listed(cache) == ([], True)


async def test_what_is_listed_is_here_after_a_restart_too(cache: Cache) -> None:
    signature = await signed(cache)
    await listed(cache)
    await until_async(lambda: cache.store.resolve_cached(REPOSITORY, signature))
    fetched = cache.upstream.asked["fetch_manifest"]
    assert fetched == 1
    await listed(cache)
    cache.upstream.away = True
    async with cache.make() as again:
        cache.pulls = again
        assert await listed(cache) == ([signature], True)
    assert cache.upstream.asked["fetch_manifest"] == fetched


async def test_a_signature_that_comes_later_is_seen_at_once(cache: Cache) -> None:
    await cache.put_upstream(IMAGE)
    assert await listed(cache) == ([], False)
    signature = await signed(cache)
    assert await listed(cache) == ([signature], False)


async def test_who_lists_no_referrers_hands_over_to_the_next(cache: Cache) -> None:
    """As the specification wants it of a registry, also for a manifest that it doesn't have."""
    signature = await signed(cache)
    having = cache.upstream
    having.name = "second"
    cache.routes.upstreams.insert(0, FakeUpstream(name="first", push=False))
    assert await listed(cache) == ([signature], False)
    having.away = True
    assert await listed(cache) == ([signature], True)


async def test_a_silent_upstream_costs_lists_one_wait(cache: Cache) -> None:
    await put(cache.store, build_image("ours"), "ours")
    cache.upstream.stops["tags"] = asyncio.Event()
    cache.pulls.reload(cache.routes, replace(cache.settings, check_timeout=timedelta(seconds=0.05)))
    for _ in range(5):
        page = await cache.pulls.tags(REPOSITORY)
        assert page is not None
        assert (list(page.tags), page.stale) == (["ours"], True)
    assert cache.upstream.asked["tags"] == 1
    assert cache.pulls.health("corp").state == "away"
    await cache.store.delete_tag(REPOSITORY, (await cache.store.tags(REPOSITORY))[0])
    with pytest.raises((UpstreamNotAsked, UpstreamTimeout)):
        await cache.pulls.tags(type(REPOSITORY).parse("team/unknown"))
