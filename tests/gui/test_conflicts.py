"""A tag that somebody else moved upstream: what the row says, and each way to decide about it; and hooks that fail."""

from dataclasses import replace
from itertools import combinations

import pytest
from PySide6.QtCore import QRect
from PySide6.QtGui import QFont, QImage
from PySide6.QtWidgets import QApplication, QMenu

from tests.gui.front import Front
from tests.support.fake_yard import digest, job, part
from yarddesk.desktop.actions import DECISIONS, JobAction, applicable
from yarddesk.desktop.dialogs.confirm import Confirm
from yarddesk.desktop.dialogs.other_tag import OtherTag
from yarddesk.desktop.models.rows_model import Role
from yarddesk.desktop.views import row_layout
from yarddesk.desktop.views.row_delegate import DECIDE, label_of, layout_of
from yarddesk.errors import YarddeskError
from yarddesk.events import HookFailed
from yarddesk.oci.name import Tag
from yarddesk.sync.snapshot import ConflictChoice, JobSnapshot
from yarddesk.sync.states import JobState

A, THEIRS = "team/app:v1", digest("theirs")


def moved() -> JobSnapshot:
    return job(A, part(JobState.BLOCKED, reason="Somebody moved v1 at registry.corp.", conflict=THEIRS))


def decision(choice: ConflictChoice, tag: str | None = None) -> tuple[object, ...]:
    return ("decide", A, choice, None, Tag.parse(tag) if tag else None, 1)


def test_the_row_says_what_somebody_did_and_offers_what_can_be_done(with_front):
    async def body(front: Front):
        await front.show_snapshot(jobs=(moved(),))
        [row] = front.rows()
        assert row.status == f"Needs you: somebody else moved this tag to {THEIRS.short} since it was last seen there."
        assert label_of(moved()) == DECIDE
        assert set(DECISIONS) < set(applicable(moved()))
        assert not set(DECISIONS) & set(applicable(job(A, part(JobState.BLOCKED, reason="no"))))
        front.click_row(0)
        shown = {action for action, button in front.queue.tools.buttons.items() if button.isVisible()}
        assert set(DECISIONS) < shown

    with_front(body)


def test_the_rows_button_opens_a_menu_of_the_three(with_front, yard):
    async def body(front: Front):
        await front.show_snapshot(jobs=(moved(),))
        front.click_row_button(0, DECIDE)
        menu = await front.shows(QApplication.activePopupWidget, "a menu")
        assert isinstance(menu, QMenu)
        texts = {action.text(): action for action in menu.actions()}
        assert list(texts) == ["Keep theirs", "Overwrite…", "Other tag…"]
        texts["Keep theirs"].trigger()
        menu.close()
        await front.settle()
        assert yard.sync.calls == [decision(ConflictChoice.KEEP)]
        assert "won’t be synced" in front.window.toast.text()

    with_front(body)


@pytest.mark.parametrize("points", [0.0, 7.0, 13.0, 18.0])
def test_nothing_in_the_row_touches_or_clips_anything_else_in_the_smallest_window(with_front, qapp, points):
    font = qapp.font()
    larger = QFont(font)
    if points:
        larger.setPointSizeF(points)

    async def body(front: Front):
        front.window.resize(640, 420)
        elsewhere = part(JobState.DONE, "registry.eu-central-1.example-corporation.com:5443")
        await front.show_snapshot(jobs=(moved(), replace(moved(), id="two", parts=(*moved().parts, elsewhere))))
        view, metrics = front.queue.view, row_layout.fonts().small_metrics
        for position, row in enumerate(front.rows()):
            index = view.model().index(position, 0)
            rect = view.visualRect(index)
            where = layout_of(rect, row, index.data(Role.SUBJECT))
            parts = [where.glyph, where.name, where.destination, where.labelled, where.status, where.chevron]
            parts += [button for _, button in where.buttons]
            assert all(rect.adjusted(0, 3, 0, -3).contains(each) for each in parts)
            for one, other in combinations(parts, 2):
                assert not one.adjusted(0, 0, 0, 1).intersects(other), (one, other)
            lines = where.status.height() // metrics.height()
            broken = max(metrics.horizontalAdvance(word) for word in row.status.split()) if lines > 1 else 0
            fits = metrics.horizontalAdvance(row.status) + broken <= where.status.width() * lines
            assert fits or points > 13, "larger than that it's elided, and the tooltip has the whole"
            text = metrics.boundingRect(DECIDE)
            assert where.labelled.width() >= text.width() + 16
            assert where.labelled.height() >= metrics.height()

    qapp.setFont(larger)
    try:
        with_front(body)
    finally:
        qapp.setFont(font)


@pytest.mark.parametrize("ratio", [1, 2])
def test_around_the_button_and_the_words_nothing_else_is_painted(with_front, tokens, ratio):
    def painted(picture: QImage, rect: QRect) -> set[str]:
        columns = range(rect.left() * ratio, (rect.right() + 1) * ratio)
        rows = range(rect.top() * ratio, (rect.bottom() + 1) * ratio)
        assert columns
        assert rows
        return {picture.pixelColor(x, y).name() for x in columns for y in rows}

    async def body(front: Front):
        front.window.resize(640, 420)
        elsewhere = part(JobState.DONE, "ghcr.io")
        await front.show_snapshot(jobs=(moved(), replace(moved(), id="two", parts=(*moved().parts, elsewhere))))
        view, ground = front.queue.view, {tokens.surface.name()}
        picture = QImage(view.viewport().size() * ratio, QImage.Format.Format_RGB32)
        picture.setDevicePixelRatio(ratio)
        view.viewport().render(picture)
        for position, row in enumerate(front.rows()):
            index = view.model().index(position, 0)
            rect = view.visualRect(index)
            where = layout_of(rect, row, index.data(Role.SUBJECT))
            button, words = where.labelled, where.status
            assert painted(picture, QRect(button.left(), button.bottom() + 1, button.width(), 3)) == ground
            assert painted(picture, QRect(button.left(), rect.top(), button.width(), 3)) == ground
            assert painted(picture, button.adjusted(2, 5, 8 - button.width(), -5)) == ground
            assert painted(picture, QRect(words.left(), words.bottom() + 1, words.width(), 3)) == ground
            assert painted(picture, words) > ground
            assert painted(picture, button) > ground

    with_front(body)


def test_overwriting_is_asked_about_and_return_would_leave_it(with_front, yard):
    async def body(front: Front):
        await front.show_snapshot(jobs=(moved(),))
        front.actions.perform(JobAction.OVERWRITE, moved())
        question = front.dialog(Confirm)
        assert THEIRS.short in question._text.text()
        assert "registry.corp" in question._text.text()
        assert question.no_button.isDefault()
        front.click(question.no_button)
        await front.settle()
        assert yard.sync.calls == []
        front.actions.perform(JobAction.OVERWRITE, moved())
        front.click(front.dialog(Confirm).yes_button)
        await front.settle()
        assert yard.sync.calls == [decision(ConflictChoice.OVERWRITE)]

    with_front(body)


def test_another_tag_is_asked_for_until_it_is_one_that_can_be(with_front, yard):
    async def body(front: Front):
        await front.show_snapshot(jobs=(moved(),))
        front.actions.perform(JobAction.OTHER_TAG, moved())
        dialog = front.dialog(OtherTag)
        for text in ("", "v1"):
            dialog.tag.setText(text)
            assert not dialog.sync_button.isEnabled()
        dialog.tag.setText("not a tag")
        front.click(dialog.sync_button)
        assert "is not a tag" in dialog._wrong.text()
        yard.sync.refuse = YarddeskError("team/app:taken is another image here already.")
        dialog.tag.setText("taken")
        front.click(dialog.sync_button)
        await front.settle()
        assert dialog._wrong.text() == "team/app:taken is another image here already."
        yard.sync.refuse = None
        yard.sync.calls.clear()
        dialog.tag.setText("v1-mine")
        front.click(dialog.sync_button)
        await front.settle()
        assert yard.sync.calls == [decision(ConflictChoice.TAG, "v1-mine")]
        assert front.shell.dialogs == ()
        assert front.window.toast.text() == "Syncing as v1-mine"

    with_front(body)


def test_who_could_not_be_told_of_an_arrival_is_named_for_a_moment(with_front, yard):
    async def body(front: Front):
        yard.tell(HookFailed(what="webhook", image=A, reason="example.com answered with status 500."))
        await front.settle()
        said = "team/app:v1 arrived, but the webhook could not be told: example.com answered with status 500."
        assert front.window.toast.text() == f"{said} It’s tried again."
        yard.tell(HookFailed(what="webhook", image=A, reason="example.com answered with status 500.", over=True))
        await front.settle()
        assert front.window.toast.text() == said

    with_front(body)
