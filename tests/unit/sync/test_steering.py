"""Pause, resume, cancel, retry, a deleted marker, and what a newer push does to an older one."""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.fake_upstreams import FakeUpstream
from tests.support.images import build_image, build_index
from tests.unit.sync.yard import REPOSITORY, Yard, running, settle
from yarddesk.content.errors import StorageError
from yarddesk.content.upstream import (
    UpstreamBroken,
    UpstreamDenied,
    UpstreamFull,
    UpstreamMissing,
    UpstreamTrouble,
    UpstreamUntrusted,
)
from yarddesk.events import CredentialRequired, JobMoved, JobRemoved, JobStateChanged, PauseChanged
from yarddesk.oci.name import RepositoryName, Tag
from yarddesk.settings.model import Settings, UpstreamSettings
from yarddesk.sync import waiting as waiting_module
from yarddesk.sync.marker import Job, Part
from yarddesk.sync.queue import Queue
from yarddesk.sync.selection import select as select_jobs
from yarddesk.sync.snapshot import OverallState, overall_state
from yarddesk.sync.states import JobState


def held() -> FakeUpstream:
    return FakeUpstream(held=asyncio.Event())


async def sending(yard: Yard) -> None:
    await yard.until(lambda: yard.upstream.sending, "something is being sent")


async def test_pausing_all_stops_what_is_under_way_and_resuming_goes_on(tmp_path: Path) -> None:
    async with running(tmp_path, upstreams=[held()]) as yard:
        await yard.push(build_image("a"))
        await sending(yard)
        assert await yard.service.pause() == 1
        assert yard.upstream.sending == 0
        assert yard.part().state == "paused"
        assert overall_state(yard.service.snapshot()) is OverallState.PAUSED
        await yard.service.resume()
        await sending(yard)
        yard.upstream.release()
        await yard.until_empty()


async def test_a_pause_is_kept_over_a_restart(tmp_path: Path) -> None:
    async with running(tmp_path) as yard:
        await yard.service.pause()
        await yard.push(build_image("a"))
        await yard.restart()
        assert yard.part().state == "paused"
        await yard.service.resume()
        await yard.until_empty()


async def test_one_image_is_paused_and_others_go_on(tmp_path: Path) -> None:
    async with running(tmp_path, upstreams=[held()]) as yard:
        await yard.push(build_image("a"), "v1")
        await sending(yard)
        assert await yard.service.pause("team/app:v1") == 1
        yard.upstream.release()
        await yard.push(build_image("b"), "v2")
        await yard.until(lambda: not yard.job("team/app:v2"))
        assert json.loads(yard.marker().read_text())["upstreams"]["corp"]["state"] == "paused"
        await yard.restart()
        assert yard.part().state == "paused"
        assert yard.job().paused
        await yard.service.resume("team/app:v1")
        await yard.until_empty()


async def test_one_upstream_is_paused_and_the_other_goes_on(tmp_path: Path) -> None:
    async with running(tmp_path, upstreams=[FakeUpstream(), FakeUpstream(name="mirror")]) as yard:
        assert await yard.service.pause("mirror") == 1
        manifest = await yard.push(build_image("a"))
        await yard.until_state("done", upstream="corp")
        assert yard.part(upstream="mirror").state == "paused"
        await yard.restart()
        assert yard.part(upstream="mirror").state == "paused"
        assert yard.part(upstream="corp").state == "done"
        await yard.service.resume("mirror")
        await yard.until_empty()
        assert await yard.upstreams[1].tag_of("team/app", "v1") == manifest.digest


async def test_a_pause_for_some_time_ends_by_itself(tmp_path: Path) -> None:
    async with running(tmp_path) as yard:
        await yard.service.pause(for_seconds=1800)
        await yard.push(build_image("a"))
        await settle()
        assert yard.service.snapshot().paused_until is not None
        yard.clock.advance(1700)
        await settle()
        assert yard.part().state == "paused"
        yard.clock.advance(101)
        await yard.until_empty()
        assert [event.paused for event in yard.seen if isinstance(event, PauseChanged)] == [True, False]


async def test_a_pause_of_one_image_for_some_time_ends_by_itself(tmp_path: Path) -> None:
    async with running(tmp_path, upstreams=[held()]) as yard:
        await yard.push(build_image("a"))
        await yard.service.pause("team/app", for_seconds=60)
        await yard.restart()
        yard.upstream.release()
        assert yard.part().state == "paused"
        yard.clock.advance(61)
        await yard.until_empty()


async def test_what_is_moved_up_goes_before_all_others_and_stays_there(tmp_path: Path) -> None:
    other = RepositoryName.parse("other/app")
    async with running(tmp_path) as yard:
        await yard.service.pause()
        for tag in ("v1", "v2", "v3"):
            await yard.push(build_image(tag), tag)
        for tag in ("a", "b"):
            await yard.push(build_image(tag), tag, repository=other)
        assert await yard.service.move_up("team/app:v3") == 1
        assert await yard.service.move_up("other/app") == 2
        order = ["other/app:a", "other/app:b", "team/app:v3", "team/app:v1", "team/app:v2"]
        assert [job.id for job in yard.service.snapshot().jobs] == order
        assert [event.job_id for event in yard.seen if isinstance(event, JobMoved)] == [order[2], *order[:2]]
        assert json.loads(yard.marker("a", "other/app").read_text())["priority"] == 2
        assert "priority" not in json.loads(yard.marker("v1").read_text())
        await yard.restart()
        await yard.push(build_image("newer"), "v3")
        await yard.push(build_image("last"), "v4")
        assert [job.id for job in yard.service.snapshot().jobs] == [*order, "team/app:v4"]
        await yard.service.resume()
        await yard.until_empty()
        begun = dict.fromkeys(of for what, _, of in yard.upstream.log if what == "resolve" and ":" not in of)
        assert list(begun)[:3] == ["a", "b", "v3"]


async def test_moving_up_neither_stops_what_runs_nor_shortens_a_wait(tmp_path: Path) -> None:
    upstream = held()
    async with running(tmp_path, upstreams=[upstream]) as yard:
        upstream.fault = lambda _, of: (
            UpstreamTrouble("corp", "oops", temporary=True, status=500) if of == "bad" else None
        )
        await yard.push(build_image("bad"), "bad")
        await yard.until_state("waiting", "team/app:bad")
        await yard.push(build_image("a"))
        await sending(yard)
        tries = yard.part("team/app:bad").tries
        assert await yard.service.move_up("team/app") == 2
        await settle()
        assert upstream.sending
        assert not upstream.cut_off
        assert (yard.part("team/app:bad").state, yard.part("team/app:bad").tries) == ("waiting", tries)
        upstream.release()
        await yard.until(lambda: not yard.job())
        assert await yard.service.move_up("team/app:gone") == 0
        upstream.fault = None
        yard.clock.advance(301)
        await yard.until_empty()


async def test_what_can_not_be_written_is_not_moved_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(tmp_path) as yard:
        await yard.service.pause()
        for tag in ("v1", "v2"):
            await yard.push(build_image(tag), tag)
        with monkeypatch.context() as patched:

            def full(*_: object) -> None:
                raise OSError(28, "No space left on device")

            patched.setattr("yarddesk.storage.state_files.write_durably", full)
            with pytest.raises(StorageError):
                await yard.service.move_up("team/app:v2")
        assert [job.priority for job in yard.service.snapshot().jobs] == [0, 0]
        assert not any(isinstance(event, JobMoved) for event in yard.seen)


async def test_cancel_ends_a_transfer_at_once_and_leaves_no_marker(tmp_path: Path) -> None:
    async with running(tmp_path, upstreams=[held()]) as yard:
        await yard.push(build_image("a"))
        await sending(yard)
        began = time.monotonic()
        assert await yard.service.cancel("team/app:v1") == 1
        assert time.monotonic() - began < 1
        assert yard.upstream.sending == 0
        assert not yard.marker().exists()
        assert not yard.service.snapshot().jobs
        assert yard.service.history()[0].outcome is JobState.CANCELLED
        assert [event.outcome for event in yard.seen if isinstance(event, JobRemoved)] == ["cancelled"]


async def test_cancelling_at_one_upstream_leaves_the_other(tmp_path: Path) -> None:
    upstreams = [FakeUpstream(away=True), FakeUpstream(name="mirror", away=True)]
    async with running(tmp_path, upstreams=upstreams) as yard:
        await yard.push(build_image("a"))
        await yard.until_state("waiting", upstream="corp")
        assert await yard.service.cancel("corp") == 1
        assert yard.part(upstream="corp").state == "cancelled"
        assert yard.part(upstream="mirror").state == "waiting"
        await yard.service.cancel("mirror")
        assert not yard.service.snapshot().jobs


async def test_deleting_the_marker_by_hand_cancels_at_once(tmp_path: Path) -> None:
    async with running(tmp_path, upstreams=[held()]) as yard:
        await yard.push(build_image("a"))
        await sending(yard)
        yard.marker().unlink()
        await yard.until_empty()
        await yard.until(lambda: not yard.upstream.sending, "nothing is sent any more")
        await yard.until(yard.service.history)
        assert "deleted" in yard.service.history()[0].reason


async def test_deleting_a_whole_folder_of_markers_cancels_them_all(tmp_path: Path) -> None:

    async with running(tmp_path, upstreams=[FakeUpstream(away=True)]) as yard:
        await yard.service.pause()  # nothing is written there while it's deleted
        for tag in ("v1", "v2", "v3"):
            await yard.push(build_image(tag), tag)
        shutil.rmtree(tmp_path / "pending" / "team")
        await yard.until_empty()
        await yard.push(build_image("v4"), "v4")
        assert yard.marker("v4").is_file()


async def test_the_scan_notices_what_the_watch_did_not(tmp_path: Path) -> None:
    async with running(tmp_path, upstreams=[FakeUpstream(away=True)]) as yard:
        await yard.push(build_image("a"))
        yard.service._watch.stop()
        yard.marker().unlink()
        yard.clock.advance(3600)
        await yard.until_empty()


async def test_a_newer_push_of_a_tag_wins_while_the_older_is_being_sent(tmp_path: Path) -> None:
    async with running(tmp_path, upstreams=[held()]) as yard:
        older = await yard.push(build_image("older"))
        await sending(yard)
        newer = await yard.push(build_image("newer"))
        assert yard.job().generation == 2
        yard.upstream.release()
        await yard.until_empty()
        assert await yard.upstream.tag_of("team/app", "v1") == newer.digest
        entries = {entry.digest: entry.outcome for entry in yard.service.history()}
        assert entries == {older.digest: JobState.CANCELLED, newer.digest: JobState.DONE}


async def test_a_push_while_the_older_is_being_tagged_is_not_taken_for_done_with_it(tmp_path: Path) -> None:
    upstream = FakeUpstream(stops={"tag": asyncio.Event()})
    async with running(tmp_path, upstreams=[upstream]) as yard:
        await yard.push(build_image("older"))
        await yard.until(lambda: upstream.asked["tag"])
        newer = await yard.push(build_image("newer"))
        upstream.stops["tag"].set()
        await yard.until_empty()
        assert await upstream.tag_of("team/app", "v1") == newer.digest


async def test_a_newer_push_that_shares_a_layer_goes_on_with_what_is_halfway_through(tmp_path: Path) -> None:
    async with running(tmp_path, upstreams=[held()]) as yard:
        image = build_image("same")
        from tests.support.images import Image, manifest_of

        newer = Image(
            manifest_of(image.config, image.layers, annotations={"build": "2"}), image.config, image.layers, ""
        )
        await yard.push(image)
        await yard.until(lambda: yard.upstream.sending == 3)
        await yard.push(newer)
        await settle(100)
        assert yard.upstream.cut_off == 0
        yard.upstream.release()
        await yard.until_empty()
        assert yard.upstream.asked["push"] == 3
        assert await yard.upstream.tag_of("team/app", "v1") == newer.manifest.digest


async def test_the_same_image_pushed_again_while_it_is_sent_goes_on(tmp_path: Path) -> None:
    async with running(tmp_path, upstreams=[held()]) as yard:
        await yard.push(build_image("a"))
        await sending(yard)
        await yard.push(build_image("a"))
        assert yard.part().state == "transferring"
        yard.upstream.release()
        await yard.until_empty()
        assert [entry.outcome for entry in yard.service.history()] == [JobState.DONE]


async def test_an_upstream_that_is_away_is_asked_ever_less_often_and_by_one_image_alone(tmp_path: Path) -> None:
    async with running(tmp_path, upstreams=[FakeUpstream(away=True)]) as yard:
        for number in range(20):
            await yard.push(build_image(f"image-{number}"), f"v{number}")
        await yard.until(
            lambda: all(part.state == "waiting" for job in yard.service.snapshot().jobs for part in job.parts)
        )
        assert overall_state(yard.service.snapshot()) is OverallState.OFFLINE
        waits = []
        for _ in range(8):
            await settle()
            asked = yard.upstream.asked.total()
            alarm = (yard.part("team/app:v0").next_attempt - yard.clock.now()).total_seconds()
            waits.append(alarm)
            yard.clock.advance(alarm + 0.01)
            await yard.until(lambda asked=asked: yard.upstream.asked.total() > asked)
            await settle()
            assert yard.upstream.asked.total() == asked + 1
        assert all(5 <= wait <= 300 for wait in waits)
        assert max(waits) > 60
        yard.upstream.away = False
        assert await yard.service.retry() == 20
        await yard.until_empty()


async def test_retry_after_is_honoured(tmp_path: Path) -> None:
    busy = [UpstreamTrouble("corp", "busy", temporary=True, status=429, retry_after_seconds=120)]
    upstream = FakeUpstream(fault=lambda _what, _of: busy.pop() if busy else None)
    async with running(tmp_path, upstreams=[upstream]) as yard:
        await yard.push(build_image("a"))
        part = await yard.until_state("waiting")
        assert (part.next_attempt - yard.clock.now()).total_seconds() == 120
        asked = upstream.asked.total()
        yard.clock.advance(119)
        await settle()
        assert upstream.asked.total() == asked
        yard.clock.advance(1.1)
        await yard.until_empty()


async def test_trouble_with_one_image_does_not_hold_up_another(tmp_path: Path) -> None:
    def fault(what: str, of: str) -> Exception | None:
        return UpstreamTrouble("corp", "oops", temporary=True, status=500) if (what, of) == ("tag", "bad") else None

    async with running(tmp_path, upstreams=[FakeUpstream(fault=fault)]) as yard:
        await yard.push(build_image("a"), "bad")
        await yard.push(build_image("b"), "good")
        await yard.until(lambda: not yard.job("team/app:good"))
        part = await yard.until_state("waiting", "team/app:bad")
        assert "oops" in part.reason
        assert part.tries == 1


async def test_a_connection_that_breaks_is_that_images_trouble_alone(tmp_path: Path) -> None:
    def fault(what: str, of: str) -> Exception | None:
        return UpstreamBroken("corp", "cut off", temporary=True) if (what, of) == ("tag", "bad") else None

    async with running(tmp_path, upstreams=[FakeUpstream(fault=fault)]) as yard:
        await yard.push(build_image("bad"), "bad")
        await yard.until_state("waiting", "team/app:bad")
        assert [each.state for each in yard.service.snapshot().upstreams] == ["ok"]
        await yard.push(build_image("good"), "good")
        await yard.until(lambda: not yard.job("team/app:good"))
        assert (yard.part("team/app:bad").tries, yard.part("team/app:bad").reason) == (1, "cut off")


async def test_a_certificate_that_is_not_trusted_needs_a_person_but_no_password(tmp_path: Path) -> None:
    trusted = [False]

    def fault(*_: object) -> Exception | None:
        return None if trusted[0] else UpstreamUntrusted("corp", "The certificate is not trusted.")

    async with running(tmp_path, upstreams=[FakeUpstream(fault=fault, reachable=False)]) as yard:
        for number in range(10):
            await yard.push(build_image(f"image-{number}"), f"v{number}")
        await yard.until(
            lambda: all(part.state == "blocked" for job in yard.service.snapshot().jobs for part in job.parts)
        )
        assert yard.upstream.asked.total() <= 4, "one that may be anybody is not asked for every image"
        parts = [part for job in yard.service.snapshot().jobs for part in job.parts]
        assert {(part.reason, part.needs_credentials) for part in parts} == {("The certificate is not trusted.", False)}
        (health,) = yard.service.snapshot().upstreams
        assert (health.state, health.needs_credentials) == ("needs_you", False)
        assert not any(isinstance(event, CredentialRequired) for event in yard.seen)
        asked = yard.upstream.asked.total()
        yard.clock.advance(50)
        await yard.until(lambda: yard.upstream.probed, "it is looked whether it can be trusted by now")
        await settle()
        assert yard.upstream.asked.total() == asked
        trusted[0] = yard.upstream.reachable = True
        yard.clock.advance(10)
        await yard.until_empty()


@pytest.mark.parametrize("kind", [UpstreamMissing, UpstreamFull])
async def test_what_a_person_must_put_right_over_there_blocks_one_image_and_goes_on_by_itself(
    tmp_path: Path, kind: type[UpstreamMissing | UpstreamFull]
) -> None:
    wrong = [True]

    def fault(what: str, of: str) -> Exception | None:
        return (
            kind("corp", "not so", "Put it right.", status=404) if wrong[0] and (what, of) == ("tag", "bad") else None
        )

    async with running(tmp_path, upstreams=[FakeUpstream(fault=fault)]) as yard:
        await yard.push(build_image("bad"), "bad")
        await yard.until_state("blocked", "team/app:bad")
        part = yard.part("team/app:bad")
        assert (part.reason, part.needs_credentials) == ("not so Put it right.", False)
        await yard.push(build_image("good"), "good")
        await yard.until(lambda: not yard.job("team/app:good"))
        wrong[0] = False
        yard.clock.advance(1801)
        await yard.until_empty()


async def test_a_slow_upstream_holds_up_no_other(tmp_path: Path) -> None:
    async with running(tmp_path, upstreams=[held(), FakeUpstream(name="mirror")]) as yard:
        for number in range(6):
            await yard.push(build_image(f"image-{number}", [100] * 6), f"v{number}")
        await yard.until(
            lambda: all(part.state == "done" for job in yard.service.snapshot().jobs for part in job.parts[1:])
        )


async def test_denied_needs_a_person_and_goes_on_once_tried_again(tmp_path: Path) -> None:
    denied = [True]
    upstream = FakeUpstream(fault=lambda *_: UpstreamDenied("corp", "no password", status=401) if denied[0] else None)
    async with running(tmp_path, upstreams=[upstream]) as yard:
        for number in range(10):
            await yard.push(build_image(f"image-{number}"), f"v{number}")
        await yard.until(
            lambda: all(part.state == "blocked" for job in yard.service.snapshot().jobs for part in job.parts)
        )
        assert upstream.asked.total() <= 4, "credentials that are refused are not tried for every image"
        assert yard.part().needs_credentials
        assert yard.service.snapshot().upstreams[0].needs_credentials
        assert overall_state(yard.service.snapshot()) is OverallState.NEEDS_YOU
        assert any(isinstance(event, CredentialRequired) for event in yard.seen)
        denied[0] = False
        await yard.service.retry("corp")
        await yard.until_empty()


async def test_what_was_deleted_here_leaves_the_queue_with_a_line_in_the_history(tmp_path: Path) -> None:
    async with running(tmp_path, upstreams=[FakeUpstream(away=True)]) as yard:
        manifest = await yard.push(build_image("a"))
        await yard.until_state("waiting")
        await yard.store.delete_manifest(REPOSITORY, manifest.digest)
        yard.upstream.away = False
        await yard.service.retry()
        await yard.until_empty()
        assert "deleted here" in yard.service.history()[0].reason
        assert [event.outcome for event in yard.seen if isinstance(event, JobRemoved)] == ["gone"]


async def test_deleting_a_tag_or_manifest_cancels_its_jobs(tmp_path: Path) -> None:
    async with running(tmp_path, upstreams=[FakeUpstream(away=True)]) as yard:
        first = await yard.push(build_image("a"), "v1", "v2")
        await yard.push(build_image("b"), "v3")
        await yard.service.tag_deleted(REPOSITORY, Tag.parse("v3"))
        assert {job.id for job in yard.service.snapshot().jobs} == {"team/app:v1", "team/app:v2"}
        await yard.service.manifest_deleted(REPOSITORY, first.digest, (Tag.parse("v1"), Tag.parse("v2")))
        assert not yard.service.snapshot().jobs


async def test_events_tell_the_states_in_order(tmp_path: Path) -> None:
    async with running(tmp_path) as yard:
        await yard.push(build_image("a"))
        await yard.until_empty()
        steps = [(event.old, event.new) for event in yard.seen if isinstance(event, JobStateChanged)]
        assert steps == [
            ("queued", "preparing"),
            ("preparing", "transferring"),
            ("transferring", "committing"),
            ("committing", "done"),
        ]


async def test_the_same_revision_is_the_same_snapshot(tmp_path: Path) -> None:
    async with running(tmp_path, upstreams=[FakeUpstream(away=True)]) as yard:
        await yard.push(build_image("a"))
        await yard.until_state("waiting")
        assert yard.service.snapshot() is yard.service.snapshot()
        before = yard.service.snapshot()
        await yard.service.pause()
        assert yard.service.snapshot().revision > before.revision


async def test_waiting_tells_when_an_image_is_upstream_and_why_it_can_not_be(tmp_path: Path) -> None:
    async with running(tmp_path, upstreams=[held()]) as yard:
        await yard.push(build_image("a"))
        waiting = [
            asyncio.create_task(yard.service.wait_synced(target)) for target in (None, "team/app:v1", "team/app")
        ]
        await settle()
        assert not any(task.done() for task in waiting)
        yard.upstream.release()
        assert all(outcome.synced for outcome in await asyncio.gather(*waiting))
        assert (await yard.service.wait_synced("team/app:v1")).synced
        assert "not here" in (await yard.service.wait_synced("team/app:v9")).reason
        yard.upstream.away = True
        await yard.push(build_image("b"), "v2")
        cancelled = asyncio.create_task(yard.service.wait_synced("team/app:v2"))
        await settle()
        await yard.service.cancel("team/app:v2")
        assert "cancelled" in (await cancelled).reason
        assert "ancelled" in (await yard.service.wait_synced("team/app:v2")).reason


async def test_waiting_looks_only_at_what_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(tmp_path) as yard:
        await yard.service.pause()
        for number in range(30):
            await yard.push(build_image("same"), f"v{number}")
        waiting = [asyncio.create_task(yard.service.wait_synced(target)) for target in (None, "corp", "team/app")]
        await settle()
        looks = 0
        selected = select_jobs

        def select(queue: Queue, target: str | None) -> dict[Job, list[Part]]:
            nonlocal looks
            looks += 1
            return selected(queue, target)

        monkeypatch.setattr(waiting_module, "select", select)
        await yard.service.resume()
        assert all(outcome.synced for outcome in await asyncio.gather(*waiting))
        assert looks <= 12, "at the upstream's state and at the end, not at each event"


async def test_waiting_for_all_hears_of_what_is_pushed_meanwhile_and_can_not_be_synced(tmp_path: Path) -> None:
    def fault(_what: str, of: str) -> Exception | None:
        return UpstreamDenied("corp", "not yours", status=403) if of == "secret" else None

    async with running(tmp_path, upstreams=[FakeUpstream(fault=fault, held=asyncio.Event())]) as yard:
        await yard.push(build_image("a"))
        waiting = [asyncio.create_task(yard.service.wait_synced(target)) for target in (None, "corp", "team/app")]
        await sending(yard)
        await yard.push(build_image("b"), "secret")
        assert all("not yours" in outcome.reason for outcome in await asyncio.gather(*waiting))


async def test_waiting_for_a_platform_that_its_index_carries(tmp_path: Path) -> None:
    async with running(tmp_path, upstreams=[held()]) as yard:
        index = build_index("multi")
        await yard.push(index)
        waiting = asyncio.create_task(yard.service.wait_synced(f"team/app@{index.images[0].manifest.digest}"))
        await settle()
        assert not waiting.done()
        yard.upstream.release()
        assert (await waiting).synced


async def test_waiting_where_nothing_is_pushed_to_says_so(tmp_path: Path) -> None:
    async with running(tmp_path, upstreams=[FakeUpstream(push=False)]) as yard:
        await yard.push(build_image("a"))
        assert not yard.service.snapshot().jobs
        assert "no push upstream" in (await yard.service.wait_synced("team/app:v1")).reason


async def test_the_loop_owns_no_transfer_after_the_end(tmp_path: Path) -> None:
    before = asyncio.all_tasks()
    async with running(tmp_path, upstreams=[held()]) as yard:
        await yard.push(build_image("a"))
        await sending(yard)
        began = time.monotonic()
    assert time.monotonic() - began < 5
    assert asyncio.all_tasks() == before
    assert json.loads(yard.marker().read_text())["upstreams"]["corp"]["state"] == "queued"


async def test_an_upstream_that_was_renamed_takes_over_the_jobs_of_the_old_name(tmp_path: Path) -> None:
    async with running(tmp_path, upstreams=[FakeUpstream(away=True)]) as yard:
        await yard.push(build_image("a"))
        yard.routes.upstreams[:] = [FakeUpstream(name="new")]
        await yard.service.reload(yard.routes, yard.service._settings)
        await yard.until_empty()
        assert await yard.upstreams[0].tag_of("team/app", "v1")


@pytest.mark.parametrize("after", [("second", "first"), ("second", "third"), ("first", "third")])
async def test_whatever_upstreams_are_called_later_each_gets_what_it_lacks(
    tmp_path: Path, after: Sequence[str]
) -> None:
    def named(names: Sequence[str]) -> Settings:
        return Settings(
            tmp_path, upstreams=tuple(UpstreamSettings(f"{n}.example", name) for n, name in enumerate(names))
        )

    lacking, having = FakeUpstream(name="first", away=True), FakeUpstream(name="second")
    async with running(tmp_path, upstreams=[lacking, having]) as yard:
        await yard.service.reload(yard.routes, named(["first", "second"]))
        manifest = await yard.push(build_image("a"))
        await yard.until(lambda: yard.part(upstream="second").state == "done", "one has it")
        lacking.name, having.name = after
        await yard.service.reload(yard.routes, named(after))
        assert yard.part(upstream=after[1]).state == "done"
        assert set(json.loads(yard.marker().read_text())["upstreams"]) == set(after)
        lacking.away = False
        await yard.service.retry()
        await yard.until_empty()
        assert await lacking.tag_of("team/app", "v1") == manifest.digest


async def test_an_upstream_that_is_gone_from_the_settings_blocks_and_one_that_is_back_goes_on(tmp_path: Path) -> None:
    upstream = FakeUpstream(away=True)
    async with running(tmp_path, upstreams=[upstream]) as yard:
        await yard.push(build_image("a"))
        yard.routes.upstreams[:] = []
        await yard.service.reload(yard.routes, yard.service._settings)
        assert yard.part().state == "blocked"
        assert "settings" in yard.part().reason
        upstream.away = False
        yard.routes.upstreams[:] = [upstream]
        await yard.service.reload(yard.routes, yard.service._settings)
        await yard.until_empty()


async def test_a_machine_that_slept_tries_at_once(tmp_path: Path) -> None:
    async with running(tmp_path, upstreams=[FakeUpstream(away=True)]) as yard:
        await yard.push(build_image("a"))
        await yard.until_state("waiting")
        yard.upstream.away, yard.upstream.reachable = False, False
        yard.clock.advance(8 * 3600, sleeping=True)
        yard.clock.advance(1)
        await yard.until_empty()
        assert yard.upstream.forgotten == 1, "the connections of before are dead"


async def test_other_repositories_are_not_met(tmp_path: Path) -> None:
    async with running(tmp_path, upstreams=[FakeUpstream(away=True)]) as yard:
        await yard.push(build_image("a"), repository=RepositoryName.parse("team/app-two"))
        await yard.push(build_image("a"))
        assert await yard.service.cancel("team/app") == 1
        assert await yard.service.cancel("nothing/here") == 0
        assert await yard.service.pause("localhost:5050/team/app-two:v1") == 1


async def test_a_marker_in_a_folder_that_was_made_just_now_can_be_deleted_too(tmp_path: Path) -> None:
    async with running(tmp_path, upstreams=[FakeUpstream(away=True)]) as yard:
        image = build_image("a")
        for number in range(30):
            await yard.push(image, repository=RepositoryName.parse(f"team{number}/app"))
            yard.marker(repository=f"team{number}/app").unlink()
        await yard.until(lambda: not yard.service.snapshot().jobs, f"{yard.service.snapshot().jobs}")


async def test_a_folder_that_is_deleted_is_not_mistaken_for_a_tag_of_that_name(tmp_path: Path) -> None:
    async with running(tmp_path, upstreams=[FakeUpstream(away=True)]) as yard:
        await yard.service.pause()
        await yard.push(build_image("a"), "app", repository=RepositoryName.parse("team"))
        await yard.push(build_image("b"), "v1")
        shutil.rmtree(tmp_path / "pending" / "team" / "app")
        await yard.until(lambda: [job.id for job in yard.service.snapshot().jobs] == ["team:app"])
