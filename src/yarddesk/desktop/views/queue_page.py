"""The queue: what goes where, how far, how long; and what was synced today."""

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QFont
from PySide6.QtWidgets import QHBoxLayout, QStackedLayout, QVBoxLayout, QWidget

from yarddesk.desktop import words
from yarddesk.desktop.actions import DECISIONS, JOB_DEEDS, Actions, JobAction, told
from yarddesk.desktop.bridge import Bridge
from yarddesk.desktop.models.queue import queue_lines
from yarddesk.desktop.models.rows_model import RowsModel
from yarddesk.desktop.views.empty import NothingWaits, NoUpstream
from yarddesk.desktop.views.parts import ElidedLabel, ToolButton, label
from yarddesk.desktop.views.paused_strip import PausedStrip
from yarddesk.desktop.views.row_view import RowView
from yarddesk.sync.snapshot import SyncSnapshot

TOOL_HEIGHT = 28
TOOLS = (
    JobAction.SIGN_IN,
    JobAction.OPEN_SETTINGS,
    *DECISIONS,
    JobAction.RESUME,
    JobAction.RETRY,
    JobAction.PAUSE,
    JobAction.MOVE_UP,
    JobAction.CANCEL,
    JobAction.DETAILS,
)


ROWS = 1000
"""A list gets so many rows, and so many more as somebody comes near its end: each costs time whenever one comes or goes."""

_NEAR = 50


class QueuePage(QWidget):
    """Follows the bridge. An upstream for pushes is asked for in `add_wanted`."""

    add_wanted = Signal(str)

    def __init__(self, bridge: Bridge, actions: Actions, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("page")
        self._bridge = bridge
        self._actions = actions
        self.rows = RowsModel(bridge.now(), self)
        self.view = RowView(self.rows, "Images in the queue")
        self.view.job_action.connect(actions.perform)
        self.view.details_wanted.connect(actions.details_asked)
        self.view.pin_wanted.connect(actions.pin)
        self.view.is_pinned = actions.is_pinned
        self.tools = JobTools(self.view, actions)
        self._summary = ElidedLabel(colour="secondary")
        self._list = QWidget()
        self._list.setObjectName("page")
        self.no_upstream = NoUpstream(bridge.core.address)
        self.no_upstream.add_wanted.connect(self.add_wanted)
        self.nothing_waits = NothingWaits(bridge.core.address)
        self.nothing_waits.copied.connect(self._on_copied)
        column = QVBoxLayout(self._list)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addLayout(self._head())
        column.addWidget(self.view, 1)
        self.paused = PausedStrip()
        self.paused.resume_wanted.connect(actions.resume_repository)
        self._most = ROWS
        self.view.verticalScrollBar().valueChanged.connect(self._on_scroll)
        self._shown: QWidget | None = None
        self._stack = QStackedLayout()
        whole = QVBoxLayout(self)
        whole.setContentsMargins(0, 0, 0, 0)
        whole.setSpacing(0)
        whole.addLayout(self._stack, 1)
        whole.addWidget(self.paused)
        for page in (self._list, self.no_upstream, self.nothing_waits):
            self._stack.addWidget(page)
        self.setFocusPolicy(Qt.FocusPolicy.ClickFocus)
        bridge.snapshot_changed.connect(self._on_snapshot)
        bridge.upstreams_changed.connect(self._choose_page)
        bridge.second_passed.connect(self._on_second)
        before: QWidget = self.view
        for button in self.tools.buttons.values():
            self.setTabOrder(before, button)
            before = button
        self._on_snapshot(bridge.snapshot)

    def _head(self) -> QHBoxLayout:
        row = QHBoxLayout()
        row.setContentsMargins(20, 12, 16, 8)
        row.setSpacing(12)
        row.addWidget(label("Queue", step=2, weight=QFont.Weight.DemiBold))
        row.addWidget(self._summary, 1, Qt.AlignmentFlag.AlignVCenter)
        row.addWidget(self.tools)
        return row

    def _on_snapshot(self, snapshot: SyncSnapshot) -> None:
        self._most = _most_rows(self.view.lowest_row())
        self._show_rows(snapshot)
        self._summary.set_text(_summary(snapshot))
        self.paused.show_snapshot(snapshot, self._bridge.now())
        self._choose_page()

    def _show_rows(self, snapshot: SyncSnapshot) -> None:
        self.rows.show(queue_lines(snapshot, self._bridge.now(), self._most), self._bridge.now())

    def _on_scroll(self) -> None:
        """Further down than before: there are to be rows before the end of them is in sight."""
        most = _most_rows(self.view.lowest_row())
        if most > self._most:
            self._most = most
            self._show_rows(self._bridge.snapshot)

    def _on_second(self) -> None:
        self.rows.tick(self._bridge.now())

    def _choose_page(self) -> None:
        if self.rows.rowCount():
            wanted: QWidget = self._list
        elif any(upstream.push for upstream in self._bridge.core.upstreams()):
            wanted = self.nothing_waits
        else:
            wanted = self.no_upstream
        if self._shown is not wanted:
            self._shown = wanted
            # Who has the focus in our window, which may not be the one in front now: else it would be lost until a click.
            focus: QWidget | None = self.window().focusWidget()
            focused = focus is not None and (focus is self or self.isAncestorOf(focus))
            self._stack.setCurrentWidget(wanted)
            proxy = {self._list: self.view, self.no_upstream: self.no_upstream.field}.get(wanted)
            self.setFocusProxy(proxy)  # type: ignore[arg-type]  # none is fine
            if focused:
                self.setFocus()

    def _on_copied(self, text: str) -> None:
        self._actions.copy(text, "Command copied")


class JobTools(QWidget):
    """The actions of the chosen row as real buttons: reachable by Tab, and seen by a screen reader."""

    def __init__(self, view: RowView, actions: Actions, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._view = view
        self._actions = actions
        self.buttons: dict[JobAction, ToolButton] = {}
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(0)
        for action in TOOLS:
            button = ToolButton(JOB_DEEDS[action].glyph, JOB_DEEDS[action].text)
            button.setProperty("action", action.value)
            button.clicked.connect(self._on_click)
            self.buttons[action] = button
            row.addWidget(button)
        # The head keeps its height while there is nothing to do to a row, so that the list stays where it is.
        self.setFixedHeight(TOOL_HEIGHT)
        view.chosen.connect(self._follow)
        view.model().rowsRemoved.connect(self._follow)
        self._follow()

    def _follow(self) -> None:
        job = self._view.current_job()
        fitting = self._view.applicable(job) if job else ()
        for action, button in self.buttons.items():
            button.setVisible(action in fitting)
            if job is not None and action in fitting:
                shortcut = JOB_DEEDS[action].shortcut
                button.say(f"{told(job, action)} ({shortcut})" if shortcut else told(job, action))

    def _on_click(self) -> None:
        job = self._view.current_job()
        if job is not None:
            self._actions.perform(JobAction(self.sender().property("action")), job)


def _most_rows(lowest: int) -> int:
    return ROWS * (1 + (lowest + _NEAR) // ROWS)


def _summary(snapshot: SyncSnapshot) -> str:
    if not snapshot.jobs:
        return ""
    left = snapshot.bytes_left
    images = words.count(len(snapshot.jobs), "image")
    return f"{images}, {words.size(left)} left" if left else images
