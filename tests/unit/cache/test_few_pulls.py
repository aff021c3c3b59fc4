"""Below `cache.quota_floor` what is here is preferred; and what is not there is not asked for again at once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.fake_upstreams import FakeUpstream
from tests.support.images import build_image
from tests.unit.cache.test_pull_through import REPOSITORY, V1, Cache
from yarddesk.content.target import NotFound
from yarddesk.content.upstream import Quota, UpstreamDenied, UpstreamFailure, UpstreamNotAsked, UpstreamTrouble
from yarddesk.events import ImageSynced
from yarddesk.oci.digest import Digest
from yarddesk.oci.name import RepositoryName, Tag
from yarddesk.settings.model import CacheSettings

V2 = Tag.parse("v2")
FEW = Quota(100, 9, 21600)


@pytest.fixture
async def cache(tmp_path: Path) -> AsyncIterator[Cache]:
    made = Cache(tmp_path)
    async with made.pulls:
        yield made


async def test_below_the_floor_a_changed_tag_is_served_as_it_was(cache: Cache) -> None:
    old = await cache.put_upstream(build_image("a"))
    await cache.pulled()
    new = await cache.put_upstream(build_image("b"))
    cache.upstream.quota = FEW
    cache.clock.advance(301)
    cache.upstream.asked.clear()
    fetched = await cache.pulls.fetch_manifest(REPOSITORY, V1)
    assert fetched is not None
    assert (fetched.manifest, fetched.stale) == (old, True)
    resolved = await cache.pulls.resolve_manifest(REPOSITORY, V1, quick=False)
    assert resolved is not None
    assert (resolved.descriptor.digest, resolved.stale) == (old.digest, True)
    assert cache.upstream.asked == {"resolve": 2}, "a HEAD costs nothing"
    cache.upstream.quota = replace(FEW, remaining=10)
    assert await cache.pulled() == new


async def test_below_the_floor_an_unchanged_tag_is_as_fresh_as_ever(cache: Cache) -> None:
    await cache.put_upstream(build_image("a"))
    await cache.pulled()
    cache.upstream.quota = FEW
    cache.clock.advance(301)
    fetched = await cache.pulls.fetch_manifest(REPOSITORY, V1)
    assert fetched is not None
    assert not fetched.stale
    assert cache.pulls.is_fresh(REPOSITORY, V1)


async def test_below_the_floor_a_tag_that_moved_to_what_is_here_moves(cache: Cache) -> None:
    await cache.put_upstream(build_image("a"))
    await cache.pulled()
    new = await cache.put_upstream(build_image("b"), "v2")
    await cache.pulled(V2)
    await cache.put_upstream(build_image("b"))
    cache.upstream.quota = FEW
    cache.clock.advance(301)
    assert await cache.pulled() == new


async def test_below_the_floor_what_is_not_here_is_fetched(cache: Cache) -> None:
    cache.upstream.quota = replace(FEW, remaining=0)
    manifest = await cache.put_upstream(build_image("a"))
    assert await cache.pulled() == manifest


async def test_without_a_floor_all_is_fetched(cache: Cache) -> None:
    await cache.put_upstream(build_image("a"))
    await cache.pulled()
    new = await cache.put_upstream(build_image("b"))
    cache.upstream.quota = replace(FEW, remaining=0)
    cache.pulls.reload(cache.routes, replace(cache.settings, cache=CacheSettings(quota_floor=0)))
    cache.clock.advance(301)
    assert await cache.pulled() == new


async def test_what_upstream_does_not_have_is_asked_for_again_after_some_seconds(cache: Cache) -> None:
    digest = Digest.of(b"nothing")
    for _ in range(20):
        assert await cache.pulls.fetch_manifest(REPOSITORY, V1) is None
        assert await cache.pulls.fetch_manifest(REPOSITORY, digest) is None
        assert await cache.pulls.resolve_manifest(REPOSITORY, V1, quick=False) is None
        assert await cache.pulls.blob_size(REPOSITORY, Digest.of(b"no blob")) is None
        with pytest.raises(NotFound):
            async with cache.pulls.open_blob(REPOSITORY, Digest.of(b"no blob")):
                pass
    assert cache.upstream.asked == {"fetch_manifest": 2, "blob_size": 1}
    manifest = await cache.put_upstream(build_image("a"))
    cache.clock.advance(5)
    assert await cache.pulled() == manifest


@pytest.mark.parametrize(
    "failure", [UpstreamDenied("corp", "no", status=403), UpstreamTrouble("corp", "wait", status=408)]
)
async def test_a_denial_or_a_failure_is_no_absence(cache: Cache, failure: UpstreamFailure) -> None:
    cache.upstream.fault = lambda _what, _of: failure
    for _ in range(2):
        with pytest.raises(type(failure)):
            await cache.pulls.fetch_manifest(REPOSITORY, V1)
    assert cache.upstream.asked["fetch_manifest"] == 2
    cache.routes.upstreams.append(FakeUpstream(name="second", push=False))
    with pytest.raises(type(failure)):
        await cache.pulls.fetch_manifest(REPOSITORY, V1)
    cache.upstream.fault = None
    manifest = await cache.put_upstream(build_image("a"))
    assert await cache.pulled() == manifest


async def test_what_comes_into_a_repository_ends_what_is_known_to_be_absent_there_and_only_there(cache: Cache) -> None:
    async def missing(repository: RepositoryName = REPOSITORY) -> int:
        before = cache.upstream.asked["fetch_manifest"]
        assert await cache.pulls.fetch_manifest(repository, V1) is None
        return cache.upstream.asked["fetch_manifest"] - before

    other = RepositoryName.parse("team/other")
    assert [await missing(), await missing(), await missing(other), await missing(other)] == [1, 0, 1, 0]
    pushed = await cache.put_here(build_image("a"), "v2")
    assert [await missing(), await missing(), await missing(other)] == [1, 0, 0]
    cache.events.publish(ImageSynced(repository=REPOSITORY, reference=V2, digest=pushed.digest, upstream="corp"))
    assert [await missing(), await missing(other)] == [1, 0]
    cache.pulls.look_again()
    assert [await missing(), await missing(other)] == [1, 1]


async def test_as_many_absences_as_anybody_likes_are_bounded(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("yarddesk.cache.absent._MOST", 10)
    for number in range(30):
        assert await cache.pulls.fetch_manifest(RepositoryName.parse(f"team/app{number}"), V1) is None
    asked = cache.upstream.asked["fetch_manifest"]
    for number in range(20, 30):
        assert await cache.pulls.fetch_manifest(RepositoryName.parse(f"team/app{number}"), V1) is None
    assert cache.upstream.asked["fetch_manifest"] == asked
    assert await cache.pulls.fetch_manifest(RepositoryName.parse("team/app0"), V1) is None
    assert cache.upstream.asked["fetch_manifest"] == asked + 1


async def test_offline_what_was_absent_is_not_had_rather_than_not_there(cache: Cache) -> None:
    cache.pulls.reload(cache.routes, replace(cache.settings, cache=CacheSettings(offline=True)))
    for _ in range(2):
        with pytest.raises(UpstreamNotAsked):
            await cache.pulls.fetch_manifest(REPOSITORY, V1)
