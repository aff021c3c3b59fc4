"""The desktop's front over a yard made by hand, and what a person would do to it."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Any, Self, TypeVar

from PySide6.QtCore import QPoint, Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QAbstractButton, QApplication, QWidget

from tests.support.fake_yard import FakeYard
from tests.support.waiting import until_async
from yarddesk.desktop.actions import JobAction
from yarddesk.desktop.dialogs.frame import Dialog
from yarddesk.desktop.models.row import Row
from yarddesk.desktop.models.rows_model import Role
from yarddesk.desktop.shell import Shell
from yarddesk.desktop.views.row_view import RowView

T = TypeVar("T", bound=Dialog)


class Front:
    """`quits` counts how often the app was told to quit; `tray_there` is what the desktop says of its tray."""

    def __init__(self, yard: FakeYard, *, tray: bool = True, minimized: bool = False) -> None:
        self.yard = yard
        self.quits = 0
        self.tray_there = tray
        self._minimized = minimized
        self.shell = Shell(yard, self._on_quit, tray_is_there=lambda: self.tray_there)
        self.window = self.shell.window
        self.actions = self.shell.actions
        self.queue = self.window.queue_page

    async def __aenter__(self) -> Self:
        self.shell.start(minimized=self._minimized)
        if not self._minimized:
            self.window.activateWindow()
            await self.shows(self.window.isActiveWindow, "the window is active")
        await self.settle()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.shell.close()
        QApplication.sendPostedEvents(None, 0)

    def _on_quit(self) -> None:
        self.quits += 1

    async def settle(self) -> None:
        """Until what was asked for is done and on the screen."""
        await until_async(lambda: not self.shell.tasks.count, what="no task runs")
        for _ in range(3):
            await asyncio.sleep(0)
            QApplication.sendPostedEvents()

    async def shows(self, condition: Any, what: str = "") -> Any:
        """Wait until the condition holds."""
        return await until_async(condition, 5, what)

    async def show_snapshot(self, **changes: Any) -> None:
        """Have the yard's snapshot changed, and the window show it."""
        self.yard.sync.show(**changes)
        wanted = self.yard.sync.shown
        await self.shows(lambda: self.shell.bridge.snapshot == wanted, "the snapshot")
        await self.settle()

    def rows(self, view: RowView | None = None) -> list[Row]:
        """What the rows of a list say, from above."""
        model = (view or self.queue.view).model()
        return [model.index(row, 0).data(Role.ROW) for row in range(model.rowCount())]

    def click(self, button: QAbstractButton) -> None:
        QTest.mouseClick(button, Qt.MouseButton.LeftButton)

    def click_row_button(self, row: int, action: JobAction | str) -> None:
        """Click a painted button of a row."""
        view = self.queue.view
        place = view.button_rect(view.model().index(row, 0), action).center()
        QTest.mouseMove(view.viewport(), place)
        QTest.mouseClick(view.viewport(), Qt.MouseButton.LeftButton, pos=place)

    def click_row(self, row: int, view: RowView | None = None) -> None:
        view = view or self.queue.view
        rect = view.visualRect(view.model().index(row, 0))
        QTest.mouseClick(view.viewport(), Qt.MouseButton.LeftButton, pos=QPoint(80, rect.center().y()))

    def press(self, key: Qt.Key, modifier: Qt.KeyboardModifier = Qt.KeyboardModifier.NoModifier) -> None:
        """A key, to whatever has the focus."""
        widget = QApplication.focusWidget() or self.window
        QTest.keyClick(widget, key, modifier)

    def write(self, text: str) -> None:
        widget = QApplication.focusWidget()
        assert widget is not None
        QTest.keyClicks(widget, text)

    def dialog(self, kind: type[T]) -> T:
        """The one dialog that is open."""
        (dialog,) = self.shell.dialogs
        assert isinstance(dialog, kind)
        return dialog

    def text(self) -> str:
        """All words that are to be seen outside the lists."""
        said = []
        for widget in self.window.findChildren(QWidget):
            if widget.isVisible():
                said += [widget.accessibleName(), str(widget.property("text") or "")]
        return "\n".join(text for text in said if text)
