"""The tray: may I close the lid? An icon for the state, a menu in a fixed order; where there is no tray, it waits for one."""

from collections.abc import Callable

from PySide6.QtCore import QObject, QTimer, Signal
from PySide6.QtGui import QAction, QGuiApplication
from PySide6.QtWidgets import QMenu, QSystemTrayIcon

from yarddesk.desktop import words
from yarddesk.desktop.actions import Actions
from yarddesk.desktop.bridge import Bridge
from yarddesk.desktop.icons import tray_icon
from yarddesk.desktop.models.headline import headline
from yarddesk.desktop.models.row import fraction, speaking_part
from yarddesk.sync.snapshot import JobSnapshot, OverallState, SyncSnapshot

SHOWN_TRANSFERS = 3
LOOK_MILLISECONDS = 3_000
LOOK_AGAIN_MILLISECONDS = 60_000
STEP_MILLISECONDS = 500


class Tray(QObject):
    """`available_changed` says whether there is a tray now; `clicked` that the icon was."""

    available_changed = Signal(bool)
    clicked = Signal()

    def __init__(
        self,
        bridge: Bridge,
        actions: Actions,
        parent: QObject | None = None,
        *,
        is_there: Callable[[], bool] = QSystemTrayIcon.isSystemTrayAvailable,
    ) -> None:
        super().__init__(parent)
        self._is_there = is_there
        self._bridge = bridge
        self._actions = actions
        self._available = False
        self._icon: QSystemTrayIcon | None = None
        self._state = OverallState.IDLE
        self._step = 0
        self._drawn: tuple[OverallState, int] | None = None
        self._tooltip = ""
        self.state_line = QAction("", self)
        self.state_line.setEnabled(False)
        self.transfers = [QAction("", self) for _ in range(SHOWN_TRANSFERS)]
        for transfer in self.transfers:
            transfer.setVisible(False)
            transfer.triggered.connect(actions.open_window.trigger)
        self.menu = self._make_menu()
        self._looks = QTimer(self)
        self._looks.timeout.connect(self.look)
        self._steps = QTimer(self)
        self._steps.setInterval(STEP_MILLISECONDS)
        self._steps.timeout.connect(self._on_step)
        bridge.snapshot_changed.connect(self._on_snapshot)
        QGuiApplication.styleHints().colorSchemeChanged.connect(self._redraw)

    def start(self) -> None:
        """Show the icon, or wait for a tray."""
        self._on_snapshot(self._bridge.snapshot)
        self.look()

    @property
    def is_available(self) -> bool:
        return self._available

    def close(self) -> None:
        self._looks.stop()
        self._steps.stop()
        self._bridge.unwatch("tray menu")
        if self._icon is not None:
            self._icon.hide()
            self._icon.setContextMenu(None)  # type: ignore[arg-type]
            self._icon.deleteLater()
            self._icon = None
        self.menu.deleteLater()

    def look(self) -> None:
        """Trays come late at log-in, and go when a panel ends; asking may take a call over D-Bus, so it is done seldom."""
        available = self._is_there()
        self._looks.start(LOOK_AGAIN_MILLISECONDS if available else LOOK_MILLISECONDS)
        if available and self._icon is None:
            self._icon = QSystemTrayIcon(self)
            self._icon.setContextMenu(self.menu)
            self._icon.activated.connect(self._on_activated)
            self._redraw()
            self._icon.show()
            self._on_snapshot(self._bridge.snapshot)
        if available != self._available:
            self._available = available
            self.available_changed.emit(available)

    def _make_menu(self) -> QMenu:
        actions = self._actions
        menu = QMenu()
        menu.addAction(self.state_line)
        menu.addSeparator()
        menu.addActions(self.transfers)
        self._below_transfers = menu.addSeparator()
        self._pause_menu = menu.addMenu("Pause")
        self._pause_menu.addActions(list(actions.pause_choices))
        menu.addAction(actions.resume)
        menu.addSeparator()
        menu.addAction(actions.open_window)
        menu.addAction(actions.cancel_all)
        menu.addAction(actions.copy_address)
        menu.addSeparator()
        menu.addAction(actions.show_upstreams)
        menu.addAction(actions.open_settings_file)
        menu.addSeparator()
        menu.addAction(actions.quit)
        menu.aboutToShow.connect(self._on_menu_shown)
        menu.aboutToHide.connect(self._on_menu_hidden)
        return menu

    def _on_menu_shown(self) -> None:
        self._bridge.watch("tray menu")
        self._on_snapshot(self._bridge.snapshot)

    def _on_menu_hidden(self) -> None:
        self._bridge.unwatch("tray menu")

    def _on_snapshot(self, snapshot: SyncSnapshot) -> None:
        said = headline(snapshot, self._bridge.now())
        _set_text(self.state_line, words.menu_text(said.line, 100))
        active = snapshot.tally.active
        for position, action in enumerate(self.transfers):
            job = active[position] if position < len(active) else None
            action.setVisible(job is not None)
            if job is not None:
                _set_text(action, words.menu_text(_transfer_line(job), 80))
        self._below_transfers.setVisible(bool(active))
        self._pause_menu.menuAction().setVisible(not snapshot.paused)
        if said.state is not self._state:
            self._state, self._step = said.state, 0
            moving = said.state is OverallState.SYNCING
            (self._steps.start if moving else self._steps.stop)()
            self._draw()
        self._explain(f"yarddesk: {said.line}")

    def _on_step(self) -> None:
        self._step = (self._step + 1) % 3
        self._draw()

    def _draw(self) -> None:
        if self._icon is not None and self._drawn != (self._state, self._step):
            self._drawn = (self._state, self._step)
            self._icon.setIcon(tray_icon(self._state, self._step))

    def _redraw(self) -> None:
        """The panel's colours may be others now."""
        self._drawn = None
        self._draw()

    def _explain(self, text: str) -> None:
        # Some desktops take a tooltip for rich text.
        text = text.replace("<", "‹")
        if self._icon is not None and text != self._tooltip:
            self._tooltip = text
            self._icon.setToolTip(text)

    def _on_activated(self, reason: QSystemTrayIcon.ActivationReason) -> None:
        if reason in (QSystemTrayIcon.ActivationReason.Trigger, QSystemTrayIcon.ActivationReason.DoubleClick):
            self.clicked.emit()


def _transfer_line(job: JobSnapshot) -> str:
    done = fraction(job)
    part = speaking_part(job)
    percent = f" {done * 100:.0f} %" if done is not None else ""
    return f"{job.name} → {part.registry if part else ''}{percent}"


def _set_text(action: QAction, text: str) -> None:
    if action.text() != text:
        action.setText(text)
