"""One huge image holds up no small one, however few transfers go at once; nobody waits for ever."""

from __future__ import annotations

import asyncio
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.fake_upstreams import AskedAtOnce, FakeUpstream
from tests.support.images import build_image
from tests.unit.sync.yard import running, settle
from yarddesk.settings.model import SyncSettings
from yarddesk.sync.slots import QUESTIONS_AT_ONCE, TransferSlots

LAYERS = 150
MIB = 1024 * 1024


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
    upstream = AskedAtOnce(answer_seconds=0.001)
    async with running(tmp_path, upstreams=[upstream], sync=SyncSettings(concurrency=4)) as yard:
        await yard.service.pause()
        for number in range(12):
            await yard.push(build_image(f"{number}", [10] * 10), f"v{number}")
        await yard.service.resume()
        await yard.until_empty()
    assert 8 < upstream.most_asking <= QUESTIONS_AT_ONCE


@pytest.mark.parametrize("concurrency", [1, 2])
async def test_small_images_are_sent_between_the_pieces_of_huge_layers(tmp_path: Path, concurrency: int) -> None:
    upstream = FakeUpstream(held=asyncio.Event(), takes_pieces=True)
    async with running(tmp_path, upstreams=[upstream], sync=SyncSettings(concurrency=concurrency)) as yard:
        huge = build_image("huge", [12 * MIB] * concurrency)
        await yard.push(huge, "huge")
        await yard.until(lambda: upstream.sending == concurrency, "the huge one has all slots")
        for number in range(6):
            await yard.push(build_image(f"small {number}", [10]), f"small-{number}")
        await settle(200)
        upstream.release()
        await yard.until_empty()
        arrived = [of for what, _, of in upstream.log if what == "tag"]
        assert arrived[-1] == "huge"
        assert upstream.most_at_once <= concurrency + 6, "what waits for its turn is not sent meanwhile"


async def test_a_huge_layer_that_nobody_waits_behind_goes_on_at_once() -> None:
    slots = TransferSlots(1)
    async with slots.slot("corp", "huge") as slot:
        for _ in range(3):
            await asyncio.wait_for(slot.turn(), 1)
        assert slots.held == 1
    assert slots.held == 0


async def test_the_pieces_of_a_begun_layer_go_before_the_other_layers_of_its_image() -> None:
    slots = TransferSlots(1)
    order: list[str] = []

    async def send(layer: str, pieces: int, holder: str = "huge") -> None:
        async with slots.slot("corp", holder) as slot:
            for piece in range(pieces):
                if piece:
                    await slot.turn()
                order.append(layer)
                await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group:
        group.create_task(send("first", 3))
        group.create_task(send("second", 2))
        group.create_task(send("small", 1, "small"))
    assert order == ["first", "small", "first", "first", "second", "second"]


async def test_who_is_cancelled_while_others_have_their_turn_leaves_no_slot_behind() -> None:
    slots = TransferSlots(1)
    has_it, goes = asyncio.Event(), asyncio.Event()

    async def huge() -> None:
        async with slots.slot("corp", "huge") as slot:
            await goes.wait()
            await slot.turn()
            raise AssertionError("it never gets it back")

    async def small() -> None:
        async with slots.slot("corp", "small"):
            has_it.set()
            await asyncio.Event().wait()

    tasks = [asyncio.create_task(huge()), asyncio.create_task(small())]
    await settle()
    goes.set()
    await has_it.wait()
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    assert slots.held == 0
    assert not slots._waiters
    assert not slots._turns


_BLOBS = st.lists(st.integers(1, 4), min_size=1, max_size=4)
"""The pieces of each blob of an image."""


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 3), st.lists(st.tuples(st.integers(0, 12), _BLOBS), min_size=1, max_size=8))
def test_who_waits_and_has_nothing_is_passed_over_by_nobody_again_and_again(
    total: int, images: list[tuple[int, list[int]]]
) -> None:
    slots = TransferSlots(total)
    sending: Counter[int] = Counter()
    waiting: Counter[int] = Counter()
    passed_over: dict[int, Counter[int]] = {}

    def waits(image: int) -> None:
        waiting[image] += 1
        if not sending[image]:
            passed_over.setdefault(image, Counter())

    def served(image: int) -> None:
        waiting[image] -= 1
        sending[image] += 1
        assert sending.total() <= total
        passed_over.pop(image, None)
        for other, counts in passed_over.items():
            counts[image] += 1
            # Once by its place in the round; and it may only now notice the slots that it was given before the other came.
            assert counts[image] <= 1 + total, f"{image} goes again and again before {other}"

    def rests(image: int) -> None:
        sending[image] -= 1
        if waiting[image] and not sending[image]:
            passed_over.setdefault(image, Counter())

    async def send(image: int, pieces: int) -> None:
        waits(image)
        async with slots.slot("corp", str(image)) as slot:
            served(image)
            for _ in range(pieces - 1):
                await asyncio.sleep(0)
                rests(image)
                waits(image)
                await slot.turn()
                served(image)
            await asyncio.sleep(0)
            rests(image)

    async def come(image: int, after: int, blobs: list[int]) -> None:
        for _ in range(after):
            await asyncio.sleep(0)
        async with asyncio.TaskGroup() as group:
            for pieces in blobs:
                group.create_task(send(image, pieces))

    async def run() -> None:
        async with asyncio.timeout(20), asyncio.TaskGroup() as group:
            for image, (after, blobs) in enumerate(images):
                group.create_task(come(image, after, blobs))

    asyncio.run(run())
    assert slots.held == 0
    assert not slots._turns
