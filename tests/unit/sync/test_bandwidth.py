"""`sync.bandwidth`: the rate that holds, who gets how much of it, and what a change does to those who wait."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from tests.support.clocks import HandClock
from tests.support.fake_upstreams import FakeUpstream
from tests.support.images import build_image
from tests.unit.sync.yard import Yard, running, settle
from yarddesk.settings.model import SyncSettings
from yarddesk.sync.slots import Bandwidth


@asynccontextmanager
async def transfers(bandwidth: Bandwidth, count: int) -> AsyncIterator[list[int]]:
    """So many that take piece after piece; the bytes that each has had."""
    sent = [0] * count

    async def transfer(number: int) -> None:
        while True:
            size = bandwidth.piece_bytes
            await bandwidth.take(size)
            sent[number] += size
            await asyncio.sleep(0)

    tasks = [asyncio.create_task(transfer(number)) for number in range(count)]
    try:
        yield sent
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def run_for(clock: HandClock, seconds: float) -> None:
    """From alarm to alarm."""
    end = clock.monotonic() + seconds
    while True:
        await settle(12)
        alarm = clock.next_alarm
        assert alarm is not None
        if clock.monotonic() + alarm > end:
            clock.advance(end - clock.monotonic())
            await settle(12)
            return
        clock.advance(alarm)


@pytest.mark.parametrize("rate", [8_000, 1_000_000, 50_000_000])
@pytest.mark.parametrize("count", [1, 4, 16])
async def test_the_rate_holds_in_the_long_run_and_all_get_the_same_of_it(rate: int, count: int) -> None:
    clock = HandClock()
    bandwidth = Bandwidth(rate, clock)
    seconds = 4.0 if rate > 10_000_000 else 40.0
    async with transfers(bandwidth, count) as sent:
        await run_for(clock, seconds)
        assert sum(sent) == pytest.approx(rate * seconds, rel=0.01, abs=bandwidth.piece_bytes)
        assert max(sent) - min(sent) <= bandwidth.piece_bytes


async def test_what_was_saved_up_while_nothing_went_is_half_a_second_of_it() -> None:
    clock = HandClock()
    bandwidth = Bandwidth(1_000_000, clock)
    clock.advance(3600)
    async with transfers(bandwidth, 3) as sent:
        await settle()
        assert sum(sent) == pytest.approx(500_000, abs=bandwidth.piece_bytes)


async def test_a_lower_rate_means_smaller_pieces_so_that_nothing_falls_silent() -> None:
    clock = HandClock()
    for rate in (10_000, 100_000, 10_000_000):
        assert Bandwidth(rate, clock).piece_bytes <= max(rate / 8, 1024)
    assert Bandwidth(10_000_000, clock).piece_bytes == 64 * 1024


@pytest.mark.parametrize(("before", "after"), [(1_000, 50_000_000), (1_000, 0), (50_000_000, 8_000), (8_000, 16_000)])
async def test_another_limit_reaches_those_who_wait_and_leaves_no_debt_of_the_old_one(before: int, after: int) -> None:
    clock = HandClock()
    bandwidth = Bandwidth(before, clock)
    await bandwidth.take(5_000_000)
    waiting = [asyncio.create_task(bandwidth.take(1000)) for _ in range(3)]
    await settle()
    assert not any(task.done() for task in waiting)
    bandwidth.bytes_per_second = after
    await settle()
    assert waiting[0].done()
    if after:
        clock.advance(1010 / after)
        await settle()
        assert waiting[1].done()
        clock.advance(1010 / after)
        await settle()
    assert all(task.done() for task in waiting)


async def test_one_who_stops_waiting_holds_up_nobody() -> None:
    clock = HandClock()
    bandwidth = Bandwidth(1000, clock)
    await bandwidth.take(1000)
    waiting = [asyncio.create_task(bandwidth.take(1000)) for _ in range(3)]
    await settle()
    for task in waiting[:2]:
        task.cancel()
    await settle()
    clock.advance(1)
    await settle()
    assert waiting[2].done()


async def test_a_change_of_the_settings_reaches_what_is_on_its_way(tmp_path: Path) -> None:
    slow = SyncSettings(interval=timedelta(hours=1), bandwidth=1000)
    async with running(tmp_path, sync=slow, upstreams=[FakeUpstream()]) as yard:
        await yard.push(build_image("a", [300_000, 300_000]))
        await yard.until_state("transferring")
        await settle()
        assert yard.part().bytes_done < 20_000
        await _set_bandwidth(yard, 0)
        await yard.until_empty()


async def _set_bandwidth(yard: Yard, limit: int) -> None:
    settings = yard.service._settings
    await yard.service.reload(yard.routes, replace(settings, sync=replace(settings.sync, bandwidth=limit)))
