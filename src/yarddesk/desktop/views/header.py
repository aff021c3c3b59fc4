"""The top of the window: is all well, where pushes go, pause, settings."""

from PySide6.QtCore import QSize, Qt
from PySide6.QtGui import QAction, QFont, QResizeEvent
from PySide6.QtWidgets import QHBoxLayout, QMenu, QSizePolicy, QToolButton, QWidget

from yarddesk.desktop import theme
from yarddesk.desktop.actions import Actions
from yarddesk.desktop.models.headline import Headline
from yarddesk.desktop.views.parts import ElidedLabel, GlyphLabel, ToolButton, give_role
from yarddesk.sync.snapshot import OverallState

HEIGHT = 56
NARROW = 720

# The glyph and the token's colour of each state.
STATE_LOOKS: dict[OverallState, tuple[str, str]] = {
    OverallState.IDLE: ("check", "good"),
    OverallState.SYNCING: ("arrow-up", "accent"),
    OverallState.PAUSED: ("pause", "secondary"),
    OverallState.OFFLINE: ("offline", "waiting"),
    OverallState.NEEDS_YOU: ("warning", "needs_you"),
}


class Header(QWidget):
    """Shows a Headline; the rest are actions."""

    def __init__(self, actions: Actions, address: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("header")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.setFixedHeight(max(HEIGHT, theme.snapped(self.fontMetrics().height() + 28)))
        self._actions = actions
        self._glyph = GlyphLabel("check", 20, "good")
        self._state = ElidedLabel(font=theme.font(step=2, weight=QFont.Weight.Medium))
        self._more = ElidedLabel(colour="secondary")
        self._more.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self._address = ElidedLabel(address, font=theme.fixed_font(), colour="secondary", least=240)
        self._address.setAccessibleName(f"Address of this registry: {address}")
        self.copy_button = ToolButton("copy", "Copy the address of this registry")
        self.copy_button.clicked.connect(actions.copy_address.trigger)
        self.pause_button = _PauseButton(actions)
        self.menu_button = ToolButton("settings", "Settings and more", size=20)
        self.menu_button.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self.menu_button.setMenu(self._menu())
        row = QHBoxLayout(self)
        row.setContentsMargins(20, 0, 16, 0)
        row.setSpacing(8)
        row.addWidget(self._glyph)
        row.addSpacing(4)
        row.addWidget(self._state)
        row.addWidget(self._more, 1)
        row.addWidget(self._address)
        row.addWidget(self.copy_button)
        row.addSpacing(8)
        row.addWidget(self.pause_button)
        row.addWidget(self.menu_button)

    def show_headline(self, headline: Headline) -> None:
        glyph, colour = STATE_LOOKS[headline.state]
        self._glyph.show_glyph(glyph, colour)
        self._state.set_text(headline.text)
        self._more.set_text(f"· {headline.more}" if headline.more else "")
        self.pause_button.show_paused(not self._actions.pause.isEnabled())

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        narrow = self.width() < NARROW
        self.pause_button.set_narrow(narrow)
        self._address.setVisible(not narrow)

    def _menu(self) -> QMenu:
        menu = QMenu(self)
        actions = self._actions
        menu.addActions([actions.add_upstream, actions.show_upstreams])
        menu.addSeparator()
        menu.addActions([actions.open_settings_file, actions.open_data_folder])
        menu.addSeparator()
        menu.addActions([actions.retry_all, actions.cancel_all])
        menu.addSeparator()
        menu.addAction(actions.quit)
        return menu


class _PauseButton(ToolButton):
    """Pause, with for how long in its menu; while paused it is Resume alone."""

    def __init__(self, actions: Actions, parent: QWidget | None = None) -> None:
        super().__init__("pause", "Pause syncing", parent)
        self._actions = actions
        self._paused: bool | None = None
        self._narrow = False
        self._menu = QMenu(self)
        self._menu.addActions(list(actions.pause_choices))
        self.setProperty("face", "button")
        self.setIconSize(QSize(16, 16))
        self.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.clicked.connect(self._on_click)
        self.show_paused(False)

    def show_paused(self, paused: bool) -> None:
        if paused == self._paused:
            return
        self._paused = paused
        action: QAction = self._actions.resume if paused else self._actions.pause
        self.setText(action.text())
        self.say(f"{action.text()} syncing ({action.shortcut().toString()})")
        self.show_glyph("play" if paused else "pause")
        self.setMenu(None if paused else self._menu)  # type: ignore[arg-type]
        mode = QToolButton.ToolButtonPopupMode
        give_role(self, "menu", not paused)
        self.setPopupMode(mode.DelayedPopup if paused else mode.MenuButtonPopup)

    def set_narrow(self, narrow: bool) -> None:
        if narrow != self._narrow:
            self._narrow = narrow
            style = Qt.ToolButtonStyle
            self.setToolButtonStyle(style.ToolButtonIconOnly if narrow else style.ToolButtonTextBesideIcon)

    def _on_click(self) -> None:
        (self._actions.resume if self._paused else self._actions.pause).trigger()
