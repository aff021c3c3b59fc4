"""A thousand images in the queue: updates stay cheap, and only what is seen is painted."""

import time
from dataclasses import replace
from datetime import datetime

from PySide6.QtWidgets import QStyledItemDelegate

from tests.gui.front import Front
from tests.support.fake_yard import MB, job, part, progress
from yarddesk.desktop.models import row as rows
from yarddesk.sync.snapshot import JobSnapshot
from yarddesk.sync.states import JobState

WAITING = tuple(job(f"load/image-{n}:1", part(JobState.QUEUED)) for n in range(999))


def snapshot_with(done: int) -> tuple[JobSnapshot, ...]:
    return (job("a:1", part(JobState.TRANSFERRING, progress=progress(done * MB, 340 * MB, rate=MB))), *WAITING)


def test_a_thousand_rows_are_followed_without_a_stutter(with_front, yard):
    async def body(front: Front):
        await front.show_snapshot(jobs=snapshot_with(0))
        assert len(front.rows()) == 1000
        began = time.perf_counter()
        for done in range(20):
            yard.sync.shown = replace(yard.sync.shown, revision=1000 + done, jobs=snapshot_with(done))
            front.shell.bridge._read()
        # A frame at 60 Hz is 16 ms; this machine is shared, so the bound is a loose one.
        assert (time.perf_counter() - began) / 20 < 0.05

    with_front(body)


def test_only_rows_that_are_seen_are_put_into_words_and_painted(with_front, yard, monkeypatch):
    made: list[str] = []
    original = rows.job_row

    def counted(image: JobSnapshot, now: datetime) -> rows.Row:
        made.append(image.id)
        return original(image, now)

    monkeypatch.setattr("yarddesk.desktop.models.rows_model.job_row", counted)

    async def body(front: Front):
        await front.show_snapshot(jobs=snapshot_with(0))
        front.window.repaint()
        assert 0 < len(made) < 60
        made.clear()
        await front.show_snapshot(jobs=snapshot_with(1))
        front.window.repaint()
        assert len(made) == 1
        assert isinstance(front.queue.view.itemDelegate(), QStyledItemDelegate)

    with_front(body)


def test_the_place_in_the_list_is_kept_while_rows_above_come_and_go(with_front, yard):
    async def body(front: Front):
        await front.show_snapshot(jobs=snapshot_with(0))
        view = front.queue.view
        view.choose("job:load/image-500:1")
        chosen = view.current_job()
        await front.show_snapshot(jobs=snapshot_with(0)[10:])
        assert view.current_job() == chosen

    with_front(body)
