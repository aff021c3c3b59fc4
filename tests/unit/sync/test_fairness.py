"""One huge image holds up no small one, however few transfers go at once; nobody waits for ever."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from pathlib import Path

import pytest

from tests.support.fake_upstreams import FakeUpstream
from tests.support.images import build_image
from tests.unit.sync.yard import running, settle
from yarddesk.settings.model import SyncSettings
from yarddesk.sync.slots import QUESTIONS_AT_ONCE, TransferSlots

LAYERS = 150


@pytest.mark.parametrize("concurrency", [1, 2, 4])
async def test_small_images_are_sent_between_the_layers_of_a_huge_one(tmp_path: Path, concurrency: int) -> None:
    upstream = FakeUpstream(held=asyncio.Event())
    async with running(tmp_path, upstreams=[upstream], sync=SyncSettings(concurrency=concurrency)) as yard:
        huge = build_image("huge", [10] * LAYERS)
        await yard.push(huge, "huge")
        await yard.until(lambda: upstream.sending == concurrency, "the huge one has all slots")
        for number in range(8):
            await yard.push(build_image(f"small {number}", [10, 10]), f"small-{number}")
        await yard.until(lambda: upstream.asked["exists"] >= 1 + LAYERS + 8 * 3, "all of them are looked at")
        await settle(200)
        upstream.release()
        await yard.until_empty()
        layers = {blob.digest for blob in huge.blobs}
        sent = [of in layers for what, _, of in upstream.log if what == "push"]
        last_small = max(place for place, is_huge in enumerate(sent) if not is_huge)
        assert sum(sent[:last_small]) <= 8 + 2 * concurrency, "three blobs of each small one are three rounds"


async def test_several_huge_images_do_not_keep_a_small_one_from_being_tried(tmp_path: Path) -> None:
    upstream = FakeUpstream(held=asyncio.Event())
    async with running(tmp_path, upstreams=[upstream], sync=SyncSettings(concurrency=2)) as yard:
        for number in range(4):
            await yard.push(build_image(f"huge {number}", [10] * 40), f"huge-{number}")
        await yard.push(build_image("small", [10]), "small")
        await settle(200)
        upstream.release()
        await yard.until_empty()
        assert next(of for what, _, of in upstream.log if what == "tag") == "small"


async def test_each_holder_is_served_once_a_round_also_who_comes_anew() -> None:
    slots = TransferSlots(1)
    order: list[str] = []

    async def send(holder: str) -> None:
        async with slots.slot("corp", holder):
            order.append(holder)
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group:
        for _ in range(6):
            group.create_task(send("huge"))
        for number in range(3):
            group.create_task(send(f"small {number}"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        for number in range(3, 12):
            group.create_task(send(f"small {number}"))
    places = [place for place, holder in enumerate(order) if holder == "huge"]
    assert order.index("small 0") <= 2, order
    assert all(after - before <= 13 for before, after in pairwise(places)), order
    assert len(places) == 6
    assert not slots._turns, "nothing is remembered of who is done"


async def test_what_was_moved_up_gets_the_next_slot() -> None:
    slots = TransferSlots(1)
    order: list[str] = []

    async def send(holder: str, priority: int) -> None:
        async with slots.slot("corp", holder, lambda: priority):
            order.append(holder)
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group:
        for holder in ("first", "a", "b"):
            group.create_task(send(holder, 0))
        for _ in range(3):
            group.create_task(send("moved up", 1))
    assert order == ["first", "moved up", "moved up", "moved up", "a", "b"]


async def test_many_images_are_looked_at_with_few_questions_at_once(tmp_path: Path) -> None:
    asking = most = 0

    class Upstream(FakeUpstream):
        async def stop_at(self, what: str) -> None:
            nonlocal asking, most
            if what == "exists":
                asking += 1
                most = max(most, asking)
                await asyncio.sleep(0.001)
                asking -= 1

    upstream = Upstream()
    async with running(tmp_path, upstreams=[upstream], sync=SyncSettings(concurrency=4)) as yard:
        await yard.service.pause()
        for number in range(12):
            await yard.push(build_image(f"{number}", [10] * 10), f"v{number}")
        await yard.service.resume()
        await yard.until_empty()
    assert 8 < most <= QUESTIONS_AT_ONCE
