"""What is not here comes through the upstreams: verified, kept, and within the tags' lifetimes served from here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support.clocks import HandClock
from tests.support.fake_upstreams import FakeRepository, FakeRoutes, FakeUpstream
from tests.support.images import Image, build_image
from tests.support.waiting import until_async
from yarddesk.cache import asking
from yarddesk.cache.blobs import Naming
from yarddesk.cache.lifetimes import Lifetimes
from yarddesk.cache.pull_through import CachedPulls
from yarddesk.content.target import NotFound
from yarddesk.content.upstream import (
    UpstreamAway,
    UpstreamBroken,
    UpstreamDenied,
    UpstreamNotAsked,
    UpstreamRefused,
    UpstreamTrouble,
    UpstreamUntrusted,
)
from yarddesk.events import EventBus, ImageSynced, ManifestStored
from yarddesk.oci.descriptor import Descriptor
from yarddesk.oci.digest import Digest
from yarddesk.oci.manifest import Manifest, parse_manifest
from yarddesk.oci.name import Reference, RepositoryName, Tag
from yarddesk.progress.traffic import Traffic
from yarddesk.settings.model import CacheSettings, Settings, UpstreamSettings
from yarddesk.storage.memory import MemoryStore

REPOSITORY = RepositoryName.parse("team/app")
V1 = Tag.parse("v1")


class Cache:
    """A cache over a store and an upstream in memory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.upstream = FakeUpstream(push=False)
        self.routes = FakeRoutes([self.upstream])
        self.store = MemoryStore()
        self.clock = HandClock()
        self.events = EventBus()
        self.heard: list[Any] = []
        self.events.subscribe(self.heard.append)
        self.queued: set[tuple[str, str]] = set()
        self.seen: list[tuple[str, str, Digest]] = []
        self.used: list[Digest] = []
        self.naming: Naming = lambda _repository, _blob: None
        self.settings = Settings(data_dir=folder)
        self.traffic = Traffic()
        self.pulls = self.make()

    def make(self) -> CachedPulls:
        return CachedPulls(
            store=self.store,
            routes=self.routes,
            settings=self.settings,
            events=self.events,
            is_queued=lambda repository, reference: (repository, reference) in self.queued,
            tag_seen=lambda upstream, _, tag, digest: self.seen.append((upstream.name, tag, digest)),
            used=lambda _, digest: self.used.append(digest),
            clock=self.clock,
            naming=lambda repository, blob: self.naming(repository, blob),
            traffic=self.traffic,
        )

    async def put_upstream(self, image: Image, tag: str = "v1", upstream: FakeUpstream | None = None) -> Manifest:
        return await put(self.upstream.store if upstream is None else upstream.store, image, tag)

    async def put_here(self, image: Image, tag: str = "v1") -> Manifest:
        manifest = await put(self.store, image, tag)
        self.events.publish(
            ManifestStored(repository=REPOSITORY, digest=manifest.digest, tags=(Tag.parse(tag),), origin="push")
        )
        return manifest

    async def pulled(self, reference: Any = V1) -> Manifest | None:
        """As the registry does it: the store first, where the tag is fresh."""
        if isinstance(reference, Digest) or self.pulls.is_fresh(REPOSITORY, reference):
            found = self.store.resolve_cached(REPOSITORY, reference)
            if found is not None:
                return await self.store.get_manifest(REPOSITORY, found.digest)
        fetched = await self.pulls.fetch_manifest(REPOSITORY, reference)
        return fetched.manifest if fetched else None


async def put(store: MemoryStore, image: Image, tag: str) -> Manifest:
    for blob in image.blobs:
        upload = await store.start_upload(REPOSITORY)
        await upload.write(blob.content)
        await upload.commit(Digest.parse(blob.digest))
    manifest = parse_manifest(image.manifest.content, image.manifest.media_type)
    await store.put_manifest(REPOSITORY, manifest)
    await store.put_tag(REPOSITORY, Tag.parse(tag), manifest.digest)
    return manifest


@pytest.fixture
async def cache(tmp_path: Path) -> AsyncIterator[Cache]:
    made = Cache(tmp_path)
    async with made.pulls:
        yield made


async def test_a_manifest_that_is_not_here_comes_from_the_upstream_and_is_kept(cache: Cache) -> None:
    manifest = await cache.put_upstream(build_image("a"))
    assert await cache.pulled() == manifest
    assert (await cache.store.resolve(REPOSITORY, V1)).digest == manifest.digest
    assert [event.origin for event in cache.heard if isinstance(event, ManifestStored)] == ["pull"]


async def test_a_tag_that_was_asked_for_by_head_lies_here_once_its_digest_was_fetched(cache: Cache) -> None:
    """As containerd pulls: HEAD of the tag, GET of the digest."""
    manifest = await cache.put_upstream(build_image("a"))
    await cache.pulls.resolve_manifest(REPOSITORY, V1, quick=False)
    with pytest.raises(NotFound):
        await cache.store.resolve(REPOSITORY, V1)
    await cache.pulled(manifest.digest)
    cache.upstream.away = True
    assert await cache.pulled() == manifest
    assert [event.tags for event in cache.heard if isinstance(event, ManifestStored)] == [(V1,)]


async def test_head_of_what_is_here_tells_its_own_size_whatever_the_upstream_says(cache: Cache) -> None:
    manifest = await cache.put_upstream(build_image("a"))
    await cache.pulled()
    cache.upstream.exaggerates = 1
    for quick in (False, True):
        found = await cache.pulls.resolve_manifest(REPOSITORY, V1, quick=quick)
        assert found is not None
        assert (found.descriptor, found.stale) == (manifest.descriptor, False)


async def test_its_lifetime_begins_when_the_upstream_said_what_it_names(cache: Cache) -> None:
    manifest = await cache.put_upstream(build_image("a"))
    await cache.pulls.resolve_manifest(REPOSITORY, V1, quick=False)
    cache.clock.advance(59)
    await cache.pulled(manifest.digest)
    cache.clock.advance(240)
    assert cache.pulls.is_fresh(REPOSITORY, V1)
    cache.clock.advance(2)
    assert not cache.pulls.is_fresh(REPOSITORY, V1)


async def test_a_head_moves_the_tag_where_the_digest_is_here_already(cache: Cache) -> None:
    manifest = await cache.put_upstream(build_image("a"))
    await cache.pulled(manifest.digest)
    await cache.pulls.resolve_manifest(REPOSITORY, V1, quick=False)
    assert (await cache.store.resolve(REPOSITORY, V1)).digest == manifest.digest


async def test_who_gets_a_tag_saw_what_it_names_upstream_and_who_asks_by_head_alone_did_not(cache: Cache) -> None:
    first = await cache.put_upstream(build_image("a"))
    await cache.pulls.resolve_manifest(REPOSITORY, V1, quick=True)  # with which pushes begin
    assert cache.seen == []
    await cache.pulled(first.digest)  # with which containerd's pulls go on
    await cache.pulled()
    assert cache.seen == [("corp", "v1", first.digest)]
    second = await cache.put_upstream(build_image("b"))
    cache.clock.advance(301)
    await cache.pulled()
    await cache.put_upstream(build_image("a"))
    cache.clock.advance(301)
    await cache.pulled()
    assert cache.seen[1:] == [("corp", "v1", second.digest), ("corp", "v1", first.digest)]


async def test_what_was_said_of_a_tag_long_ago_or_overtaken_by_a_push_moves_nothing(cache: Cache) -> None:
    manifest = await cache.put_upstream(build_image("a"))
    await cache.pulls.resolve_manifest(REPOSITORY, V1, quick=False)
    cache.clock.advance(61)
    await cache.pulled(manifest.digest)
    with pytest.raises(NotFound):
        await cache.store.resolve(REPOSITORY, V1)
    other = await cache.put_upstream(build_image("b"))
    await cache.pulls.resolve_manifest(REPOSITORY, V1, quick=False)
    ours = await cache.put_here(build_image("c"))
    await cache.pulled(other.digest)
    assert await cache.pulled() == ours


async def test_what_was_said_of_a_tag_before_somebody_else_got_it_moves_it_not_back(cache: Cache) -> None:
    """One client's HEAD, then another one's pull of what the tag names since, then the first one's GET of the digest."""
    older = await cache.put_upstream(build_image("a"))
    await cache.pulls.resolve_manifest(REPOSITORY, V1, quick=False)
    newer = await cache.put_upstream(build_image("b"))
    assert await cache.pulled() == newer
    assert await cache.pulled(older.digest) == older
    assert await cache.pulled() == newer


async def test_what_was_said_of_a_tag_before_a_push_moves_it_not_back_once_that_is_synced(cache: Cache) -> None:
    cache.upstream.push = True
    older = await cache.put_upstream(build_image("a"))
    await cache.pulls.resolve_manifest(REPOSITORY, V1, quick=True)  # with which pushes begin
    ours = await cache.put_here(build_image("c"))
    await cache.put_upstream(build_image("c"))
    cache.events.publish(ImageSynced(repository=REPOSITORY, reference=V1, digest=ours.digest, upstream="corp"))
    assert await cache.pulled(older.digest) == older
    assert await cache.pulled() == ours


async def test_within_its_lifetime_a_tag_is_not_asked_for_and_after_it_once(cache: Cache) -> None:
    await cache.put_upstream(build_image("a"))
    await cache.pulled()
    cache.upstream.asked.clear()
    await cache.pulled()
    assert not cache.upstream.asked
    cache.clock.advance(301)
    await cache.pulled()
    assert cache.upstream.asked == {"resolve": 1}
    await cache.pulled()
    assert cache.upstream.asked == {"resolve": 1}


async def test_fifty_at_once_are_one_question(cache: Cache) -> None:
    manifest = await cache.put_upstream(build_image("a"))
    assert await asyncio.gather(*(cache.pulled() for _ in range(50))) == [manifest] * 50
    assert cache.upstream.asked == {"fetch_manifest": 1}
    cache.clock.advance(301)
    assert await asyncio.gather(*(cache.pulled() for _ in range(50))) == [manifest] * 50
    assert cache.upstream.asked == {"fetch_manifest": 1, "resolve": 1}


async def test_after_its_lifetime_one_question_serves_all_who_ask_by_get_and_by_head(cache: Cache) -> None:
    manifest = await cache.put_upstream(build_image("a"))
    await cache.pulled()
    cache.upstream.asked.clear()
    cache.clock.advance(301)
    heads = [cache.pulls.resolve_manifest(REPOSITORY, V1, quick=bool(number % 2)) for number in range(10)]
    *resolved, got, late = await asyncio.gather(*heads, cache.pulled(), cache.pulled())
    assert {each.descriptor.digest for each in resolved if each} == {manifest.digest}
    assert (got, late) == (manifest, manifest)
    assert cache.upstream.asked == {"resolve": 1}
    assert cache.seen[-1] == ("corp", V1, manifest.digest)


async def test_who_looked_here_just_before_it_came_asks_for_it_no_second_time(cache: Cache) -> None:
    manifest = await cache.put_upstream(build_image("a"))
    for reference in (V1, manifest.digest, V1):
        found = await cache.pulls.fetch_manifest(REPOSITORY, reference)
        assert found is not None
        assert found.manifest == manifest
    assert cache.upstream.asked.total() == cache.upstream.asked["fetch_manifest"] == 1


async def test_a_tag_that_the_upstream_says_is_unchanged_counts_as_a_hit_and_one_that_moved_as_a_miss(
    cache: Cache,
) -> None:
    def counted() -> tuple[int, ...]:
        return tuple(cache.traffic.lookups["manifest", result] for result in ("hit", "miss", "stale", "absent"))

    await cache.put_upstream(build_image("a"))
    await cache.pulled()
    assert counted() == (0, 1, 0, 0)
    cache.clock.advance(301)
    await cache.pulled()
    assert counted() == (1, 1, 0, 0)
    cache.clock.advance(301)
    await cache.pulls.resolve_manifest(REPOSITORY, V1, quick=False)
    assert counted() == (2, 1, 0, 0)
    cache.clock.advance(301)
    await cache.put_upstream(build_image("b"))
    await cache.pulls.resolve_manifest(REPOSITORY, V1, quick=False)
    await cache.pulls.fetch_manifest(REPOSITORY, V1)
    assert counted() == (2, 3, 0, 0)


async def test_a_tag_that_moved_upstream_is_seen_after_its_lifetime(cache: Cache) -> None:
    await cache.put_upstream(build_image("a"))
    await cache.pulled()
    newer = await cache.put_upstream(build_image("b"))
    cache.clock.advance(301)
    assert await cache.pulled() == newer
    assert (await cache.store.resolve(REPOSITORY, V1)).digest == newer.digest


@pytest.mark.parametrize(
    "failure",
    [
        UpstreamAway("corp", "away"),
        UpstreamBroken("corp", "cut off"),
        UpstreamUntrusted("corp", "who is it?"),
        UpstreamDenied("corp", "no", status=403),
        UpstreamTrouble("corp", "busy", status=429),
        UpstreamTrouble("corp", "broken", status=503),
    ],
)
async def test_a_known_tag_is_served_stale_while_its_upstream_gives_no_answer(cache: Cache, failure: Exception) -> None:
    manifest = await cache.put_upstream(build_image("a"))
    await cache.pulled()
    cache.clock.advance(301)
    cache.upstream.fault = lambda _what, _of: failure
    fetched = await cache.pulls.fetch_manifest(REPOSITORY, V1)
    assert fetched is not None
    assert (fetched.manifest, fetched.stale) == (manifest, True)
    resolved = await cache.pulls.resolve_manifest(REPOSITORY, V1, quick=False)
    assert resolved is not None
    assert resolved.stale
    assert not cache.pulls.is_fresh(REPOSITORY, V1), "a stale answer does not renew it"


async def test_what_is_not_here_fails_as_the_upstream_does(cache: Cache) -> None:
    for failure in (UpstreamDenied("corp", "no"), UpstreamTrouble("corp", "busy"), UpstreamRefused("corp", "odd")):
        cache.upstream.fault = lambda _what, _of, failure=failure: failure
        with pytest.raises(type(failure)):
            await cache.pulls.fetch_manifest(REPOSITORY, V1)


async def test_what_the_upstream_does_not_have_is_not_there(cache: Cache) -> None:
    assert await cache.pulls.fetch_manifest(REPOSITORY, V1) is None
    assert await cache.pulls.resolve_manifest(REPOSITORY, V1, quick=True) is None


async def test_an_upstream_that_is_known_to_be_away_is_left_alone_for_a_while(cache: Cache) -> None:
    cache.upstream.away = True
    with pytest.raises(UpstreamAway):
        await cache.pulls.fetch_manifest(REPOSITORY, V1)
    asked = cache.upstream.asked.total()
    with pytest.raises(UpstreamNotAsked):
        await cache.pulls.fetch_manifest(REPOSITORY, V1)
    assert cache.upstream.asked.total() == asked
    cache.upstream.away = False
    manifest = await cache.put_upstream(build_image("a"))
    cache.clock.advance(1)
    await until_async(lambda: cache.pulls.health("corp").state == "ok")
    assert await cache.pulled() == manifest


async def test_the_next_upstream_is_asked_after_any_failure(cache: Cache) -> None:
    second = FakeUpstream(name="second", push=False)
    cache.routes.upstreams.append(second)
    manifest = await cache.put_upstream(build_image("a"), upstream=second)
    assert await cache.pulled() == manifest
    cache.upstream.away = True
    assert await cache.pulled(manifest.digest) == manifest


async def test_not_found_only_if_all_say_so(cache: Cache) -> None:
    cache.routes.upstreams.append(FakeUpstream(name="second", push=False))
    cache.upstream.fault = lambda _what, _of: UpstreamTrouble("corp", "busy", status=503)
    with pytest.raises(UpstreamTrouble):
        await cache.pulls.fetch_manifest(REPOSITORY, V1)


async def test_a_tag_pushed_here_is_served_from_here_though_the_upstream_has_another(cache: Cache) -> None:
    await cache.put_upstream(build_image("theirs"))
    ours = await cache.put_here(build_image("ours"))
    cache.clock.advance(10_000)
    assert await cache.pulled() == ours
    fetched = await cache.pulls.fetch_manifest(REPOSITORY, V1)
    assert fetched is not None
    assert fetched.manifest == ours
    assert not cache.upstream.asked


async def test_once_it_is_synced_a_tag_follows_its_upstream_from_the_read_back_on(cache: Cache) -> None:
    cache.upstream.push = True
    ours = await cache.put_here(build_image("ours"))
    cache.events.publish(ImageSynced(repository=REPOSITORY, reference=V1, digest=ours.digest, upstream="corp"))
    cache.clock.advance(299)
    assert cache.pulls.is_fresh(REPOSITORY, V1)
    cache.clock.advance(2)
    newer = await cache.put_upstream(build_image("a colleague's"))
    assert await cache.pulled() == newer


async def test_a_push_over_a_pulled_tag_is_ours_until_it_is_synced(cache: Cache) -> None:
    await cache.put_upstream(build_image("theirs"))
    await cache.pulled()
    ours = await cache.put_here(build_image("ours"))
    cache.clock.advance(10_000)
    assert await cache.pulled() == ours


async def test_a_pull_that_ends_after_a_push_does_not_move_the_tag_back(cache: Cache) -> None:
    await cache.put_upstream(build_image("theirs"))
    cache.upstream.stops["fetch_manifest"] = comes = asyncio.Event()
    pulling = asyncio.create_task(cache.pulled())
    await until_async(lambda: cache.upstream.asked["fetch_manifest"])
    ours = await cache.put_here(build_image("ours"))
    comes.set()
    await pulling
    assert (await cache.store.resolve(REPOSITORY, V1)).digest == ours.digest


async def test_after_a_restart_a_pulled_tag_is_asked_for_again_and_a_pushed_one_is_not(cache: Cache) -> None:
    await cache.put_upstream(build_image("theirs"))
    await cache.pulled()
    await cache.put_here(build_image("ours"), "mine")
    await cache.pulls.__aexit__(None, None, None)
    async with cache.make() as again:
        assert not again.is_fresh(REPOSITORY, V1)
        assert again.is_fresh(REPOSITORY, Tag.parse("mine"))


async def test_a_quick_question_on_a_push_route_never_fails_and_is_not_asked_of_an_absent_upstream(
    cache: Cache,
) -> None:
    cache.upstream.push = True
    cache.upstream.away = True
    assert await cache.pulls.resolve_manifest(REPOSITORY, V1, quick=True) is None
    asked = cache.upstream.asked.total()
    assert await cache.pulls.resolve_manifest(REPOSITORY, V1, quick=True) is None
    assert cache.upstream.asked.total() == asked


@dataclass
class SilentUpstream(FakeUpstream):
    """Says nothing about manifests until it's told to."""

    speaks: asyncio.Event = field(default_factory=asyncio.Event)

    def repository(self, name: RepositoryName) -> FakeRepository:
        return SilentRepository(self, name)


class SilentRepository(FakeRepository):
    async def resolve(self, reference: Reference) -> Descriptor:
        assert isinstance(self._upstream, SilentUpstream)
        self._upstream.asked["begun"] += 1
        await self._upstream.speaks.wait()
        return await super().resolve(reference)


@pytest.fixture
def silent(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> SilentUpstream:
    """The first upstream, of a route that pushes."""
    monkeypatch.setattr(asking, "QUICK_SECONDS", 0.05)
    upstream = SilentUpstream(name="silent")
    cache.upstream.push = True
    cache.routes.upstreams = [upstream, cache.upstream]
    return upstream


async def quick_answer(cache: Cache, tag: str) -> Digest | None:
    found = await cache.pulls.resolve_manifest(REPOSITORY, Tag.parse(tag), quick=True)
    return found.descriptor.digest if found else None


async def test_an_upstream_that_hangs_costs_pushes_one_wait_and_not_one_each(
    cache: Cache, silent: SilentUpstream
) -> None:
    cache.routes.upstreams = [silent]
    for number in range(5):
        assert await quick_answer(cache, f"v{number}") is None
    assert silent.asked["begun"] == 1
    cache.clock.advance(asking.QUICK_REST_SECONDS)
    assert await quick_answer(cache, "later") is None
    assert silent.asked["begun"] == 2


async def test_an_upstream_that_hung_is_asked_again_as_soon_as_it_answers(cache: Cache, silent: SilentUpstream) -> None:
    cache.routes.upstreams = [silent]
    manifest = await put(silent.store, build_image("a"), "v1")
    assert await quick_answer(cache, "v0") is None
    silent.speaks.set()
    await until_async(lambda: silent.asked["resolve"] == 1)
    assert await quick_answer(cache, "v1") == manifest.digest


async def test_while_the_first_upstream_hangs_pushes_hear_what_the_next_one_has(
    cache: Cache, silent: SilentUpstream
) -> None:
    manifest = await cache.put_upstream(build_image("a"))
    assert await quick_answer(cache, "v1") is None
    assert await quick_answer(cache, "v1") == manifest.digest
    assert silent.asked["begun"] == 1


async def test_the_size_of_a_blob_is_asked_for_only_where_the_route_does_not_push(cache: Cache) -> None:
    image = build_image("a")
    await cache.put_upstream(image)
    digest = Digest.parse(image.layers[0].digest)
    assert await cache.pulls.blob_size(REPOSITORY, digest) == len(image.layers[0].content)
    cache.upstream.push = True
    assert await cache.pulls.blob_size(REPOSITORY, digest) is None


async def test_tags_are_the_union_and_ours_alone_when_the_upstream_is_away(cache: Cache) -> None:
    await cache.put_upstream(build_image("a"), "theirs")
    await cache.put_here(build_image("b"), "ours")
    page = await cache.pulls.tags(REPOSITORY)
    assert page is not None
    assert (list(page.tags), page.stale) == (["ours", "theirs"], False)
    page = await cache.pulls.tags(REPOSITORY, limit=1)
    assert page is not None
    assert list(page.tags) == ["ours"]
    cache.upstream.away = True
    page = await cache.pulls.tags(REPOSITORY)
    assert page is not None
    assert (list(page.tags), page.stale) == (["ours"], True)


async def test_offline_only_what_is_here_is_served(cache: Cache) -> None:
    manifest = await cache.put_upstream(build_image("a"))
    await cache.pulled()
    cache.pulls.reload(cache.routes, replace(cache.settings, cache=CacheSettings(offline=True)))
    cache.clock.advance(301)
    cache.upstream.asked.clear()
    fetched = await cache.pulls.fetch_manifest(REPOSITORY, V1)
    assert fetched is not None
    assert (fetched.manifest, fetched.stale) == (manifest, True)
    with pytest.raises(UpstreamNotAsked):
        await cache.pulls.fetch_manifest(REPOSITORY, Tag.parse("v2"))
    assert not cache.upstream.asked


@pytest.mark.parametrize(("tag", "seconds"), [("v1", 1), ("v1.2", 2), ("v3", 3), ("latest", 4), ("v1.20", 5)])
@pytest.mark.parametrize("backwards", [False, True])
def test_a_lifetime_is_that_of_the_pattern_that_says_most_in_whatever_order(
    tag: str, seconds: int, backwards: bool
) -> None:
    patterns = ("*", 4), ("v*", 3), ("v1.*", 2), ("v1", 1), ("v1.[0-9]0", 5)
    ttl = tuple((pattern, timedelta(seconds=each)) for pattern, each in (reversed(patterns) if backwards else patterns))
    upstream = UpstreamSettings(registry="registry.corp", name="corp", manifest_ttl=ttl)
    assert Lifetimes(Settings(Path(), upstreams=(upstream,))).seconds("corp", Tag.parse(tag)) == seconds


async def test_a_tag_may_have_a_lifetime_of_its_own(cache: Cache) -> None:
    ttl = (("v*", timedelta(seconds=10)), ("*", timedelta(0)))
    upstream = UpstreamSettings(registry="registry.corp", name="corp", manifest_ttl=ttl)
    cache.pulls.reload(cache.routes, replace(cache.settings, upstreams=(upstream,)))
    await cache.put_upstream(build_image("a"))
    await cache.put_upstream(build_image("b"), "latest")
    await cache.pulled()
    await cache.pulled(Tag.parse("latest"))
    assert cache.pulls.is_fresh(REPOSITORY, V1)
    assert not cache.pulls.is_fresh(REPOSITORY, Tag.parse("latest"))
    cache.clock.advance(11)
    assert not cache.pulls.is_fresh(REPOSITORY, V1)
