"""What became of jobs is kept over restarts, bounded, and survives a torn line."""

from __future__ import annotations

import asyncio
import errno
import json
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.support.fake_upstreams import FakeUpstream
from tests.support.images import build_image
from tests.unit.storage.gate import Gate
from tests.unit.sync.yard import Yard, running, settle
from yarddesk.content.upstream import UpstreamTrouble
from yarddesk.oci.digest import Digest
from yarddesk.oci.name import RepositoryName, Tag
from yarddesk.sync.history import History
from yarddesk.sync.snapshot import HistoryEntry
from yarddesk.sync.states import JobState

REPOSITORY = RepositoryName.parse("team/app")
PLACE = "registry.corp/team/app"


def entry(number: int, outcome: JobState = JobState.DONE) -> HistoryEntry:
    return HistoryEntry(
        repository=REPOSITORY,
        reference=Tag.parse(f"v{number}"),
        digest=Digest.of(b"%d" % number),
        upstream="corp",
        registry="registry.corp",
        outcome=outcome,
        at=datetime(2026, 1, 1, tzinfo=UTC),
        seconds=1.5,
        bytes_sent=10,
        bytes_saved=5,
        tries=2,
        reason="“ja”",
        error="“nein”",
        replaced=Digest.of(b"old"),
        place=PLACE,
    )


async def test_entries_come_back_after_a_restart_newest_first(tmp_path: Path) -> None:
    history = History(tmp_path / "history.jsonl")
    await history.add(entry(1), entry(2))
    await history.add(entry(3))
    again = History(tmp_path / "history.jsonl")
    await again.load()
    assert list(again.recent(10)) == [entry(3), entry(2), entry(1)]
    assert list(again.recent(1)) == [entry(3)]
    assert again.latest(REPOSITORY, Tag.parse("v2"), "corp", PLACE) == entry(2)
    assert again.latest(REPOSITORY, Tag.parse("v2"), "mirror", PLACE) is None
    assert again.latest(REPOSITORY, Tag.parse("v2"), "corp", "registry.other/team/app") is None


async def test_it_is_bounded_in_memory_and_on_disk(tmp_path: Path) -> None:
    history = History(tmp_path / "history.jsonl", kept=10)
    for number in range(55):
        await history.add(entry(number))
    assert len(history.recent(1000)) == 10
    assert len((tmp_path / "history.jsonl").read_text().splitlines()) <= 21
    assert history.latest(REPOSITORY, Tag.parse("v3"), "corp", PLACE) is None
    again = History(tmp_path / "history.jsonl", kept=10)
    await again.load()
    assert list(again.recent(10)) == list(history.recent(10))


async def test_who_is_cancelled_while_it_writes_lets_nobody_else_write_before_that_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    history = History(tmp_path / "history.jsonl")
    await history.add(entry(1))
    with monkeypatch.context() as patch:
        gate = Gate(patch, "write")
        left = asyncio.ensure_future(history.add(entry(2)))
        try:
            await gate.reached()
            left.cancel()
            other = asyncio.ensure_future(history.add(entry(3)))
            await settle(20)
            assert not left.done()
        finally:
            gate.open()
        await asyncio.wait([left, other])
    again = History(tmp_path / "history.jsonl")
    await again.load()
    assert list(again.recent(10)) == [entry(3), entry(2), entry(1)]


async def test_a_torn_line_costs_that_line_alone(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    history = History(path)
    await history.add(entry(1), entry(2))
    path.write_bytes(path.read_bytes()[:-20])
    again = History(path)
    await again.load()
    assert list(again.recent(10)) == [entry(1)]
    await again.add(entry(3))
    last = History(path)
    await last.load()
    assert list(last.recent(10)) == [entry(3), entry(1)]


async def test_a_line_that_was_cut_off_does_not_swallow_the_next(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    history = History(path)
    await history.add(entry(1))
    with path.open("ab") as file:
        file.write(b'{"at": "2026')
    await history.add(entry(2))
    again = History(path)
    await again.load()
    assert list(again.recent(10)) == [entry(2), entry(1)]


async def restarted(yard: Yard) -> None:
    """It was down for 30 s; a process that begins later has another monotonic clock, which says nothing of that."""
    await yard.service.stop()
    yard.clock.advance(30, sleeping=True)
    await yard.restart()


async def test_what_was_sent_before_a_restart_in_the_middle_counts_and_so_does_the_time(tmp_path: Path) -> None:
    image, may = build_image("a"), asyncio.Event()
    async with running(tmp_path, upstreams=[FakeUpstream(stops={"push_manifest": may})]) as yard:
        await yard.push(image)
        await yard.until(lambda: yard.upstream.asked["push_manifest"], "all but the manifest is there")
        yard.clock.advance(10)
        await restarted(yard)
        await yard.until(lambda: yard.upstream.asked["push_manifest"] == 2, "it goes on")
        yard.clock.advance(5)
        may.set()
        await yard.until_empty()
        (done,) = yard.service.history()
        assert done.bytes_sent == sum(len(blob.content) for blob in image.blobs)
        assert done.seconds == 45


async def test_what_was_sent_before_a_restart_while_it_waited_counts_and_so_does_the_time(tmp_path: Path) -> None:
    image, trouble = build_image("a"), [UpstreamTrouble("corp", "busy", temporary=True, status=503)]
    fault = lambda what, _of: trouble.pop() if what == "push_manifest" and trouble else None  # noqa: E731
    async with running(tmp_path, upstreams=[FakeUpstream(fault=fault)]) as yard:
        await yard.push(image)
        await yard.until_state("waiting")
        marked = json.loads(yard.marker().read_text())["upstreams"]["corp"]
        assert marked["bytes_sent"] == sum(len(blob.content) for blob in image.blobs)
        yard.clock.advance(2)
        for _ in range(2):
            await restarted(yard)
        await yard.service.retry()
        await yard.until_empty()
        (done,) = yard.service.history()
        assert (done.bytes_sent, done.seconds) == (marked["bytes_sent"], 62)


async def test_a_marker_that_can_not_be_written_at_the_end_costs_the_counts_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    image, may = build_image("a"), asyncio.Event()

    def no_room(*_: object) -> bool:
        raise OSError(errno.ENOSPC, "No space left on device")

    async with running(tmp_path, upstreams=[FakeUpstream(stops={"push_manifest": may})]) as yard:
        await yard.push(image)
        await yard.until(lambda: yard.upstream.asked["push_manifest"], "all but the manifest is there")
        with monkeypatch.context() as patch:
            patch.setattr("yarddesk.sync.journal.rewrite_marker", no_room)
            await yard.service.stop()
        assert "less than was sent" in caplog.text
        await yard.restart()
        may.set()
        await yard.until_empty()
        assert yard.service.history()[0].bytes_sent == 0


async def test_a_clock_that_was_set_back_makes_no_time_below_nothing(tmp_path: Path) -> None:
    async with running(tmp_path, upstreams=[FakeUpstream(away=True)]) as yard:
        await yard.push(build_image("a"))
        await yard.until_state("waiting")
        yard.clock.advance(-3600, sleeping=True)
        await yard.restart()
        yard.upstream.away = False
        await yard.service.retry()
        await yard.until_empty()
        assert yard.service.history()[0].seconds == 0


async def test_what_could_not_be_written_is_written_later_whole_and_once(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    history = History(path)
    await history.add(entry(1))
    with small_disk(path.stat().st_size + 100):
        await history.add(entry(2))
        await history.add(entry(3))
    assert len(path.read_text().splitlines()) == 1
    await history.add(entry(4))
    assert len(path.read_text().splitlines()) == 4
    again = History(path)
    await again.load()
    assert list(again.recent(10)) == [entry(4), entry(3), entry(2), entry(1)]


async def test_what_could_not_be_written_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    history = History(path, kept=10)
    with small_disk(0):
        for number in range(30):
            await history.add(entry(number))
    await history.write()
    again = History(path, kept=100)
    await again.load()
    assert list(again.recent(100)) == [entry(number) for number in reversed(range(20, 30))]


async def test_what_could_not_be_written_all_along_is_written_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    async with running(tmp_path) as yard:
        path.mkdir()
        await yard.push(build_image("a"))
        await yard.until(yard.service.history)
        await yard.until_empty()
        path.rmdir()
    again = History(path)
    await again.load()
    assert again.recent(10) == yard.service.history()


async def test_what_a_newer_push_took_the_place_of_is_on_disk_when_that_push_is_answered(tmp_path: Path) -> None:
    async with running(tmp_path) as yard:
        await yard.service.pause()
        older, newer = await yard.push(build_image("a")), await yard.push(build_image("b"))
        again = History(tmp_path / "history.jsonl")
        await again.load()
        [line] = again.recent(10)
        assert (line.digest, line.upstream, line.outcome) == (older.digest, "corp", JobState.CANCELLED)
        assert newer.digest.short in line.reason


async def test_why_earlier_tries_failed_is_kept_with_what_became_of_it_over_restarts(tmp_path: Path) -> None:
    trouble = UpstreamTrouble("corp", "registry.corp is in trouble.", "out of cheese", temporary=True, status=500)
    async with running(tmp_path) as yard:
        yard.upstream.fault = lambda what, _: trouble if what == "push_manifest" else None
        await yard.push(build_image("a"))
        await yard.until_state("waiting")
        await yard.restart()
        yard.upstream.fault = None
        yard.clock.advance(400)
        await yard.until_empty()
        await yard.push(build_image("b"))
        await yard.until_empty()
        await yard.restart()
        second, first = yard.service.history()
    assert (first.outcome, first.tries, second.error) == (JobState.DONE, 2, "")
    assert "out of cheese" in first.error


async def test_why_a_try_failed_is_told_also_where_other_settings_held_the_image_up_since(tmp_path: Path) -> None:
    trouble = UpstreamTrouble("corp", "registry.corp is in trouble.", "out of cheese", temporary=True, status=500)
    upstream = FakeUpstream(fault=lambda what, _: trouble if what == "push_manifest" else None)
    async with running(tmp_path, upstreams=[upstream]) as yard:
        await yard.push(build_image("a"))
        await yard.until_state("waiting")
        yard.routes.upstreams.clear()
        await yard.service.reload(yard.routes, yard.service._settings)
        assert "the settings changed" in yard.part().reason
        await yard.restart()
        upstream.fault = None
        yard.routes.upstreams.append(upstream)
        await yard.service.reload(yard.routes, yard.service._settings)
        await yard.until_empty()
        [entry] = yard.service.history()
        assert (entry.outcome, entry.tries) == (JobState.DONE, 2)
        assert "out of cheese" in entry.error


@contextmanager
def small_disk(most_bytes: int) -> Iterator[None]:
    """No file of this process grows beyond that."""
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, before[1][1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before[1])
        signal.signal(signal.SIGXFSZ, before[0])


async def test_what_could_not_be_told_is_a_line_that_says_nothing_of_where_the_image_is(tmp_path: Path) -> None:
    untold = replace(entry(1, JobState.FAILED), hook="webhook", reason="hooks.example.com answered with status 500.")
    async with running(tmp_path) as yard:
        await yard.push(build_image("a"))
        await yard.until_empty()
        arrived = yard.service.history()[0]
        untold = replace(untold, reference=arrived.reference, digest=arrived.digest)
        before = yard.service.snapshot()
        await yard.service.remember(untold)
        assert yard.service.snapshot().recent[0] == untold
        assert yard.service.snapshot().revision != before.revision
        await yard.restart()
        assert list(yard.service.history(2)) == [untold, arrived]
        assert yard.service.latest(arrived.repository, arrived.reference, "corp", arrived.place) == arrived
        assert (await yard.service.wait_synced("team/app:v1")).synced


async def test_it_is_kept_after_what_an_earlier_run_wrote(tmp_path: Path) -> None:
    yard = Yard(tmp_path)
    await History(tmp_path / "history.jsonl").add(entry(1))
    remembering = asyncio.create_task(yard.service.remember(entry(2)))
    await asyncio.sleep(0)
    assert not remembering.done()
    await yard.service.start()
    await remembering
    assert list(yard.service.history()) == [entry(2), entry(1)]
    await yard.service.stop()


@pytest.mark.parametrize("target", [None, "corp", "team/app", "team/app:v1"])
async def test_what_was_sent_before_a_pause_and_a_restart_counts_once_and_so_does_the_time(
    tmp_path: Path, target: str | None
) -> None:
    image, may = build_image("a"), asyncio.Event()
    async with running(tmp_path, upstreams=[FakeUpstream(stops={"push_manifest": may})]) as yard:
        await yard.push(image)
        await yard.until(lambda: yard.upstream.asked["push_manifest"], "all but the manifest is there")
        yard.clock.advance(10)
        assert await yard.service.pause(target)
        await restarted(yard)
        yard.clock.advance(5)
        may.set()
        await yard.service.resume(target)
        await yard.until_empty()
        (done,) = yard.service.history()
        size = sum(len(blob.content) for blob in image.blobs)
        assert (done.bytes_sent, done.bytes_saved, done.seconds) == (size, 0, 45)


@pytest.mark.parametrize("restart", [False, True])
async def test_a_layer_that_is_paused_halfway_counts_once(tmp_path: Path, restart: bool) -> None:
    image, upstream = build_image("a"), FakeUpstream(held=asyncio.Event(), piece_bytes=7)
    async with running(tmp_path, upstreams=[upstream]) as yard:
        await yard.push(image)
        await yard.until(lambda: _sent(yard), "some of it is sent")
        await yard.service.move_up("team/app:v1")
        assert json.loads(yard.marker().read_text())["upstreams"]["corp"]["bytes_sent"] == 0
        assert await yard.service.pause("team/app:v1")
        if restart:
            await restarted(yard)
        upstream.release()
        await yard.service.resume("team/app:v1")
        await yard.until_empty()
        (done,) = yard.service.history()
        assert done.bytes_sent == sum(len(blob.content) for blob in image.blobs)


def _sent(yard: Yard) -> int:
    return sum(part.progress.bytes_sent for job in yard.service.snapshot().jobs for part in job.parts if part.progress)
