"""The window looks as often as there is something to see, and leaves nothing behind."""

import asyncio
import gc
import re
import time
import weakref
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from PySide6.QtTest import QSignalSpy

from tests.gui.front import Front
from tests.support.fake_yard import MB, FakeYard, job, part, progress
from yarddesk.events import CredentialRequired, SettingsChanged, StorageChanged
from yarddesk.sync.snapshot import JobSnapshot
from yarddesk.sync.states import JobState


def moving(done: int = 10) -> JobSnapshot:
    return job("a:1", part(JobState.TRANSFERRING, progress=progress(done * MB, 340 * MB, rate=MB)))


async def reads_within(yard: FakeYard, seconds: float) -> int:
    before = yard.sync.reads
    await asyncio.sleep(seconds)
    return yard.sync.reads - before


def test_while_something_moves_and_somebody_looks_there_are_four_snapshots_a_second(with_front, yard):
    async def body(front: Front):
        await front.show_snapshot(jobs=(moving(),))
        assert 2 <= await reads_within(yard, 1.1) <= 5

    with_front(body)


def test_nothing_is_read_while_nothing_moves(with_front, yard):
    async def body(front: Front):
        assert await reads_within(yard, 1.2) == 0
        await front.show_snapshot(jobs=(job("a:1", part(JobState.QUEUED)),))
        assert await reads_within(yard, 1.2) == 0

    with_front(body)


def test_a_try_that_was_put_off_without_a_word_shows_its_new_time(with_front, yard):
    async def body(front: Front):
        due = part(JobState.WAITING, next_attempt=datetime.now(UTC), reason="no answer")
        await front.show_snapshot(jobs=(job("a:1", due),))
        later = replace(due, next_attempt=datetime.now(UTC) + timedelta(minutes=4))
        yard.sync.shown = replace(yard.sync.shown, revision=50, jobs=(job("a:1", later),))
        await front.shows(lambda: "Next try in 4 min: no answer" in front.rows()[0].status)

    with_front(body)


def test_what_pulls_fetch_is_shown_while_it_comes_and_only_then(with_front, yard):
    async def body(front: Front):
        assert "from upstreams" not in front.text()
        yard.traffic.fill_begun()
        await front.shows(lambda: "1 layer on the way from upstreams" in front.text())

        async def comes() -> None:
            while True:
                yard.traffic.fill_received(100_000)
                await asyncio.sleep(0.05)

        coming = asyncio.create_task(comes())
        await front.shows(lambda: re.search(r"from upstreams, at [12](\.\d)? MB/s", front.text()))
        assert max(front.shell.bridge.throughput.values(time.monotonic())) > 1e6
        assert 2 <= await reads_within(yard, 1.1) <= 6
        coming.cancel()
        yard.traffic.fill_ended(whole=True)
        await front.shows(lambda: "from upstreams" not in front.text())
        await front.settle()
        assert await reads_within(yard, 1.2) == 0

    with_front(body)


def test_nothing_is_read_while_nobody_looks(with_front, yard):
    async def body(front: Front):
        await front.show_snapshot(jobs=(moving(),))
        front.window.close()
        await front.settle()
        assert not front.window.isVisible()
        assert await reads_within(yard, 1.2) == 0

    with_front(body)


def test_a_rush_of_events_is_ten_updates_a_second_at_most(with_front, yard):
    async def body(front: Front):
        changes = QSignalSpy(front.shell.bridge.snapshot_changed)
        end = asyncio.get_running_loop().time() + 1.0
        done = 0
        while asyncio.get_running_loop().time() < end:
            done += 1
            yard.sync.show(jobs=(moving(done % 300),))
            await asyncio.sleep(0.002)
        assert 2 <= changes.count() <= 11

    with_front(body)


def test_a_snapshot_that_is_as_before_is_not_told(with_front, yard):
    async def body(front: Front):
        changes = QSignalSpy(front.shell.bridge.snapshot_changed)
        yard.tell(StorageChanged(used_bytes=1))
        await front.shows(lambda: "14.2 GB" in front.text())
        front.shell.bridge.refresh()
        await asyncio.sleep(0.3)
        assert changes.count() == 0

    with_front(body)


def test_a_window_that_comes_back_shows_what_happened_meanwhile(with_front, yard):
    async def body(front: Front):
        front.window.close()
        await front.settle()
        yard.sync.shown = replace(yard.sync.shown, revision=50, jobs=(moving(),))
        front.shell.show_window()
        await front.shows(lambda: len(front.rows()) == 1)

    with_front(body)


def test_what_was_fetched_while_nobody_looked_is_not_shown_as_of_this_moment(with_front, yard):
    async def body(front: Front):
        front.window.close()
        await front.settle()
        yard.traffic.fill_begun()
        yard.traffic.fill_received(10**9)
        yard.traffic.fill_ended(whole=True)
        front.shell.show_window()
        await front.shows(lambda: front.window.isVisible() and front.shell.bridge.is_watched)
        await front.settle()
        assert max(front.shell.bridge.throughput.values(time.monotonic())) == 0

    with_front(body)


def test_the_window_leaves_no_subscription_and_no_object_behind(on_loop, yard):
    async def body():
        remains = []
        for _ in range(3):
            async with Front(yard) as front:
                await front.show_snapshot(jobs=(moving(),))
                for page in ("upstreams", "activity", "setup", "queue"):
                    front.window.show_page(page)
                await front.settle()
                assert yard.events.subscribers == 1
                remains.append(weakref.ref(front.shell))
            assert yard.events.subscribers == 0
            assert yard.show_window is None
        del front
        await asyncio.sleep(0.05)
        gc.collect()
        assert [each() for each in remains] == [None, None, None]

    on_loop(body)


def test_events_after_the_end_reach_nobody(on_loop, yard):
    async def body():
        async with Front(yard):
            pass
        yard.tell(SettingsChanged())
        yard.tell(CredentialRequired(upstream="registry.corp", registry="registry.corp"))
        assert await reads_within(yard, 0.3) == 0

    on_loop(body)
