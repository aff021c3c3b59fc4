"""Whoever is to be told of arrivals is told while the image is still in the queue, so that a crash can't swallow it."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.support.fake_upstreams import FakeUpstream
from tests.support.images import build_image
from tests.unit.sync.yard import running
from yarddesk.content.listener import Arrival


class Listener:
    """Writes down what it hears, and holds back who tells it."""

    def __init__(self) -> None:
        self.heard: list[Arrival] = []
        self.go = asyncio.Event()
        self.go.set()

    async def image_arrived(self, arrival: Arrival) -> None:
        self.heard.append(arrival)
        await self.go.wait()


async def test_each_arrival_is_told_with_what_it_replaced(tmp_path: Path) -> None:
    listener = Listener()
    upstreams = [FakeUpstream(), FakeUpstream(name="mirror", registry="registry.mirror")]
    async with running(tmp_path, arrivals=listener, upstreams=upstreams) as yard:
        first = await yard.push(build_image("a"))
        await yard.until_empty()
        second = await yard.push(build_image("b"))
        await yard.until_empty()
    heard = [(each.upstream, each.registry, each.digest, each.replaced) for each in listener.heard]
    assert sorted(heard[:2]) == [
        ("corp", "registry.corp", first.digest, None),
        ("mirror", "registry.mirror", first.digest, None),
    ]
    assert sorted(heard[2:]) == [
        ("corp", "registry.corp", second.digest, first.digest),
        ("mirror", "registry.mirror", second.digest, first.digest),
    ]
    assert listener.heard[0].bytes_sent > 0
    assert (listener.heard[0].repository, listener.heard[0].reference) == ("team/app", "v1")


async def test_it_is_told_before_the_marker_goes_and_again_after_a_crash_in_between(tmp_path: Path) -> None:
    listener = Listener()
    listener.go.clear()
    async with running(tmp_path, arrivals=listener) as yard:
        manifest = await yard.push(build_image("a"))
        await yard.until(lambda: listener.heard, "it's being told")
        assert yard.marker().is_file()
        assert not yard.service.history()
        runner = yard.service._runner
        assert runner is not None
        runner.cancel()  # nothing that follows happens any more
        await asyncio.wait([runner])
        yard.service._runner = None
        assert yard.marker().is_file()
        listener.go.set()
        await yard.restart()
        await yard.until_empty()
    assert [each.digest for each in listener.heard] == [manifest.digest] * 2


async def test_what_is_kept_or_cancelled_did_not_arrive(tmp_path: Path) -> None:
    listener = Listener()
    async with running(tmp_path, arrivals=listener, upstreams=[FakeUpstream(away=True)]) as yard:
        await yard.push(build_image("a"))
        await yard.until_state("waiting")
        await yard.service.cancel("team/app:v1")
    assert listener.heard == []
