"""What a person does reaches the controller: by mouse, by keyboard, by menu."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from PySide6.QtCore import Qt

from tests.gui.front import Front
from tests.support.fake_yard import MB, entry, job, part, progress
from yarddesk.content.target import NotFound
from yarddesk.desktop.actions import JobAction, applicable, tomorrow_morning
from yarddesk.desktop.dialogs.confirm import Confirm
from yarddesk.desktop.dialogs.details import Details
from yarddesk.desktop.views.row_view import CHEVRON
from yarddesk.oci.name import ImageReference
from yarddesk.sync.errors import NothingToTry
from yarddesk.sync.snapshot import JobSnapshot
from yarddesk.sync.states import JobState

A, B = "team/app:1", "team/base:1"


def two() -> tuple[JobSnapshot, JobSnapshot]:
    moving = part(JobState.TRANSFERRING, progress=progress(10 * MB, 20 * MB, rate=MB))
    waiting = part(JobState.WAITING, tries=1, next_attempt=datetime.now(UTC) + timedelta(minutes=1))
    return job(A, moving), job(B, waiting)


@pytest.mark.parametrize(
    ("state", "more", "expected"),
    [
        (JobState.QUEUED, {}, {JobAction.PAUSE, JobAction.CANCEL}),
        (JobState.TRANSFERRING, {}, {JobAction.PAUSE, JobAction.CANCEL}),
        (JobState.WAITING, {}, {JobAction.RETRY, JobAction.PAUSE, JobAction.CANCEL}),
        (JobState.BLOCKED, {"needs_credentials": True}, {JobAction.SIGN_IN, JobAction.RETRY, JobAction.CANCEL}),
        (JobState.BLOCKED, {"needs_settings": True}, {JobAction.OPEN_SETTINGS, JobAction.RETRY, JobAction.CANCEL}),
        (JobState.FAILED, {}, {JobAction.RETRY, JobAction.CANCEL}),
        (JobState.CANCELLING, {}, set()),
    ],
)
def test_an_image_offers_what_makes_sense_for_it(state, more, expected):
    always = {JobAction.DETAILS, JobAction.COPY_NAME, JobAction.COPY_DIGEST}
    assert set(applicable(job(A, part(state, **more)))) == expected | always


def test_a_paused_image_offers_to_go_on():
    offered = applicable(job(A, part(JobState.PAUSED), paused=True))
    assert JobAction.RESUME in offered
    assert JobAction.PAUSE not in offered


def test_an_image_of_a_paused_repository_offers_to_let_the_repository_go_on(with_front, yard):
    held = replace(job(A, part(JobState.PAUSED)), repository_paused=True)
    assert JobAction.PAUSE not in applicable(held)

    async def body(front: Front):
        await front.show_snapshot(jobs=(held,))
        front.click_row_button(0, JobAction.RESUME)
        await front.settle()
        assert yard.sync.calls == [("resume", held.repository)]

    with_front(body)


def test_a_rows_buttons_do_what_they_say(with_front, yard):
    async def body(front: Front):
        await front.show_snapshot(jobs=two())
        front.click_row_button(0, JobAction.PAUSE)
        front.click_row_button(1, JobAction.RETRY)
        front.click_row_button(1, JobAction.CANCEL)
        await front.settle()
        assert yard.sync.calls == [("pause", A, None), ("retry", B), ("cancel", B)]
        await front.shows(lambda: len(front.rows()) == 1)
        assert "won’t be synced" in front.window.toast.text()

    with_front(body)


def test_a_press_on_one_row_and_a_release_on_another_does_nothing(with_front, yard):
    from PySide6.QtTest import QTest

    async def body(front: Front):
        await front.show_snapshot(jobs=two())
        view = front.queue.view
        first = view.button_rect(view.model().index(0, 0), JobAction.CANCEL).center()
        second = view.button_rect(view.model().index(1, 0), JobAction.CANCEL).center()
        QTest.mousePress(view.viewport(), Qt.MouseButton.LeftButton, pos=first)
        QTest.mouseRelease(view.viewport(), Qt.MouseButton.LeftButton, pos=second)
        await front.settle()
        assert yard.sync.calls == []

    with_front(body)


def test_a_row_opens_and_closes_by_its_chevron(with_front):
    async def body(front: Front):
        await front.show_snapshot(jobs=two())
        view = front.queue.view
        index = view.model().index(0, 0)
        front.click_row_button(0, CHEVRON)
        assert view.isExpanded(index)
        front.click_row_button(0, CHEVRON)
        assert not view.isExpanded(index)

    with_front(body)


def test_a_key_that_was_meant_for_an_image_that_just_went_hits_no_other(with_front, yard):
    async def body(front: Front):
        await front.show_snapshot(jobs=two())
        front.click_row(0)
        await front.show_snapshot(jobs=two()[1:])
        assert front.queue.view.current_job() is None
        front.press(Qt.Key.Key_Delete)
        await front.settle()
        assert yard.sync.calls == []

    with_front(body)


def test_the_context_menu_has_every_action_of_the_row(with_front, yard):
    async def body(front: Front):
        await front.show_snapshot(jobs=two())
        menu = front.queue.view.context_menu(front.queue.view.model().index(1, 0))
        assert menu is not None
        texts = {action.text(): action for action in menu.actions() if action.text()}
        assert set(texts) == {
            "Try now",
            "Pause",
            "Move up",
            "Cancel",
            "Keep here",
            "Details…",
            "Copy name",
            "Copy digest",
        }
        texts["Try now"].trigger()
        await front.settle()
        assert yard.sync.calls == [("retry", B)]
        menu.close()

    with_front(body)


def test_the_chosen_rows_actions_are_real_buttons(with_front, yard):
    async def body(front: Front):
        await front.show_snapshot(jobs=two())
        tools = front.queue.tools.buttons
        assert not any(button.isVisible() for button in tools.values())
        front.click_row(1)
        assert {action for action, button in tools.items() if button.isVisible()} == {
            JobAction.RETRY,
            JobAction.PAUSE,
            JobAction.MOVE_UP,
            JobAction.CANCEL,
            JobAction.DETAILS,
        }
        assert tools[JobAction.CANCEL].accessibleName() == f"Cancel {B}: Don’t sync this image; it stays here (Del)"
        front.click(tools[JobAction.RETRY])
        await front.settle()
        assert yard.sync.calls == [("retry", B)]

    with_front(body)


def test_what_is_kept_back_is_not_said_to_be_tried(with_front, yard):
    paused = "1 image is kept back. Everything is paused. Resume all of it (yarddesk resume)."

    async def body(front: Front):
        await front.show_snapshot(jobs=two())
        yard.sync.kept = paused
        front.click_row_button(1, JobAction.RETRY)
        await front.settle()
        assert front.window.toast.text() == paused
        front.actions.perform(JobAction.MOVE_UP, two()[1])
        await front.settle()
        assert front.window.toast.text() == f"{B} goes first. {paused}"
        refused = NothingToTry([B], "Everything is paused.", "Resume all of it (yarddesk resume).")
        yard.sync.refuse = refused
        front.actions.retry_all.trigger()
        await front.settle()
        assert f"{refused.title} {refused.hint}" in front.window.banner.text

    with_front(body)


def going_up(*names: str) -> tuple[JobSnapshot, ...]:
    return tuple(job(name, part(JobState.QUEUED)) for name in names)


@pytest.mark.parametrize("way", ["menu", "key", "button"])
def test_an_image_is_moved_up_in_three_ways_and_stays_in_sight(with_front, yard, way):
    names = [f"load/image-{number}:1" for number in range(60)]

    async def body(front: Front):
        view = front.queue.view
        await front.show_snapshot(jobs=going_up(*names))
        view.choose(f"job:{names[50]}")
        view.setFocus()
        if way == "menu":
            menu = view.context_menu(view.currentIndex())
            assert menu is not None
            next(action for action in menu.actions() if action.text() == "Move up").trigger()
            menu.close()
        elif way == "key":
            front.press(Qt.Key.Key_Up, Qt.KeyboardModifier.ControlModifier)
        else:
            front.click(front.queue.tools.buttons[JobAction.MOVE_UP])
        await front.settle()
        assert yard.sync.calls == [("move_up", names[50])]
        assert front.window.toast.text() == f"{names[50]} goes first"
        moved = replace(job(names[50], part(JobState.QUEUED)), priority=1)
        await front.show_snapshot(jobs=(moved, *going_up(*names[:50], *names[51:])))
        assert view.current_job() == moved
        assert front.rows()[0].aside == "moved up"
        assert view.viewport().rect().contains(view.visualRect(view.model().index(0, 0)))
        assert not front.queue.tools.buttons[JobAction.MOVE_UP].isVisible()
        front.press(Qt.Key.Key_Up, Qt.KeyboardModifier.ControlModifier)
        await front.settle()
        assert len(yard.sync.calls) == 1
        assert view.current_job() == moved

    with_front(body)


def test_only_what_could_pass_another_can_be_moved_up():
    first, second = going_up("a:1", "b:1")
    elsewhere = job("c:1", part(JobState.QUEUED, "ghcr.io"))
    blocked = job("d:1", part(JobState.BLOCKED, reason="no"))
    sending = job("e:1", part(JobState.TRANSFERRING, progress=progress(1, 2)))

    def can(image: JobSnapshot, *queue: JobSnapshot) -> bool:
        return JobAction.MOVE_UP in applicable(image, queue)

    assert can(second, first, second)
    assert can(sending, first, sending)
    assert not can(first, first, second)
    assert not can(elsewhere, first, second, elsewhere)
    assert not can(blocked, first, blocked)
    assert not can(second, blocked, second)


def test_pausing_for_a_while(with_front, yard):
    async def body(front: Front):
        for action in front.actions.pause_choices:
            action.trigger()
        await front.settle()
        seconds = [call[2] for call in yard.sync.calls]
        assert seconds[:3] == [None, 1800, 7200]
        now = datetime.now().astimezone()
        assert seconds[3] == pytest.approx((tomorrow_morning(now) - now).total_seconds(), abs=60)
        await front.shows(lambda: front.window.header.pause_button.text() == "Resume")
        front.click(front.window.header.pause_button)
        await front.settle()
        assert yard.sync.calls[-1] == ("resume", None)

    with_front(body)


def test_tomorrow_begins_at_eight():
    late = datetime(2026, 11, 24, 23, 59, tzinfo=UTC)
    assert tomorrow_morning(late) == datetime(2026, 11, 25, 8, 0, tzinfo=UTC)


def test_cancelling_all_asks_first_and_return_keeps_them(with_front, yard):
    async def body(front: Front):
        await front.show_snapshot(jobs=two())
        front.actions.cancel_all.trigger()
        question = front.dialog(Confirm)
        assert question.windowTitle() == "Cancel 2 images?"
        assert question.no_button.isDefault()
        question.reject()
        await front.settle()
        assert yard.sync.calls == []
        front.actions.cancel_all.trigger()
        front.click(front.dialog(Confirm).yes_button)
        await front.settle()
        assert yard.sync.calls == [("cancel", None)]
        assert front.shell.dialogs == ()

    with_front(body)


def test_details_can_be_read_and_copied(with_front, qapp):
    async def body(front: Front):
        await front.show_snapshot(jobs=two())
        front.click_row(1)
        front.click(front.queue.tools.buttons[JobAction.DETAILS])
        details = front.dialog(Details)
        assert "waiting: Try 2 in" in details.text.toPlainText()
        front.click(details.copy_button)
        assert qapp.clipboard().text() == details.text.toPlainText()

    with_front(body)


def test_names_are_copied_as_one_would_pull_them(with_front, qapp):
    async def body(front: Front):
        front.actions.perform(JobAction.COPY_NAME, two()[0])
        assert qapp.clipboard().text() == "localhost:5050/team/app:1"
        front.actions.copy_address.trigger()
        assert qapp.clipboard().text() == "localhost:5050"

    with_front(body)


def test_actions_that_do_not_apply_are_off(with_front):
    async def body(front: Front):
        assert not front.actions.cancel_all.isEnabled()
        assert not front.actions.retry_all.isEnabled()
        assert not front.actions.resume.isEnabled()
        await front.show_snapshot(jobs=two())
        assert front.actions.cancel_all.isEnabled()
        assert front.actions.retry_all.isEnabled()

    with_front(body)


@pytest.mark.parametrize("page", ["queue", "activity"])
def test_an_image_is_pinned_and_let_go_where_it_is_listed(with_front, yard, page):
    yard.sync.entries = [entry(A)]

    async def body(front: Front):
        await front.show_snapshot(jobs=(job(A, part(JobState.QUEUED)),))
        front.window.show_page(page)
        view = front.queue.view if page == "queue" else front.window.activity_page.view
        for stays, text in ((True, "Keep here"), (False, "Don’t keep here")):
            await front.shows(lambda: view.model().rowCount() > 0)
            row = next(index for index in map(view.model().index, range(3), (0, 0, 0)) if view.context_menu(index))
            menu = view.context_menu(row)
            assert menu is not None
            next(action for action in menu.actions() if action.text() == text).trigger()
            menu.close()
            await front.settle()
            assert yard.pinned == ({ImageReference.parse(A)} if stays else set())
            assert A in front.window.toast.text()

    with_front(body)


def test_an_image_that_cannot_be_pinned_is_told_of(with_front, yard):
    yard.refuse = NotFound(f"There is no {A} here.")

    async def body(front: Front):
        await front.show_snapshot(jobs=(job(A, part(JobState.QUEUED)),))
        menu = front.queue.view.context_menu(front.queue.view.model().index(0, 0))
        assert menu is not None
        next(action for action in menu.actions() if action.text() == "Keep here").trigger()
        menu.close()
        await front.shows(front.window.banner.isVisible)
        assert f"There is no {A} here." in front.window.banner.text

    with_front(body)


def test_a_file_that_no_program_opens_is_named(with_front, yard, monkeypatch):
    monkeypatch.setattr("yarddesk.desktop.actions.QDesktopServices.openUrl", lambda url: False)

    async def body(front: Front):
        yard.settings_file.write_text("upstreams: []\n")
        front.actions.open_settings_file.trigger()
        assert front.window.toast.text() == f"No program here opens {yard.settings_file}"

    with_front(body)
