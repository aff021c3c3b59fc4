"""The desktop app: Qt and the loop are started, the yard is opened inside, and its front lives until the person quits."""

import asyncio
import contextlib
import os
import signal
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from typing import Any

from PySide6.QtCore import QEvent, Signal
from PySide6.QtWidgets import QApplication

from yarddesk.desktop.core import Core
from yarddesk.desktop.dialogs.start_trouble import StartTrouble
from yarddesk.desktop.icons import app_icon
from yarddesk.desktop.loop import run
from yarddesk.desktop.shell import Shell
from yarddesk.errors import YarddeskError
from yarddesk.settings.model import Settings

DESKTOP_FILE = "io.github.yarddesk.yarddesk"

OpenCore = Callable[[], AbstractAsyncContextManager[Core]]


class DesktopApplication(QApplication):
    """Quitting by the system's own ways (the Dock, the end of the session) is a wish like any other."""

    quit_wished = Signal()

    def event(self, event: QEvent) -> bool:
        if event.type() == QEvent.Type.Quit:
            self.quit_wished.emit()
            return True
        return super().event(event)


def run_desktop(
    settings: Settings,
    open_core: OpenCore,
    *,
    minimized: bool = False,
    raise_window: Callable[[], bool] | None = None,
) -> int:
    """Run until the person quits; gives the exit status.

    `raise_window` is asked when the yard can't be opened: True means that another instance on this data folder showed
    its window. An error of the start is printed to standard error at once, and shown in a dialog where nobody reads that.
    """
    app = make_application()
    while True:
        try:
            run(_live(app, open_core, minimized=minimized), app)
            return 0
        except asyncio.CancelledError:
            return 0  # a signal, or the end of the session, before the yard was open
        except YarddeskError as error:
            if raise_window is not None and raise_window():
                return 0
            print(f"yarddesk: {error}", file=sys.stderr, flush=True)  # noqa: T201 - where the contract has it
            if _somebody_reads_standard_error() or not run(_show_trouble(error), app):
                return 1


def make_application() -> DesktopApplication:
    """Qt's application object, named and dressed. Where one is there already it is that one."""
    there = QApplication.instance()
    if isinstance(there, DesktopApplication):
        return there
    app = DesktopApplication(sys.argv[:1])
    app.setApplicationName("yarddesk")
    app.setDesktopFileName(DESKTOP_FILE)
    app.setWindowIcon(app_icon())
    app.setQuitOnLastWindowClosed(False)
    app.setQuitLockEnabled(False)
    return app


async def _live(app: DesktopApplication, open_core: OpenCore, *, minimized: bool) -> None:
    """From the opening of the yard to its end."""
    finished = asyncio.Event()
    opening = asyncio.current_task()
    assert opening is not None

    def stop() -> None:
        if shell is None:
            opening.cancel()
        finished.set()

    shell: Shell | None = None
    with _signals(stop):
        async with open_core() as core:
            shell = Shell(core, finished.set)
            app.quit_wished.connect(shell.ask_quit)
            shell.start(minimized=minimized)
            try:
                await finished.wait()
            finally:
                app.quit_wished.disconnect(shell.ask_quit)
                await shell.close()


@contextlib.contextmanager
def _signals(stop: Callable[[], None]) -> Iterator[None]:
    """SIGTERM and SIGINT end the app as Quit does, without a question."""
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGTERM, signal.SIGINT)
    before: dict[signal.Signals, Any] = {}
    if sys.platform == "win32":
        before = {number: signal.signal(number, lambda *_: loop.call_soon_threadsafe(stop)) for number in numbers}
    else:
        for number in numbers:
            loop.add_signal_handler(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if sys.platform != "win32":
            for number in numbers:
                loop.remove_signal_handler(number)


async def _show_trouble(error: YarddeskError) -> bool:
    """Whether the person wants to try again."""
    answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    dialog = StartTrouble(error)

    def answered(again: bool) -> None:
        if not answer.done():
            answer.set_result(again)

    dialog.answered.connect(answered)
    with _signals(dialog.reject):
        dialog.open()
        dialog.raise_()
        return await answer


def _somebody_reads_standard_error() -> bool:
    """A terminal, or a program at the other end of a pipe; not a journal or a log file behind a desktop's launcher."""
    try:
        descriptor = sys.stderr.fileno()
        return os.isatty(descriptor) or stat.S_ISFIFO(os.fstat(descriptor).st_mode)
    except (OSError, ValueError, AttributeError):
        return False  # a windowed app has no standard error at all
