"""Everything can be reached and done without a mouse, and by a screen reader."""

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QKeySequence
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QAbstractButton, QApplication, QLineEdit, QWidget

from tests.gui.front import Front
from tests.support.fake_yard import MB, digest, entry, job, part, progress
from yarddesk.desktop.dialogs.details import Details
from yarddesk.progress import LayerProgress, LayerState
from yarddesk.sync.snapshot import JobSnapshot
from yarddesk.sync.states import JobState

CONTROL = Qt.KeyboardModifier.ControlModifier


def image(name: str = "a:1") -> JobSnapshot:
    layers = tuple(LayerProgress(digest(str(n)), 10 * MB, 0, LayerState.WAITING) for n in range(2))
    return job(name, part(JobState.TRANSFERRING, progress=progress(0, 20 * MB, layers=layers)))


def tab_stops(window: QWidget) -> list[QWidget]:
    """What Tab goes to, in order, once around."""
    stops: list[QWidget] = []
    for _ in range(60):
        QTest.keyClick(QApplication.focusWidget() or window, Qt.Key.Key_Tab)
        stop = QApplication.focusWidget()
        if stop is None or stop in stops:
            break
        stops.append(stop)
    return stops


def test_pages_by_control_and_number(with_front):
    async def body(front: Front):
        for number, page in enumerate(("queue", "upstreams", "activity", "setup"), 1):
            QTest.keyClick(front.window, Qt.Key(Qt.Key.Key_0 + number), CONTROL)
            assert front.window.page == page

    with_front(body)


def test_rows_are_chosen_opened_paused_and_cancelled_by_keys(with_front, yard):
    async def body(front: Front):
        await front.show_snapshot(jobs=(image("a:1"), image("b:1")))
        view = front.queue.view
        front.press(Qt.Key.Key_Down)
        front.press(Qt.Key.Key_Down)
        assert front.queue.view.current_job() == yard.sync.shown.jobs[1]
        front.press(Qt.Key.Key_Return)
        assert view.isExpanded(view.model().index(1, 0))
        front.press(Qt.Key.Key_Left)
        assert not view.isExpanded(view.model().index(1, 0))
        front.press(Qt.Key.Key_Space)
        await front.settle()
        front.press(Qt.Key.Key_Delete)
        await front.settle()
        assert yard.sync.calls == [("pause", "b:1", None), ("cancel", "b:1")]

    with_front(body)


def test_the_details_of_what_was_synced_open_by_the_key_that_its_menu_names(with_front, yard):
    yard.sync.entries = [entry("a:1"), entry("b:1")]

    async def body(front: Front):
        front.window.show_page("activity")
        await front.settle()
        view = front.window.activity_page.view
        view.setCurrentIndex(view.model().index(2, 0))
        menu = view.context_menu(view.currentIndex())
        assert menu is not None
        (details,) = [item for item in menu.actions() if item.text() == "Details…"]
        assert details.shortcut() == QKeySequence("Ctrl+I")
        QTest.keyClick(view, Qt.Key.Key_I, CONTROL)
        assert front.dialog(Details).windowTitle() == "b:1"

    with_front(body)


def test_the_one_row_there_is_can_be_chosen_by_keys(with_front, yard):
    yard.sync.show(jobs=(image(),))

    async def body(front: Front):
        assert front.queue.view.current_job() is None
        front.press(Qt.Key.Key_Down)
        assert front.queue.view.current_job() == yard.sync.shown.jobs[0]
        front.press(Qt.Key.Key_Delete)
        await front.settle()
        assert yard.sync.calls == [("cancel", "a:1")]

    with_front(body)


def test_the_keys_pass_by_the_titles_between_rows(with_front, yard):
    yard.sync.show(jobs=(image("a:1"), image("b:1")), recent=(entry("c:1"), entry("d:1")))

    async def body(front: Front):
        view = front.queue.view
        assert [row.name for row in front.rows()] == ["a:1", "b:1", "Done today", "c:1", "d:1"]

        def rows(key: Qt.Key, times: int) -> list[int]:
            found = []
            for _ in range(times):
                front.press(key)
                found += [index.row() for index in view.selectedIndexes()]
            return found

        assert rows(Qt.Key.Key_Down, 5) == [0, 1, 3, 4, 4]
        assert rows(Qt.Key.Key_Up, 4) == [3, 1, 0, 0]
        assert rows(Qt.Key.Key_End, 1) + rows(Qt.Key.Key_Home, 1) == [4, 0]

    with_front(body)


def test_the_first_key_goes_to_the_first_row_though_it_came_after_the_focus(with_front, yard):
    yard.sync.show(recent=(entry("c:1"),))

    async def body(front: Front):
        assert [row.name for row in front.rows()] == ["Done today", "c:1"]
        assert QApplication.focusWidget() is front.queue.view
        await front.show_snapshot(jobs=(image("a:1"),))
        front.press(Qt.Key.Key_Down)
        assert front.queue.view.current_job() == yard.sync.shown.jobs[0]

    with_front(body)


@pytest.mark.parametrize(("key", "chosen"), [("Down", "c:1"), ("Up", "c:1"), ("Home", "a:1"), ("End", "d:1")])
def test_where_the_chosen_row_has_gone_the_next_key_goes_on_and_home_and_end_go_to_the_ends(with_front, key, chosen):
    before, gone, after, last = (image(name) for name in ("a:1", "b:1", "c:1", "d:1"))

    async def body(front: Front):
        await front.show_snapshot(jobs=(before, gone, after, last))
        front.press(Qt.Key.Key_Down)
        front.press(Qt.Key.Key_Down)
        assert front.queue.view.current_job() == gone
        await front.show_snapshot(jobs=(before, after, last))
        assert front.queue.view.current_job() is None
        front.press(Qt.Key[f"Key_{key}"])
        job = front.queue.view.current_job()
        assert job is not None
        assert job.name == chosen

    with_front(body)


@pytest.mark.parametrize("key", ["Down", "Up", "Home", "End"])
def test_a_list_that_begins_with_a_title_begins_below_it(with_front, yard, key):
    yard.sync.show(recent=(entry("c:1"),))

    async def body(front: Front):
        view = front.queue.view
        assert [row.name for row in front.rows()] == ["Done today", "c:1"]
        for pressed in (key, "Up", "Home"):
            front.press(Qt.Key[f"Key_{pressed}"])
            assert [index.row() for index in view.selectedIndexes()] == [1]

    with_front(body)


def test_titles_that_follow_each_other_or_end_the_list_are_passed_by(with_front, yard, monkeypatch):
    monkeypatch.setattr("yarddesk.desktop.views.queue_page._most_rows", lambda _: 2)
    images = tuple(image(f"{name}:1") for name in "abcd")

    async def body(front: Front):
        view = front.queue.view

        def row(key: str) -> list[int]:
            front.press(Qt.Key[f"Key_{key}"])
            return [index.row() for index in view.selectedIndexes()]

        await front.show_snapshot(jobs=images, recent=(entry("x:1"),))
        assert [row.name for row in front.rows()] == ["a:1", "b:1", "2 more images below", "Done today", "x:1"]
        assert [row(key) for key in ("Down", "Down", "Down", "Up", "Up")] == [[0], [1], [4], [1], [0]]
        await front.show_snapshot(jobs=images, recent=())
        assert [row.name for row in front.rows()] == ["a:1", "b:1", "2 more images below"]
        assert [row(key) for key in ("End", "Down", "Up", "PageDown")] == [[1], [1], [0], [1]]

    with_front(body)


@pytest.mark.parametrize(("key", "chosen"), [("Down", "x:1"), ("Up", "b:1")])
def test_where_the_last_image_has_gone_the_keys_go_on_at_the_title_below_it(with_front, key, chosen):
    images = tuple(image(f"{name}:1") for name in "abc")

    async def body(front: Front):
        await front.show_snapshot(jobs=images, recent=(entry("x:1"),))
        for _ in images:
            front.press(Qt.Key.Key_Down)
        await front.show_snapshot(jobs=images[:2], recent=(entry("x:1"),))
        front.press(Qt.Key[f"Key_{key}"])
        (index,) = front.queue.view.selectedIndexes()
        assert front.rows()[index.row()].name == chosen

    with_front(body)


def test_home_shows_the_title_above_the_first_row_again(with_front, yard):
    yard.sync.entries = [entry(f"a{number}:1") for number in range(60)]

    async def body(front: Front):
        front.window.show_page("activity")
        await front.settle()
        bar = front.window.activity_page.view.verticalScrollBar()
        front.press(Qt.Key.Key_End)
        assert bar.value() > 1000
        front.press(Qt.Key.Key_Home)
        assert bar.value() == 0

    with_front(body)


def test_the_queue_has_the_focus_at_the_start(with_front, yard):
    yard.sync.show(jobs=(image(),))

    async def body(front: Front):
        assert QApplication.focusWidget() is front.queue.view

    with_front(body)


def test_the_page_has_it_still_where_the_queue_ended_while_another_window_was_in_front(with_front, yard):
    yard.sync.show(jobs=(image(),))

    async def body(front: Front):
        other = QWidget()
        other.show()
        other.activateWindow()
        await front.shows(other.isActiveWindow, "another window is in front")
        await front.show_snapshot(jobs=())
        front.window.activateWindow()
        await front.shows(front.window.isActiveWindow, "ours is in front again")
        other.close()
        assert QApplication.focusWidget() is front.queue
        await front.show_snapshot(jobs=(image(),))
        assert QApplication.focusWidget() is front.queue.view

    with_front(body)


def test_the_keys_of_the_activity_go_to_its_list_and_leave_the_focus_where_it_is_there(with_front, yard):
    yard.sync.entries = [entry("a:1"), entry("b:1")]

    async def body(front: Front):
        page = front.window.activity_page
        QTest.keyClick(front.window, Qt.Key.Key_3, CONTROL)
        await front.settle()
        front.press(Qt.Key.Key_Down)
        assert [index.row() for index in page.view.selectedIndexes()] == [1]
        for widget in (page.view, page.search, page.chip("Failed")):
            widget.setFocus()
            QTest.keyClick(front.window, Qt.Key.Key_3, CONTROL)
            assert QApplication.focusWidget() is widget

    with_front(body)


def test_the_keys_of_the_page_that_is_shown_bring_the_focus_back_into_it(with_front, yard):
    yard.sync.show(jobs=(image(),))

    async def body(front: Front):
        front.window.sidebar.button("queue").setFocus()
        QTest.keyClick(front.window, Qt.Key.Key_1, CONTROL)
        assert QApplication.focusWidget() is front.queue.view

    with_front(body)


def test_without_an_upstream_the_field_for_one_has_it(with_front, yard):
    yard.listed.clear()

    async def body(front: Front):
        assert QApplication.focusWidget() is front.queue.no_upstream.field

    with_front(body)


@pytest.mark.parametrize("page", ["queue", "upstreams", "activity", "setup"])
def test_tab_reaches_every_button_field_and_list_of_a_page(with_front, yard, page):
    yard.sync.show(jobs=(image(),))

    async def body(front: Front):
        front.window.show_page(page)
        await front.settle()
        reached = set(tab_stops(front.window))
        for kind in (QAbstractButton, QLineEdit):
            for widget in front.window.findChildren(kind):
                if not widget.isVisible() or not widget.isEnabled() or widget.objectName().startswith("qt_"):
                    continue
                if widget.parent() and isinstance(widget.parent(), QLineEdit):
                    continue  # the button inside a field that clears it
                group = widget.group() if isinstance(widget, QAbstractButton) else None
                assert widget in reached or (group and set(group.buttons()) & reached), widget
        assert front.window.header.pause_button in reached

    with_front(body)


def test_every_button_has_a_name_for_a_screen_reader(with_front, yard):
    yard.sync.show(jobs=(image(),))

    async def body(front: Front):
        front.click_row(0)
        for page in ("queue", "upstreams", "activity", "setup"):
            front.window.show_page(page)
            await front.settle()
            for button in front.window.findChildren(QAbstractButton):
                if button.isVisible() and not button.objectName().startswith("qt_"):
                    inside_a_field = isinstance(button.parent(), QLineEdit)
                    assert inside_a_field or button.text() or button.accessibleName(), button

    with_front(body)


def test_no_two_shortcuts_of_the_window_are_one(with_front):
    async def body(front: Front):
        keys = [
            action.shortcut().toString(QKeySequence.SequenceFormat.PortableText)
            for action in front.window.actions()
            if not action.shortcut().isEmpty() and action.isEnabled()
        ]
        assert len(keys) == len(set(keys))

    with_front(body)


def test_control_p_pauses_and_resumes(with_front, yard):
    async def body(front: Front):
        QTest.keyClick(front.window, Qt.Key.Key_P, CONTROL)
        await front.settle()
        await front.shows(lambda: front.actions.resume.isEnabled())
        QTest.keyClick(front.window, Qt.Key.Key_P, CONTROL)
        await front.settle()
        assert [call[0] for call in yard.sync.calls] == ["pause", "resume"]

    with_front(body)
