"""Closing goes to the tray, quitting asks when pushes are pending, and without a tray the window stays and says why."""

from PySide6.QtCore import Qt

from tests.gui.front import Front
from tests.support.fake_yard import MB, job, part, progress
from yarddesk.desktop.dialogs.confirm import Confirm
from yarddesk.desktop.shell import NO_TRAY
from yarddesk.sync.snapshot import JobSnapshot
from yarddesk.sync.states import JobState


def pending() -> tuple[JobSnapshot, ...]:
    return (
        job("a:1", part(JobState.TRANSFERRING, progress=progress(100 * MB, 340 * MB))),
        job("b:1", part(JobState.WAITING)),
    )


def test_closing_the_window_leaves_the_app_in_the_tray(with_front):
    async def body(front: Front):
        front.window.close()
        await front.settle()
        assert not front.window.isVisible()
        assert front.quits == 0
        front.shell.tray.clicked.emit()
        assert front.window.isVisible()

    with_front(body)


def test_a_click_on_the_tray_hides_a_window_that_is_in_front(with_front):
    async def body(front: Front):
        front.shell.tray.clicked.emit()
        assert not front.window.isVisible()

    with_front(body)


def test_another_start_raises_the_window_wherever_it_was(with_front, yard):
    async def body(front: Front):
        for hide in (front.window.hide, front.window.showMinimized):
            hide()
            await front.settle()
            yard.show_window()
            assert front.window.isVisible()
            assert not front.window.isMinimized()

    with_front(body)


def test_minimized_starts_in_the_tray_alone(with_front):
    async def body(front: Front):
        assert not front.window.isVisible()
        front.actions.open_window.trigger()
        assert front.window.isVisible()

    with_front(body, minimized=True)


def test_minimized_without_a_tray_still_gives_a_window_to_come_back_to(with_front):
    async def body(front: Front):
        assert front.window.isMinimized()

    with_front(body, minimized=True, tray=False)


def test_without_a_tray_the_window_stays_and_says_why(with_front):
    async def body(front: Front):
        front.window.close()
        await front.settle()
        assert front.window.isVisible()
        assert not front.window.isMinimized()
        assert NO_TRAY in front.window.banner.text
        front.window.close()
        await front.settle()
        assert front.window.isMinimized()

    with_front(body, tray=False)


def test_a_tray_that_comes_later_is_used(with_front):
    async def body(front: Front):
        front.tray_there = True
        front.shell.tray.look()
        front.window.close()
        await front.settle()
        assert not front.window.isVisible()

    with_front(body, tray=False)


def test_when_the_tray_goes_a_hidden_window_comes_back(with_front):
    async def body(front: Front):
        front.window.close()
        await front.settle()
        front.tray_there = False
        front.shell.tray.look()
        await front.settle()
        assert front.window.isVisible()

    with_front(body)


def test_quitting_with_nothing_pending_asks_nothing(with_front):
    async def body(front: Front):
        front.actions.quit.trigger()
        assert front.quits == 1
        assert front.shell.dialogs == ()

    with_front(body)


def test_quitting_with_pushes_pending_asks_and_says_that_they_go_on(with_front):
    async def body(front: Front):
        await front.show_snapshot(jobs=pending())
        front.actions.quit.trigger()
        question = front.dialog(Confirm)
        said = question._text.text()
        assert "2 images are still on the way (240 MB left)" in said
        assert "go on when yarddesk starts next time" in said
        front.click(question.no_button)
        await front.settle()
        assert front.quits == 0
        front.actions.quit.trigger()
        await front.shows(front.dialog(Confirm).isActiveWindow)
        front.press(Qt.Key.Key_Return)
        assert front.quits == 1

    with_front(body)


def test_asking_twice_opens_one_question(with_front):
    async def body(front: Front):
        await front.show_snapshot(jobs=pending())
        front.actions.quit.trigger()
        front.actions.quit.trigger()
        assert len(front.shell.dialogs) == 1

    with_front(body)


def test_from_the_tray_alone_the_question_stands_for_itself(with_front, yard):
    yard.sync.show(jobs=pending())

    async def body(front: Front):
        front.actions.quit.trigger()
        question = front.dialog(Confirm)
        assert question.isVisible()
        assert question.parent() is None
        assert not front.window.isVisible()

    with_front(body, minimized=True)


def test_the_trays_menu_has_its_order_and_its_state_line(with_front):
    async def body(front: Front):
        await front.show_snapshot(jobs=pending())
        menu = [action.text() for action in front.shell.tray.menu.actions() if action.isVisible() and action.text()]
        assert menu == [
            "Syncing 2 images · 240 MB left",
            "a:1 → registry.corp 29 %",
            "Pause",
            "Open yarddesk",
            "Cancel all…",
            "Copy address",
            "Upstreams…",
            "Open settings file",
            "Quit yarddesk",
        ]
        assert not front.shell.tray.state_line.isEnabled()
        await front.show_snapshot(paused=True)
        menu = [action.text() for action in front.shell.tray.menu.actions() if action.isVisible() and action.text()]
        assert "Resume" in menu
        assert "Pause" not in menu

    with_front(body)


def test_names_in_the_trays_menu_underline_nothing(with_front):
    async def body(front: Front):
        moving = part(JobState.TRANSFERRING, "r&d.corp", progress=progress(1, 2))
        await front.show_snapshot(jobs=(job("a:1", moving),))
        assert "r&&d.corp" in front.shell.tray.transfers[0].text()

    with_front(body)


def test_while_its_menu_is_open_the_tray_is_up_to_date(with_front):
    async def body(front: Front):
        front.window.close()
        front.shell.tray.menu.aboutToShow.emit()
        assert front.shell.bridge.is_watched
        front.shell.tray.menu.aboutToHide.emit()
        assert not front.shell.bridge.is_watched

    with_front(body)
