"""What rows and the headline say, for each state that an image can be in."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from tests.support.fake_yard import MB, digest, entry, job, part, progress
from yarddesk.desktop.dialogs.details import history_details, job_details
from yarddesk.desktop.models.headline import headline
from yarddesk.desktop.models.queue import activity_lines, queue_lines
from yarddesk.desktop.models.row import Tone, history_row, job_row, layer_row
from yarddesk.desktop.models.throughput import ThroughputLog
from yarddesk.oci.name import RepositoryName
from yarddesk.progress import LayerProgress, LayerState
from yarddesk.sync.snapshot import HistoryEntry, JobSnapshot, OverallState, SendPlan, SyncSnapshot
from yarddesk.sync.states import JobState

NOW = datetime(2026, 11, 24, 15, 30, tzinfo=UTC)


def snapshot(
    *jobs: JobSnapshot,
    recent: Sequence[HistoryEntry] = (),
    paused: bool = False,
    until: datetime | None = None,
    rate: float = 0.0,
) -> SyncSnapshot:
    return SyncSnapshot(1, paused, until, tuple(jobs), tuple(recent), (), rate)


def test_a_transfer_says_how_far_how_fast_and_how_long():
    row = job_row(
        job("team/app:1", part(JobState.TRANSFERRING, progress=progress(212 * MB, 340 * MB, rate=18 * MB))), NOW
    )
    assert row.status == "212 of 340 MB · 18 MB/s · 7 s left"
    assert row.destination == "registry.corp"
    assert row.fraction == pytest.approx(212 / 340)
    assert row.tone is Tone.ACTIVE


def test_a_transfer_that_stands_still_promises_nothing():
    row = job_row(job("team/app:1", part(JobState.TRANSFERRING, progress=progress(212 * MB, 340 * MB))), NOW)
    assert row.status == "212 of 340 MB"


def test_layers_are_summed_up():
    layers = (
        LayerProgress(digest("a"), 10, 10, LayerState.THERE),
        LayerProgress(digest("b"), 10, 10, LayerState.THERE),
        LayerProgress(digest("c"), 10, 10, LayerState.MOUNTED),
        LayerProgress(digest("d"), 10, 10, LayerState.SENT),
        LayerProgress(digest("e"), 10, 5, LayerState.SENDING),
    )
    row = job_row(job("a:1", part(JobState.TRANSFERRING, progress=progress(45, 50, layers=layers))), NOW)
    assert row.aside == "2 layers there · 1 mounted · 1 of 2 sent"


def test_waiting_says_which_try_comes_when_why_and_what_is_kept():
    waits = part(
        JobState.WAITING,
        tries=2,
        next_attempt=NOW + timedelta(seconds=40),
        reason="the connection was reset.",
        progress=progress(12 * MB, 61 * MB),
    )
    row = job_row(job("tools/lint:7", waits), NOW)
    assert row.status == "Try 3 in 40 s: the connection was reset · 12 of 61 MB there"
    assert row.tone is Tone.WAITING
    away = part(JobState.WAITING, next_attempt=NOW + timedelta(seconds=40), reason="no answer")
    assert job_row(job("tools/lint:7", away), NOW).status == "Next try in 40 s: no answer"


@pytest.mark.parametrize(
    ("state", "begins", "tone"),
    [
        (JobState.QUEUED, "In line", Tone.QUIET),
        (JobState.PREPARING, "Asking registry.corp", Tone.ACTIVE),
        (JobState.COMMITTING, "All there", Tone.ACTIVE),
        (JobState.PAUSED, "Paused", Tone.QUIET),
        (JobState.BLOCKED, "Needs you: it said no.", Tone.NEEDS_YOU),
        (JobState.FAILED, "Failed: it said no.", Tone.NEEDS_YOU),
        (JobState.CANCELLING, "Cancelling", Tone.QUIET),
    ],
)
def test_each_state_has_its_words_and_its_tone(state, begins, tone):
    row = job_row(job("a:1", part(state, reason="it said no")), NOW)
    assert row.status.startswith(begins)
    assert row.tone is tone
    assert row.glyph


def test_with_several_upstreams_the_one_that_needs_the_person_speaks_and_is_named():
    two = job(
        "a:1",
        part(JobState.TRANSFERRING, progress=progress(50, 100)),
        part(JobState.BLOCKED, "ghcr.io", reason="no rights", needs_credentials=True),
    )
    row = job_row(two, NOW)
    assert row.status == "ghcr.io: Needs you: no rights."
    assert row.destination == "registry.corp and ghcr.io"


def test_what_a_registry_says_is_shown_as_text_on_one_line():
    row = job_row(job("a:1", part(JobState.FAILED, reason="<b>no</b>\n\x1b[31mreally\u202e")), NOW)
    assert row.status == "Failed: <b>no</b> [31mreally."


def test_a_layer_shows_its_own_progress_only_while_it_goes():
    sending = layer_row(LayerProgress(digest("a"), 100 * MB, 40 * MB, LayerState.SENDING))
    there = layer_row(LayerProgress(digest("a"), 100 * MB, 100 * MB, LayerState.THERE))
    assert sending.fraction == pytest.approx(0.4)
    assert sending.aside == "40 of 100 MB"
    assert (there.fraction, there.aside, there.status) == (None, "100 MB", "was there")


def test_history_says_what_was_sent_and_what_was_there():
    assert history_row(entry("a:1", at=NOW), NOW).status == "sent 12 MB, 328 MB were there"
    assert history_row(entry("a:1", at=NOW, bytes_sent=0), NOW).status == "all 328 MB were there"
    partly = history_row(entry("a:1", at=NOW, reason="Without what is about it (0123): no"), NOW)
    assert partly.status == "sent 12 MB, 328 MB were there · Without what is about it (0123): no"
    failed = history_row(entry("a:1", at=NOW, outcome=JobState.FAILED, reason="the name was refused"), NOW)
    assert failed.status == "Failed: the name was refused"
    cancelled = entry("a:1", at=NOW, outcome=JobState.CANCELLED, reason="Cancelled.")
    assert history_row(cancelled, NOW).status == "Cancelled"


def test_what_failed_before_it_arrived_is_told_with_the_rest():
    late = entry("a:1", at=NOW, error="registry.corp is in trouble. [503]")
    assert "A try before failed: registry.corp is in trouble. [503]" in history_row(late, NOW).explained
    assert "a try failed: registry.corp is in trouble. [503]" in history_details(late, NOW)
    assert "failed" not in history_details(entry("a:1", at=NOW), NOW)


def test_who_could_not_be_told_of_an_arrival_is_named_and_that_it_arrived():
    untold = entry(
        "a:1", at=NOW, outcome=JobState.FAILED, hook="webhook", reason="hooks.corp answered with status 500."
    )
    row = history_row(untold, NOW)
    assert row.status == "Arrived, but the webhook failed: hooks.corp answered with status 500."
    assert (row.tone, row.aside) == (Tone.NEEDS_YOU, "15:30")
    assert "sync.on_synced.webhook" in history_details(untold, NOW)


def test_what_there_is_to_send_is_told_before_it_goes():
    known, said = SendPlan(1200 * MB, 40 * MB, 16 * MB), "1.2 GB there · 40 MB can be mounted · 16 MB to send"
    asking = job("a:1", part(JobState.PREPARING, plan=known, progress=progress(0, 16 * MB)))
    assert job_row(asking, NOW).status == said
    assert job_row(asking, NOW).explained.count(said) == 1
    assert said in job_row(asking, NOW).spoken
    sending = job("a:1", part(JobState.TRANSFERRING, plan=known, progress=progress(0, 16 * MB)))
    assert job_row(sending, NOW).aside == ""
    assert said in job_row(sending, NOW).explained
    assert said in job_details(sending, NOW)


@pytest.mark.parametrize(
    ("state", "told"), [(JobState.QUEUED, "In line"), (JobState.PAUSED, "Paused")], ids=["in line", "paused"]
)
def test_what_waits_says_what_there_is_to_send_or_else_how_large_it_is(state: JobState, told: str):
    asked = part(state, plan=SendPlan(1200 * MB, 0, 16 * MB), size=1216 * MB)
    assert job_row(job("a:1", asked), NOW).status == f"{told} · 1.2 GB there · 16 MB to send"
    assert job_row(job("a:1", part(state, size=240 * MB)), NOW).status == f"{told} · 240 MB"
    assert job_row(job("a:1", part(state)), NOW).status == told


def test_the_details_tell_size_and_plan():
    asked = part(JobState.QUEUED, plan=SendPlan(1200 * MB, 0, 16 * MB), size=1216 * MB)
    lines = job_details(job("a:1", asked), NOW).splitlines()
    assert "  bytes   1.2 GB" in lines
    assert "  plan    1.2 GB there · 16 MB to send" in lines


def test_a_screen_reader_hears_the_whole_row():
    row = job_row(
        job("team/app:1", part(JobState.TRANSFERRING, progress=progress(212 * MB, 340 * MB, rate=18 * MB))), NOW
    )
    assert row.spoken.startswith("team/app:1 to registry.corp. 212 of 340 MB · 18 MB/s")


def test_the_headline_answers_whether_all_is_well():
    going = job("a:1", part(JobState.TRANSFERRING, progress=progress(100 * MB, 340 * MB)))
    away = job("a:1", part(JobState.WAITING))
    refused = job("a:1", part(JobState.BLOCKED, needs_credentials=True))
    stuck = job("a:1", part(JobState.FAILED))
    assert headline(snapshot(), NOW).line == "Nothing waits"
    assert headline(snapshot(recent=(entry("a:1", at=NOW),)), NOW).line == "All synced · 15:30"
    assert headline(snapshot(going, rate=24 * MB), NOW).line == "Syncing 1 image · 240 MB · 10 s left"
    assert headline(snapshot(going), NOW).line == "Syncing 1 image · 240 MB left"
    assert headline(snapshot(away), NOW).line == "Waiting for registry.corp · 1 image waits"
    assert headline(snapshot(refused), NOW).line == "registry.corp asks you to sign in"
    assert headline(snapshot(stuck), NOW).line == "1 image needs you"
    both = snapshot(refused, paused=True, until=NOW + timedelta(hours=2))
    assert headline(both, NOW).line == "registry.corp asks you to sign in · paused until 17:30"
    paused = headline(snapshot(going, paused=True, until=NOW + timedelta(hours=2)), NOW)
    assert (paused.state, paused.line) == (OverallState.PAUSED, "Paused until 17:30 · 1 image waits")
    held = replace(snapshot(job("a:1", part(JobState.PAUSED))), paused_repositories={RepositoryName.parse("a"): None})
    assert headline(held, NOW).line == "Paused: a · 1 image waits"


def test_the_queues_lines_are_its_images_and_what_was_synced_today():
    recent = (
        entry("b:1", at=NOW),
        entry("c:1", at=NOW, outcome=JobState.CANCELLED),
        entry("d:1", at=NOW - timedelta(days=1)),
    )
    lines = queue_lines(snapshot(job("a:1", part(JobState.QUEUED)), recent=recent), NOW)
    assert [line.key.split(":")[0] for line in lines] == ["job", "title", "done"]


def test_activity_is_by_day_and_found_by_outcome_and_by_words():
    entries = [
        entry("team/app:2", at=NOW),
        entry("team/base:1", at=NOW, outcome=JobState.FAILED, reason="the name was refused"),
        entry("team/app:1", at=NOW - timedelta(days=1)),
    ]
    titles = [line.subject for line in activity_lines(entries, NOW) if isinstance(line.subject, str)]
    assert titles == ["Today", "Yesterday"]
    assert len(activity_lines(entries, NOW, outcomes=frozenset({JobState.FAILED}))) == 2
    assert len(activity_lines(entries, NOW, text="app TEAM")) == 4
    assert len(activity_lines(entries, NOW, text="refused name")) == 2
    assert activity_lines(entries, NOW, text="nowhere") == []


def test_throughput_is_kept_for_two_minutes_and_no_longer():
    log = ThroughputLog()
    log.record(1000.0, 10.0)
    log.record(1000.5, 20.0)
    log.record(1003.0, 40.0)
    assert log.values(1003.0)[-2:] == (15.0, 40.0)
    assert len(log.values(1003.0)) == 60
    assert not log.is_flat(1100.0)
    assert log.is_flat(1125.0)
    assert set(log.values(1125.0)) == {0.0}
