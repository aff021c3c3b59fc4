"""An upstream that gives no answer, or only errors, costs one wait: then it's probed in the background, and no pull is the probe."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from tests.support.fake_upstreams import FakeUpstream
from tests.support.images import build_image
from tests.support.waiting import until_async
from tests.unit.cache.test_pull_through import REPOSITORY, V1, Cache
from yarddesk.content.credentials import Secret
from yarddesk.content.upstream import (
    UpstreamAway,
    UpstreamBroken,
    UpstreamFailure,
    UpstreamNotAsked,
    UpstreamStalled,
    UpstreamTimeout,
    UpstreamTrouble,
    UpstreamUntrue,
    UpstreamUntrusted,
)
from yarddesk.events import ImageSynced, PullHealthChanged
from yarddesk.oci.manifest import Manifest
from yarddesk.oci.name import Tag
from yarddesk.settings.model import AuthSettings, AuthType, CacheSettings, UpstreamSettings

BUSY = UpstreamTrouble("corp", "corp asks to wait.", "too many", temporary=True, status=429, retry_after_seconds=120)
UNAVAILABLE = UpstreamTrouble("corp", "corp is in trouble.", temporary=True, status=503)
ODD = UpstreamTrouble("corp", "corp is in trouble.", temporary=True, status=500)


@pytest.fixture
async def cache(tmp_path: Path) -> AsyncIterator[Cache]:
    made = Cache(tmp_path)
    async with made.pulls:
        yield made


async def fails(cache: Cache, tag: str = "v1") -> UpstreamFailure:
    with pytest.raises(UpstreamFailure) as caught:
        await cache.pulls.fetch_manifest(REPOSITORY, Tag.parse(tag))
    return caught.value


def breaks_with(cache: Cache, error: UpstreamFailure | None, *, pings: UpstreamFailure | None = None) -> None:
    cache.upstream.fault = lambda what, _of: pings if what == "ping" else error


async def stale(cache: Cache) -> Manifest:
    found = await cache.pulls.fetch_manifest(REPOSITORY, V1)
    assert found is not None
    assert found.stale
    return found.manifest


async def pinged(cache: Cache, times: int) -> None:
    await until_async(lambda: cache.upstream.pinged == times and cache.clock.next_alarm is not None)


@pytest.mark.parametrize("kind", [UpstreamAway, UpstreamTimeout, UpstreamBroken, UpstreamStalled])
async def test_one_wait_and_then_none_until_a_probe_finds_it_back(cache: Cache, kind: type[UpstreamFailure]) -> None:
    manifest = await cache.put_upstream(build_image("a"))
    gone = kind("corp", "no answer", temporary=True)
    breaks_with(cache, gone, pings=gone)
    assert isinstance(await fails(cache), kind)
    asked = cache.upstream.asked.total()
    for _ in range(100):
        refused = await fails(cache)
        assert isinstance(refused, UpstreamNotAsked)
        assert refused.retry_after_seconds == 1.0
    for times, rest in enumerate([1, 2, 4, 8, 16, 30, 30], start=1):
        cache.clock.advance(rest)
        await pinged(cache, times)
        await fails(cache)
    assert cache.upstream.asked.total() == asked, "no pull was the probe"
    breaks_with(cache, None)
    cache.clock.advance(30)
    await until_async(lambda: cache.pulls.health("corp").state == "ok")
    assert await cache.pulled() == manifest


async def test_what_is_here_is_served_stale_meanwhile_without_asking(cache: Cache) -> None:
    manifest = await cache.put_upstream(build_image("a"))
    await cache.pulled()
    cache.clock.advance(301)
    for failure in (UpstreamAway("corp", "gone"), UNAVAILABLE, BUSY):
        breaks_with(cache, failure, pings=failure)
        assert await stale(cache) == manifest
        asked = cache.upstream.asked.total()
        for _ in range(10):
            assert await stale(cache) == manifest
            resolved = await cache.pulls.resolve_manifest(REPOSITORY, V1, quick=False)
            assert resolved is not None
            assert resolved.stale
        assert cache.upstream.asked.total() == asked
        cache.pulls.look_again()


async def test_other_settings_leave_it_alone_as_long_as_it_is_the_same_registry(cache: Cache) -> None:
    manifest = await cache.put_upstream(build_image("a"))
    corp = UpstreamSettings(registry="registry.corp", name="corp", prefix="team")

    def reload(upstream: UpstreamSettings) -> None:
        cache.pulls.reload(cache.routes, replace(cache.settings, upstreams=(upstream,)))

    reload(corp)
    breaks_with(cache, BUSY)
    await fails(cache)
    asked = cache.upstream.asked.total()
    reload(replace(corp, prefix="", path="images", push=True))
    assert (await fails(cache)).status == 429
    assert cache.upstream.asked.total() == asked
    breaks_with(cache, None)
    other = AuthSettings(AuthType.BASIC, "me", Secret("mine"))
    reload(replace(corp, auth=other))
    assert await cache.pulled() == manifest
    breaks_with(cache, BUSY)
    await fails(cache, "v2")
    reload(replace(corp, auth=other))
    assert (await fails(cache, "v2")).status == 429
    reload(replace(corp, name="another", auth=other))
    reload(replace(corp, auth=other))
    assert await fails(cache, "v2") is BUSY, "a name that was gone says nothing of who has it now"


async def test_other_settings_do_not_end_the_probes(cache: Cache) -> None:
    manifest = await cache.put_upstream(build_image("a"))
    settings = replace(cache.settings, upstreams=(UpstreamSettings(registry="registry.corp", name="corp"),))
    cache.pulls.reload(cache.routes, settings)
    cache.upstream.away = True
    await fails(cache)
    cache.pulls.reload(cache.routes, replace(settings, check_timeout=timedelta(seconds=1)))
    assert isinstance(await fails(cache), UpstreamNotAsked)
    cache.upstream.away = False
    cache.clock.advance(1)
    await until_async(lambda: cache.pulls.health("corp").state == "ok")
    assert await cache.pulled() == manifest


async def test_offline_nobody_is_probed(cache: Cache) -> None:
    settings = replace(cache.settings, upstreams=(UpstreamSettings(registry="registry.corp", name="corp"),))
    cache.pulls.reload(cache.routes, settings)
    cache.upstream.away = True
    await fails(cache)
    cache.pulls.reload(cache.routes, replace(settings, cache=CacheSettings(offline=True)))
    await until_async(lambda: cache.clock.next_alarm is None)
    await fails(cache)
    cache.clock.advance(60)
    assert (cache.clock.next_alarm, cache.upstream.pinged) == (None, 0)


async def test_a_429_has_its_way_for_as_long_as_it_asks_and_is_passed_on_with_what_is_left(cache: Cache) -> None:
    manifest = await cache.put_upstream(build_image("a"))
    breaks_with(cache, BUSY)
    assert (await fails(cache)).retry_after_seconds == 120
    asked = cache.upstream.asked.total()
    cache.clock.advance(70)
    again = await fails(cache, "v2")
    assert (type(again), again.status, again.retry_after_seconds) == (UpstreamTrouble, 429, 50)
    assert (cache.upstream.asked.total(), cache.upstream.pinged) == (asked, 0)
    breaks_with(cache, None)
    cache.clock.advance(50)
    await until_async(lambda: cache.pulls.health("corp").state == "ok")
    assert await cache.pulled() == manifest


async def test_a_429_that_does_not_say_how_long_has_half_a_minute(cache: Cache) -> None:
    breaks_with(cache, UpstreamTrouble("corp", "corp asks to wait.", temporary=True, status=429))
    await fails(cache)
    assert (await fails(cache)).retry_after_seconds == 30


async def test_an_answer_that_was_on_its_way_does_not_end_what_a_429_asked_for(cache: Cache) -> None:
    await cache.put_upstream(build_image("a"))
    cache.upstream.stops["fetch_manifest"] = comes = asyncio.Event()
    pulling = asyncio.create_task(cache.pulled())
    await until_async(lambda: cache.upstream.asked["fetch_manifest"])
    breaks_with(cache, BUSY)
    await fails(cache, "v2")
    comes.set()
    await pulling
    assert (await fails(cache, "v2")).status == 429


@pytest.mark.parametrize(("failure", "first"), [(UNAVAILABLE, 1), (ODD, 3), (UpstreamUntrue("corp", "a page"), 3)])
async def test_5xx_and_pages_open_it_at_once_or_at_the_third(
    cache: Cache, failure: UpstreamFailure, first: int
) -> None:
    breaks_with(cache, failure, pings=failure)
    for _ in range(first):
        assert await fails(cache) is failure
    assert isinstance(await fails(cache), UpstreamNotAsked)
    assert cache.upstream.asked["fetch_manifest"] == first


@pytest.mark.parametrize("failure", [ODD, UpstreamUntrue("corp", "a page")])
async def test_one_that_can_not_make_lists_is_asked_for_images(cache: Cache, failure: UpstreamFailure) -> None:
    manifest = await cache.put_upstream(build_image("a"))
    cache.upstream.fault = lambda what, _of: failure if what in ("referrers", "tags") else None
    for _ in range(5):
        assert (await cache.pulls.referrers(REPOSITORY, manifest.digest)).stale
        with pytest.raises(type(failure)):
            await cache.pulls.tags(REPOSITORY)
    assert await cache.pulled() == manifest
    cache.upstream.fault = lambda what, _of: UNAVAILABLE if what == "referrers" else None
    assert (await cache.pulls.referrers(REPOSITORY, manifest.digest)).stale
    assert isinstance(await fails(cache, "v2"), UpstreamNotAsked)


async def test_while_it_is_open_it_says_once_what_is_wrong(cache: Cache) -> None:
    words = "It answered with status 503."
    down = UpstreamTrouble("corp", "registry.corp is in trouble.", words, temporary=True, status=503)
    breaks_with(cache, down, pings=down)
    await fails(cache)
    assert str(await fails(cache)) == f"registry.corp is in trouble. {words} Try again soon."


async def test_answers_between_them_or_time_make_errors_single_ones(cache: Cache) -> None:
    manifest = await cache.put_upstream(build_image("a"))
    for _ in range(4):
        breaks_with(cache, ODD)
        for _ in range(2):
            assert await fails(cache, "v2") is ODD
        breaks_with(cache, None)
        assert await cache.pulls.resolve_manifest(REPOSITORY, manifest.digest, quick=False)
    breaks_with(cache, ODD)
    for _ in range(5):
        assert await fails(cache, "v2") is ODD
        cache.clock.advance(16)


async def test_one_that_answers_its_probe_and_fails_again_rests_at_once(cache: Cache) -> None:
    breaks_with(cache, ODD)
    for _ in range(3):
        await fails(cache)
    cache.clock.advance(1)
    await until_async(lambda: cache.pulls.health("corp").state == "ok")
    assert await fails(cache) is ODD
    assert isinstance(await fails(cache), UpstreamNotAsked)


async def test_one_that_answers_probes_with_errors_alone_gets_a_request_after_a_minute(cache: Cache) -> None:
    manifest = await cache.put_upstream(build_image("a"))
    breaks_with(cache, UNAVAILABLE, pings=UNAVAILABLE)
    await fails(cache)
    breaks_with(cache, None, pings=UNAVAILABLE)
    for times in range(1, 4):
        cache.clock.advance(16)
        await pinged(cache, times)
    assert isinstance(await fails(cache), UpstreamNotAsked)
    cache.clock.advance(16)
    await until_async(lambda: cache.pulls.health("corp").state == "ok")
    assert await cache.pulled() == manifest


async def test_a_probe_that_ends_in_vain_after_a_request_was_answered_says_nothing_any_more(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = await cache.put_upstream(build_image("a"))
    answer = cache.upstream.stops["fetch_manifest"] = asyncio.Event()
    under_way = asyncio.create_task(cache.pulled())
    await until_async(lambda: cache.upstream.asked["fetch_manifest"])
    begun, end = asyncio.Event(), asyncio.Event()

    async def ping() -> None:
        begun.set()
        await end.wait()
        raise UpstreamAway("corp", "gone", temporary=True)

    monkeypatch.setattr(cache.upstream, "ping", ping)
    breaks_with(cache, UpstreamAway("corp", "gone", temporary=True))
    await fails(cache, "v2")
    breaks_with(cache, None)
    cache.clock.advance(1)
    await begun.wait()
    answer.set()
    assert await under_way == manifest
    assert cache.pulls.health("corp").state == "ok"
    end.set()
    for _ in range(20):
        await asyncio.sleep(0)
    assert cache.pulls.health("corp").state == "ok"


async def test_one_whose_certificate_is_not_trusted_is_there(cache: Cache) -> None:
    breaks_with(cache, UpstreamAway("corp", "gone"))
    await fails(cache)
    breaks_with(cache, UpstreamUntrusted("corp", "who?"), pings=UpstreamUntrusted("corp", "who?"))
    cache.clock.advance(1)
    await until_async(lambda: cache.pulls.health("corp").state == "ok")
    assert isinstance(await fails(cache), UpstreamUntrusted)


async def test_when_nobody_asks_nothing_is_probed_and_the_next_request_finds_it_back(cache: Cache) -> None:
    manifest = await cache.put_upstream(build_image("a"))
    cache.upstream.away = True
    await fails(cache)
    for times in range(1, 21):
        cache.clock.advance(30)
        await pinged(cache, times)
    cache.clock.advance(30)
    await until_async(lambda: cache.clock.next_alarm is None)
    pings = cache.upstream.pinged
    cache.clock.advance(3600)
    cache.upstream.away = False
    assert await cache.pulled() == manifest
    assert cache.upstream.pinged == pings + 1


async def test_the_next_upstream_is_asked_while_the_first_one_rests(cache: Cache) -> None:
    second = FakeUpstream(name="second", push=False)
    cache.routes.upstreams.append(second)
    manifest = await cache.put_upstream(build_image("a"), upstream=second)
    cache.upstream.away = True
    assert await cache.pulled() == manifest
    asked = cache.upstream.asked.total()
    other = await cache.put_upstream(build_image("b"), "v2", upstream=second)
    assert await cache.pulled(Tag.parse("v2")) == other
    assert cache.upstream.asked.total() == asked


async def test_a_first_answer_is_told_once_and_is_known_until_all_is_forgotten(cache: Cache) -> None:
    await cache.put_upstream(build_image("a"))
    assert not cache.pulls.health("corp").answered
    for _ in range(2):
        assert await cache.pulls.fetch_manifest(REPOSITORY, V1) is not None
        cache.clock.advance(3600)
    assert cache.pulls.health("corp").answered
    told = [event for event in cache.heard if isinstance(event, PullHealthChanged)]
    assert [(event.upstream, event.state) for event in told] == [("corp", "ok")]
    cache.pulls.look_again()
    assert not cache.pulls.health("corp").answered


async def test_what_a_sync_brought_to_an_upstream_tells_that_it_is_back(cache: Cache) -> None:
    image = await cache.put_upstream(build_image("a"))
    cache.upstream.away = True
    with pytest.raises(UpstreamAway):
        await cache.pulled()
    assert cache.pulls.health("corp").state == "away"
    cache.upstream.away = False
    cache.events.publish(ImageSynced(repository=REPOSITORY, reference=V1, digest=image.digest, upstream="corp"))
    assert cache.pulls.health("corp").state == "ok"
    assert await cache.pulled() == image
