"""What was out of reach is back: an upstream that answers again, a machine that slept, a person who put something right."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from tests.support.fake_upstreams import FakeUpstream
from tests.support.images import build_image
from tests.unit.sync.yard import REPOSITORY, Yard, running, settle
from yarddesk.content.clock import SystemClock
from yarddesk.content.upstream import UpstreamDenied, UpstreamRefused
from yarddesk.events import CredentialRequired, JobStateChanged
from yarddesk.oci.name import RepositoryName
from yarddesk.sync.schedule import LONGEST_BACKOFF_SECONDS
from yarddesk.sync.states import JobState

PROBE_SECONDS = 0.5


async def rests(yard: Yard) -> None:
    """What came of the tries is written down, and none goes on."""
    await yard.until(lambda: not yard.service._worker.attempts, "no try goes on")
    await settle()


async def let_pass(yard: Yard, seconds: float, *, trying: bool = False) -> None:
    """In steps of a probe's time, each with room for what follows from it; trying: some try goes on all the while."""
    for _ in range(round(seconds / PROBE_SECONDS)):
        yard.clock.advance(PROBE_SECONDS)
        await settle()
        if not trying:
            await rests(yard)


async def all_wait(yard: Yard) -> None:
    await yard.until(lambda: {part.state for job in yard.service.snapshot().jobs for part in job.parts} == {"waiting"})
    await rests(yard)


async def test_an_upstream_that_is_back_is_noticed_within_a_second_and_no_try_is_counted(tmp_path: Path) -> None:
    async with running(tmp_path, upstreams=[FakeUpstream(away=True)]) as yard:
        for number in range(20):
            await yard.push(build_image(f"a{number}", [10]), f"v{number}")
        await all_wait(yard)
        asked = yard.upstream.asked.total()
        await let_pass(yard, 700)
        assert yard.upstream.asked.total() == asked, "a probe that says no spares the try"
        assert yard.upstream.probed <= 700 / PROBE_SECONDS
        assert {part.tries for job in yard.service.snapshot().jobs for part in job.parts} == {0}
        assert not any(isinstance(event, JobStateChanged) and event.new == "preparing" for event in yard.seen[100:])
        yard.upstream.away = False
        yard.clock.advance(1)
        await yard.until_empty()
        assert {entry.tries for entry in yard.service.history()} == {1}


async def test_the_next_try_that_is_shown_stays_ahead_while_it_is_probed(tmp_path: Path) -> None:
    async with running(tmp_path, upstreams=[FakeUpstream(away=True)]) as yard:
        await yard.push(build_image("a"))
        await all_wait(yard)
        for _ in range(100):
            await let_pass(yard, 5)
            shown = yard.part()
            assert shown.state == "waiting"
            assert shown.next_attempt is not None
            left = (shown.next_attempt - yard.clock.now()).total_seconds()
            assert 0 < left <= LONGEST_BACKOFF_SECONDS


async def test_who_answers_probes_and_is_away_all_the_same_is_not_believed_again_before_a_no(tmp_path: Path) -> None:
    async with running(tmp_path, upstreams=[FakeUpstream(away=True, reachable=True)]) as yard:
        await yard.push(build_image("a"))
        await all_wait(yard)
        await yard.until(lambda: yard.upstream.asked.total() == 1)
        await let_pass(yard, 1)
        await yard.until(lambda: yard.upstream.asked.total() == 2, "the first probe is believed")
        await all_wait(yard)
        await let_pass(yard, 4.5)
        assert yard.upstream.asked.total() == 2, "the second is not"
        yard.upstream.reachable = False
        await let_pass(yard, 5.5)
        yard.upstream.away, yard.upstream.reachable = False, True
        await let_pass(yard, 5.5)
        await yard.until_empty()


async def test_who_is_doubted_is_tried_ever_less_often(tmp_path: Path) -> None:
    async with running(tmp_path, upstreams=[FakeUpstream(away=True, reachable=True)]) as yard:
        await yard.push(build_image("a"))
        await all_wait(yard)
        await let_pass(yard, 1200)
        await all_wait(yard)
        assert 4 <= yard.upstream.asked.total() <= 30
        assert yard.part().tries == 0


async def test_paused_and_empty_lanes_are_not_probed_and_other_upstreams_go_on(tmp_path: Path) -> None:
    away, there = FakeUpstream("away", away=True), FakeUpstream("there")
    async with running(tmp_path, upstreams=[away, there]) as yard:
        await yard.push(build_image("a"))
        await yard.until_state("done", upstream="there")
        await yard.until_state("waiting", upstream="away")
        await rests(yard)
        await let_pass(yard, 5)
        await yard.service.pause("away")
        probed = away.probed
        assert probed
        await let_pass(yard, 60)
        assert away.probed == probed
        asked = away.asked.total()
        await yard.service.resume("away")
        await yard.until(lambda: away.asked.total() > asked, "the try that was due meanwhile")
        await yard.until_state("waiting", upstream="away")
        await rests(yard)
        await let_pass(yard, 2)
        assert away.probed > probed
        await yard.service.cancel()
        probed = away.probed
        await let_pass(yard, 60)
        assert away.probed == probed


async def test_a_probe_that_hangs_holds_up_neither_others_nor_the_stop(tmp_path: Path) -> None:
    class Hanging(FakeUpstream):
        async def is_reachable(self) -> bool:
            self.probed += 1
            await asyncio.Event().wait()
            return False

    hanging, back = Hanging("hanging", away=True), FakeUpstream("back", away=True)
    async with running(tmp_path, upstreams=[hanging, back]) as yard:
        await yard.push(build_image("a"))
        await all_wait(yard)
        asked = hanging.asked.total()
        await let_pass(yard, 5)
        assert hanging.probed <= 6
        back.away = False
        await let_pass(yard, 1)
        await yard.until_state("done", upstream="back")
        await let_pass(yard, LONGEST_BACKOFF_SECONDS)
        assert hanging.asked.total() > asked, "without an answer to the probes its tries go on as they would without"


async def test_a_person_can_try_at_once_what_is_away(tmp_path: Path) -> None:
    async with running(tmp_path, upstreams=[FakeUpstream(away=True, reachable=False)]) as yard:
        await yard.push(build_image("a"))
        await all_wait(yard)
        yard.upstream.away = False
        await yard.service.retry("team/app:v1")
        await yard.until_empty()


async def test_what_waited_for_an_upstream_is_tried_at_once_after_a_restart(tmp_path: Path) -> None:
    async with running(tmp_path, upstreams=[FakeUpstream(away=True, reachable=False)]) as yard:
        await yard.push(build_image("a"))
        await all_wait(yard)
        await yard.until(lambda: '"away": true' in yard.marker().read_text())
        yard.upstream.away = False
        await yard.restart()
        await yard.until_empty()


async def test_sleep_cuts_what_was_on_its_way_and_it_goes_on_at_once_without_counting_a_try(tmp_path: Path) -> None:
    async with running(tmp_path, upstreams=[FakeUpstream(held=asyncio.Event())]) as yard:
        await yard.push(build_image("a"))
        await yard.until(lambda: yard.upstream.sending, "blobs are on their way")
        yard.clock.advance(3600, sleeping=True)
        yard.clock.advance(1)
        await yard.until(lambda: yard.upstream.cut_off, "the transfers of before are cut")
        await yard.until(lambda: yard.upstream.sending, "they begin again")
        assert yard.upstream.forgotten == 1
        yard.upstream.release()
        await yard.until_empty()
        assert [entry.tries for entry in yard.service.history()] == [1]


async def test_the_machines_own_clock_counts_no_sleep_while_it_is_awake() -> None:
    clock = SystemClock()
    before = clock.slept()
    assert not await clock.wait(asyncio.Event(), 0.05)
    assert clock.slept() == pytest.approx(before, abs=1.0)


async def test_time_that_goes_by_awake_and_a_clock_that_is_set_are_no_sleep(tmp_path: Path) -> None:
    async with running(tmp_path, upstreams=[FakeUpstream(held=asyncio.Event())]) as yard:
        await yard.push(build_image("a"))
        await yard.until(lambda: yard.upstream.sending)
        await let_pass(yard, 60, trying=True)
        yard.clock._now += timedelta(hours=8)
        await let_pass(yard, 60, trying=True)
        assert (yard.upstream.forgotten, yard.upstream.cut_off) == (0, 0)
        yard.upstream.release()
        await yard.until_empty()


async def test_what_is_refused_is_looked_at_ever_less_often_without_a_flicker_and_goes_on_once_it_may(
    tmp_path: Path,
) -> None:
    wrong = [True]

    def fault(what: str, of: str) -> Exception | None:
        if what == "push_manifest" and wrong[0]:
            return UpstreamRefused("corp", "corp does not take the manifest.", "The tag is immutable.", status=409)
        return None

    async with running(tmp_path, upstreams=[FakeUpstream(fault=fault)]) as yard:
        await yard.push(build_image("a"))
        await yard.until_state("blocked")
        await rests(yard)
        sent = yard.upstream.asked["push"]
        yard.seen.clear()
        for looks, seconds in ((2, 60), (3, 120), (4, 240)):
            yard.clock.advance(seconds - 1)
            await settle()
            assert yard.upstream.asked["push_manifest"] == looks - 1
            yard.clock.advance(1)
            await yard.until(lambda looks=looks: yard.upstream.asked["push_manifest"] == looks)
            await rests(yard)
            assert yard.part().state == "blocked"
            assert "immutable" in yard.part().reason
        assert not [event for event in yard.seen if isinstance(event, JobStateChanged)]
        assert yard.upstream.asked["push"] == sent, "a look sends nothing again"
        outcome = await asyncio.wait_for(yard.service.wait_synced("team/app:v1"), 5)
        assert not outcome.synced
        wrong[0] = False
        yard.clock.advance(480)
        await yard.until_empty()
        assert [entry.outcome for entry in yard.service.history()] == [JobState.DONE]


@pytest.mark.parametrize("status", [401, 403])
async def test_who_is_not_let_in_asks_again_seldom_quietly_and_for_a_sign_in_once(tmp_path: Path, status: int) -> None:
    wrong = [True]

    def fault(what: str, of: str) -> Exception | None:
        return UpstreamDenied("corp", "corp refused the password.", status=status) if wrong[0] else None

    async with running(tmp_path, upstreams=[FakeUpstream(fault=fault)]) as yard:
        await yard.push(build_image("a"))
        await yard.until_state("blocked")
        await rests(yard)
        asked = yard.upstream.asked.total()
        await let_pass(yard, 290)
        assert yard.upstream.asked.total() == asked, "a wrong password locks accounts"
        await let_pass(yard, 15)
        await yard.until(lambda: yard.upstream.asked.total() == asked + 1)
        await rests(yard)
        assert yard.part().state == "blocked"
        assert yard.part().needs_credentials
        assert sum(isinstance(event, CredentialRequired) for event in yard.seen) == 1
        wrong[0] = False
        yard.clock.advance(601)
        await yard.until_empty()


async def test_a_person_who_tries_what_is_blocked_sees_that_it_is_tried(tmp_path: Path) -> None:
    wrong, stop = [True], asyncio.Event()

    def fault(what: str, of: str) -> Exception | None:
        return UpstreamRefused("corp", "No.", status=400) if what == "push_manifest" and wrong[0] else None

    async with running(tmp_path, upstreams=[FakeUpstream(fault=fault)]) as yard:
        await yard.push(build_image("a"))
        await yard.until_state("blocked")
        await rests(yard)
        wrong[0] = False
        yard.upstream.stops["push_manifest"] = stop
        await yard.service.retry()
        await yard.until_state("committing")
        stop.set()
        await yard.until_empty()


async def test_what_an_upstream_refuses_shows_that_it_is_there(tmp_path: Path) -> None:
    def fault(what: str, of: str) -> Exception | None:
        return UpstreamDenied("corp", "You may not do this.", status=403)

    async with running(tmp_path, upstreams=[FakeUpstream(away=True, fault=fault)]) as yard:
        await yard.push(build_image("a"))
        await all_wait(yard)
        yard.upstream.away = False
        await let_pass(yard, 1)
        await yard.until_state("blocked")
        await rests(yard)
        assert yard.service.snapshot().upstreams[0].state == "ok"
        yard.upstream.fault = None
        await yard.push(build_image("b"), repository=RepositoryName.parse("team/other"))
        await yard.until(lambda: len(yard.service.snapshot().jobs) == 1)
        assert REPOSITORY in yard.service.snapshot().jobs[0].id
