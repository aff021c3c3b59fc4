"""An upstream that took a layer, and whose answer got lost: the layer is there, and isn't sent again."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

from tests.support.fake_upstreams import FakeUpstream
from tests.support.images import Image, build_image, manifest_of
from tests.unit.sync.yard import Yard, running
from yarddesk.content.upstream import UpstreamBroken
from yarddesk.settings.model import SyncSettings

ONE_AT_A_TIME = SyncSettings(interval=timedelta(seconds=3600), concurrency=1)


def loses_answers(yard: Yard, *digests: str) -> None:
    """Once for each of these."""
    left = set(digests)

    def lost(what: str, of: str) -> Exception | None:
        if what != "push" or of not in left:
            return None
        left.discard(of)
        return UpstreamBroken("corp", "The connection broke.", temporary=True)

    yard.upstream.lost = lost


async def arrives_once(yard: Yard) -> None:
    def is_done() -> bool:
        yard.clock.advance(20)
        return not yard.service.snapshot().jobs

    await yard.until(is_done, "all is there")
    assert max(yard.upstream.taken.values()) == 1, yard.upstream.taken


async def test_the_next_try_asks_though_it_was_asked_ahead_and_lacked(tmp_path: Path) -> None:
    async with running(tmp_path, sync=ONE_AT_A_TIME) as yard:
        yard.upstream.held = asyncio.Event()
        images = [build_image(f"image {number}", (50,)) for number in range(14)]
        for number, image in enumerate(images):
            await yard.push(image, f"v{number}")
        last = images[-1].layers[0].digest
        await yard.until(lambda: ("exists", "team/app", last) in yard.upstream.log, "what it lacks was asked ahead")
        loses_answers(yard, last)
        yard.upstream.release()
        await arrives_once(yard)


class Slow(FakeUpstream):
    """Answers whether it has these only when it's told to."""

    def __init__(self) -> None:
        super().__init__()
        self.slow: dict[str, asyncio.Event] = {}

    async def come(self, what: str, repository: str, of: str) -> None:
        await super().come(what, repository, of)
        if what == "exists" and of in self.slow:
            await self.slow[of].wait()


async def test_another_image_that_asked_before_asks_again(tmp_path: Path) -> None:
    base = build_image("base", (50,)).layers[0]

    def on_base(seed: str) -> Image:
        own = build_image(seed, (50,))
        return Image(manifest_of(own.config, (base,)), own.config, (base,), own.platform)

    upstream, late = Slow(), on_base("late")
    upstream.slow[late.config.digest] = asyncio.Event()
    async with running(tmp_path, upstreams=[upstream]) as yard:
        loses_answers(yard, base.digest)
        await yard.push(late, "late")
        await yard.until(lambda: ("exists", "team/app", base.digest) in upstream.log, "it lacks the layer")
        await yard.push(on_base("early"), "early")
        await yard.until_state("waiting", "team/app:early")
        upstream.slow[late.config.digest].set()
        await arrives_once(yard)
