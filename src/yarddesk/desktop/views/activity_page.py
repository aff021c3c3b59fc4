"""What was synced, cancelled or failed, newest first, by day; found by outcome and by text."""

from PySide6.QtCore import Qt, QTimer
from PySide6.QtGui import QFocusEvent, QFont, QKeySequence, QResizeEvent, QShortcut, QShowEvent
from PySide6.QtWidgets import (
    QAbstractButton,
    QButtonGroup,
    QHBoxLayout,
    QLineEdit,
    QStackedLayout,
    QVBoxLayout,
    QWidget,
)

from yarddesk.desktop.actions import Actions
from yarddesk.desktop.bridge import Bridge
from yarddesk.desktop.models.queue import activity_lines
from yarddesk.desktop.models.rows_model import RowsModel
from yarddesk.desktop.views.empty import Empty
from yarddesk.desktop.views.parts import Button, label
from yarddesk.desktop.views.row_view import RowView
from yarddesk.sync.snapshot import SyncSnapshot
from yarddesk.sync.states import JobState

MOST_ENTRIES = 500
TYPING_MILLISECONDS = 150

_FILTERS: tuple[tuple[str, frozenset[JobState] | None], ...] = (
    ("All", None),
    ("Synced", frozenset({JobState.DONE})),
    ("Failed", frozenset({JobState.FAILED})),
    ("Cancelled", frozenset({JobState.CANCELLED})),
)


class ActivityPage(QWidget):
    """Reads the history when it is shown, and again when it grows."""

    def __init__(self, bridge: Bridge, actions: Actions, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("page")
        self._bridge = bridge
        self._newest: object = None
        self.rows = RowsModel(bridge.now(), self)
        self.view = RowView(self.rows, "What was synced")
        self.view.details_wanted.connect(actions.details_asked)
        self.view.pin_wanted.connect(actions.pin)
        self.view.is_pinned = actions.is_pinned
        self.search = QLineEdit()
        self.search.setPlaceholderText("Search")
        self.search.setAccessibleName("Search the activity")
        self.search.setClearButtonEnabled(True)
        self.search.setMinimumWidth(96)
        self.search.setMaximumWidth(220)
        self._typing = QTimer(self)
        self._typing.setSingleShot(True)
        self._typing.setInterval(TYPING_MILLISECONDS)
        self._typing.timeout.connect(self._fill)
        self.search.textChanged.connect(self._typing.start)
        find = QShortcut(QKeySequence(QKeySequence.StandardKey.Find), self)
        find.activated.connect(self.search.setFocus)
        self._title = label("Activity", step=2, weight=QFont.Weight.DemiBold)
        self._title.setContentsMargins(0, 0, 8, 0)
        self._chips = QButtonGroup(self)
        self._nothing = Empty("activity", "Nothing has been synced yet", "")
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addLayout(self._head())
        self._stack = QStackedLayout()
        self._stack.addWidget(self.view)
        self._stack.addWidget(self._nothing)
        column.addLayout(self._stack, 1)
        bridge.snapshot_changed.connect(self._on_snapshot)

    def chip(self, text: str) -> QAbstractButton:
        """The button of a filter."""
        return next(button for button in self._chips.buttons() if button.text() == text)

    def focusInEvent(self, event: QFocusEvent) -> None:
        # Not as a focus proxy: Tab would then come in at the list, past the filters and the search.
        super().focusInEvent(event)
        if self.rows.rowCount():
            self.view.setFocus(event.reason())

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self._fill()

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Where the filters would be cut off, the title gives way: the sidebar says which page this is."""
        super().resizeEvent(event)
        chips = sum(chip.sizeHint().width() + 8 for chip in self._chips.buttons())
        needed = 20 + self._title.sizeHint().width() + 8 + chips + 8 + self.search.minimumWidth() + 16
        self._title.setVisible(self.width() >= needed)

    def _head(self) -> QHBoxLayout:
        row = QHBoxLayout()
        row.setContentsMargins(20, 12, 16, 8)
        row.setSpacing(8)
        row.addWidget(self._title)
        for position, (text, _) in enumerate(_FILTERS):
            chip = Button(text, face="chip")
            chip.setCheckable(True)
            chip.setChecked(position == 0)
            self._chips.addButton(chip, position)
            row.addWidget(chip)
        self._chips.buttonToggled.connect(self._on_chip)
        row.addStretch(1)
        row.addWidget(self.search, 1, Qt.AlignmentFlag.AlignRight)
        return row

    def _on_chip(self, _button: QAbstractButton, checked: bool) -> None:
        if checked:
            self._fill()

    def _on_snapshot(self, snapshot: SyncSnapshot) -> None:
        newest = snapshot.recent[:1]
        if self.isVisible() and newest != self._newest:
            self._fill()

    def _fill(self) -> None:
        self._newest = self._bridge.snapshot.recent[:1]
        entries = self._bridge.core.sync.history(MOST_ENTRIES)
        outcomes = _FILTERS[self._chips.checkedId()][1]
        now = self._bridge.now()
        self.rows.show(activity_lines(entries, now, outcomes=outcomes, text=self.search.text()), now)
        if entries:
            self._nothing.say("Nothing fits", "No entry has all of these words and this outcome.")
        else:
            self._nothing.say("Nothing has been synced yet", "What arrives at an upstream is listed here.")
        self._stack.setCurrentWidget(self.view if self.rows.rowCount() else self._nothing)
