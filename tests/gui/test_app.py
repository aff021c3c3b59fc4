"""The app from its start to its exit status."""

import contextlib
import os
import signal
from collections.abc import AsyncIterator, Callable, Sequence

import pytest

from tests.support.fake_yard import FakeYard, job, part
from yarddesk.desktop.app import run_desktop
from yarddesk.errors import YarddeskError
from yarddesk.settings.model import Settings
from yarddesk.sync.states import JobState


@pytest.fixture
def settings(tmp_path):
    return Settings(tmp_path)


class Opening:
    """Opens a yard made by hand; `inside` is called once the front is there, `closed` counts the ends."""

    def __init__(
        self, yard: FakeYard, inside: Callable[[], object] | None = None, errors: Sequence[YarddeskError] = ()
    ) -> None:
        self.yard = yard
        self.inside = inside
        self.errors = list(errors)
        self.opened = 0
        self.closed = 0

    @contextlib.asynccontextmanager
    async def __call__(self) -> AsyncIterator[FakeYard]:
        import asyncio

        self.opened += 1
        if self.errors:
            raise self.errors.pop(0)
        if self.inside:
            asyncio.get_running_loop().call_later(0.2, self.inside)
        try:
            yield self.yard
        finally:
            self.closed += 1


@pytest.fixture
def yard(tmp_path):
    return FakeYard(folder=tmp_path)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_app_with_0_even_with_work_left(qapp, settings, yard, number):
    yard.sync.show(jobs=(job("a:1", part(JobState.TRANSFERRING)),))
    opening = Opening(yard, lambda: os.kill(os.getpid(), number))
    assert run_desktop(settings, opening) == 0
    assert opening.closed == 1
    assert yard.events.subscribers == 0


def test_the_systems_own_quit_ends_it_too(qapp, settings, yard):
    opening = Opening(yard, qapp.quit)
    assert run_desktop(settings, opening, minimized=True) == 0
    assert opening.closed == 1


def test_an_error_of_the_start_is_printed_and_is_exit_1(qapp, settings, yard, capfd, monkeypatch):
    monkeypatch.setattr("yarddesk.desktop.app._somebody_reads_standard_error", lambda: True)
    opening = Opening(yard, errors=[YarddeskError("Port 5050 is taken.", "nginx (pid 4711) holds it.")])
    assert run_desktop(settings, opening) == 1
    assert "Port 5050 is taken. nginx (pid 4711) holds it." in capfd.readouterr().err


def test_where_another_instance_shows_its_window_this_one_is_done(qapp, settings, yard, capfd):
    opening = Opening(yard, errors=[YarddeskError("Another yarddesk holds the data folder.")])
    assert run_desktop(settings, opening, raise_window=lambda: True) == 0
    assert capfd.readouterr().err == ""


def test_without_a_terminal_a_dialog_says_what_is_wrong_and_tries_again(qapp, settings, yard, monkeypatch):
    from PySide6.QtCore import QTimer

    from yarddesk.desktop.dialogs.start_trouble import StartTrouble

    monkeypatch.setattr("yarddesk.desktop.app._somebody_reads_standard_error", lambda: False)
    seen: list[str] = []

    def try_again() -> None:
        (dialog,) = [each for each in qapp.topLevelWidgets() if isinstance(each, StartTrouble) and each.isVisible()]
        seen.append(dialog.windowTitle())
        (dialog.again_button if len(seen) == 1 else dialog.close_button).click()

    error = YarddeskError("Port 5050 is taken.")
    opening = Opening(yard, errors=[error, error])
    timer = QTimer()
    timer.setInterval(300)
    timer.timeout.connect(
        lambda: (
            try_again() if any(isinstance(w, StartTrouble) and w.isVisible() for w in qapp.topLevelWidgets()) else None
        )
    )
    timer.start()
    assert run_desktop(settings, opening) == 1
    timer.stop()
    assert (opening.opened, len(seen)) == (2, 2)
