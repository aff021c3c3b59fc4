"""A tag through any history of moves, pushes, syncs, failures, time and restarts: what is served is what it must be."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.images import build_image
from tests.unit.cache.test_pull_through import REPOSITORY, V1, Cache, put
from yarddesk.content.target import NotFound
from yarddesk.content.upstream import UpstreamFailure
from yarddesk.events import ImageSynced
from yarddesk.oci.digest import Digest

IMAGES = [build_image(name) for name in "abc"]
DIGESTS = [Digest.parse(image.manifest.digest) for image in IMAGES]
TTL = 300.0
ABSENCE = 11.0
"""Longer than it's remembered that something is not there."""

OFTEN = {"pull": 5, "head": 3, "moves": 4, "time": 4, "dies": 2, "back": 2, "synced": 2}
"""What happens how often; all others once. A push without a sync ends what an upstream has to say, so it's rare."""

WHATS = [
    *("pushed", "pushed, and queued", "deleted upstream", "away", "restart"),
    *(what for what, times in OFTEN.items() for _ in range(times)),
]
VALUES = {"moves": (0, 1, 2), "pushed": (0, 1, 2), "pushed, and queued": (0, 1, 2), "time": (1, 100, 301, 301)}
operations = st.sampled_from(WHATS).flatmap(
    lambda what: st.tuples(st.just(what), st.sampled_from(VALUES.get(what, (0,))))
)


class Died(BaseException):
    """The process, here."""


async def _die(*_: object) -> None:
    raise Died


@dataclass
class Tag:
    """What is known of the tag. there: what it names upstream. ours: what it names here, where it was pushed here and nothing else
    has a say. followed, checked: what the upstream said last, and when in this run."""

    there: Digest | None = None
    ours: Digest | None = None
    queued: bool = False
    followed: Digest | None = None
    checked: float | None = None


class Model:
    """The cache, and beside it what is to be expected of it."""

    def __init__(self, cache: Cache) -> None:
        self.cache = cache
        self.tag = Tag()

    async def do(self, what: str, value: int) -> None:
        cache, tag = self.cache, self.tag
        match what:
            case "moves":
                cache.clock.advance(ABSENCE)
                await put(cache.upstream.store, IMAGES[value], V1)
                tag.there = DIGESTS[value]
            case "deleted upstream":
                if tag.there is not None:
                    await cache.upstream.store.delete_tag(REPOSITORY, V1)
                tag.there = None
            case "pushed" | "pushed, and queued":
                tag.ours, tag.queued = DIGESTS[value], what != "pushed"
                tag.followed = tag.checked = None
                cache.queued = {(REPOSITORY, V1)} if tag.queued else set()
                await cache.put_here(IMAGES[value], V1)
            case "synced":
                await self._synced()
            case "away":
                cache.clock.advance(ABSENCE)
                cache.upstream.away = True
            case "back":
                cache.upstream.away = False
                while cache.pulls.health("corp").state != "ok":
                    cache.clock.advance(cache.clock.next_alarm or 0.0)
                    await asyncio.sleep(0)
                    if cache.clock.next_alarm is None:
                        break  # nobody has asked for long: the next question finds it
            case "restart":
                await cache.pulls.__aexit__(None, None, None)
                cache.pulls = await cache.make().__aenter__()
                tag.checked = None
            case "dies":
                await self._dies()
            case "time":
                cache.clock.advance(value)
            case "pull":
                await self._expect(self._pulled)
            case _:
                await self._expect(self._by_digest)

    async def _dies(self) -> None:
        """In the middle of a pull, before the tag moves, where it would; and a new start."""
        with pytest.MonkeyPatch.context() as patch, suppress(Died, UpstreamFailure):
            patch.setattr(self.cache.store, "put_tag", _die)
            await self._pulled()
        await self.do("restart", 0)

    async def _synced(self) -> None:
        tag, cache = self.tag, self.cache
        if not tag.queued or tag.ours is None or cache.upstream.away:
            return
        await put(cache.upstream.store, IMAGES[DIGESTS.index(tag.ours)], V1)
        cache.queued = set()
        tag.there = tag.followed = tag.ours
        tag.ours, tag.queued, tag.checked = None, False, cache.clock.monotonic()
        event = ImageSynced(repository=REPOSITORY, reference=V1, digest=tag.there, upstream="corp")
        cache.events.publish(event)

    async def _expect(self, ask) -> None:
        tag, now = self.tag, self.cache.clock.monotonic()
        asked = self.cache.upstream.asked.total()
        try:
            found = await ask()
        except UpstreamFailure:
            assert self.cache.upstream.away
            assert tag.ours is None
            assert tag.followed is None, "what was here is not served"
            return
        if tag.ours is not None:
            assert found == tag.ours
        elif tag.followed is not None and tag.checked is not None and now - tag.checked < TTL:
            assert found == tag.followed
        elif self.cache.upstream.away:
            assert found == tag.followed
            return
        else:
            assert found == tag.there
            if found is not None:
                tag.followed, tag.checked = found, now
            return
        assert self.cache.upstream.asked.total() == asked, "it was asked for nothing"

    async def _pulled(self) -> Digest | None:
        found = await self.cache.pulled()
        return found.digest if found else None

    async def _by_digest(self) -> Digest | None:
        """As containerd does it: HEAD of the tag, and GET of what that names."""
        cache = self.cache
        here = cache.store.resolve_cached(REPOSITORY, V1) if cache.pulls.is_fresh(REPOSITORY, V1) else None
        if here is None:
            resolved = await cache.pulls.resolve_manifest(REPOSITORY, V1, quick=False)
            if resolved is None:
                return None
            here = resolved.descriptor
        try:
            manifest = await cache.pulled(here.digest)
        except NotFound:
            manifest = None
        assert manifest is not None
        return manifest.digest


@settings(max_examples=150, deadline=None)
@given(st.lists(operations, min_size=5, max_size=40))
def test_what_is_served_is_what_it_must_be(history: list[tuple[str, int]]) -> None:
    async def live() -> None:
        folder = Path(tempfile.mkdtemp())
        cache = Cache(folder)
        cache.upstream.push = True
        await cache.pulls.__aenter__()
        model = Model(cache)
        try:
            for what, value in history:
                await model.do(what, value)
        finally:
            await cache.pulls.__aexit__(None, None, None)
            await asyncio.to_thread(shutil.rmtree, folder)

    asyncio.run(live())
