"""A strip below the header: for what stops everything, for what did not work, and for what must be said once."""

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QFont
from PySide6.QtWidgets import QFrame, QHBoxLayout, QVBoxLayout, QWidget

from yarddesk.desktop import words
from yarddesk.desktop.core import Problem, Remedy
from yarddesk.desktop.tasks import Failure
from yarddesk.desktop.views.parts import Button, GlyphLabel, ToolButton, give_role, label, paragraph

REMEDY_WORDS: dict[Remedy, str] = {
    Remedy.RETRY: "Try now",
    Remedy.OPEN_DATA_FOLDER: "Open data folder",
    Remedy.OPEN_QUEUE_FOLDER: "Open folder",
    Remedy.OPEN_SETTINGS_FILE: "Open settings file",
    Remedy.SHOW_UPSTREAMS: "Show upstreams",
}


class Banner(QFrame):
    """One thing at a time: `show_problem` stays as long as the problem does, `show_failure` until it is closed."""

    remedy_wanted = Signal(object)
    """A Remedy."""
    details_wanted = Signal(str, str)
    """A title and the raw answer."""
    closed = Signal()
    button_pressed = Signal(str)
    """The key of a button of `show_notice`."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("banner")
        self._glyph = GlyphLabel("warning", 20, "needs_you")
        self._title = label(weight=QFont.Weight.Medium)
        self._title.setWordWrap(True)
        self._hint = paragraph()
        self._buttons = QHBoxLayout()
        self._buttons.setSpacing(8)
        self._close = ToolButton("close", "Close this message")
        self._close.clicked.connect(self._on_close)
        self._details = ("", "")
        text = QVBoxLayout()
        text.setSpacing(2)
        text.addWidget(self._title)
        text.addWidget(self._hint)
        row = QHBoxLayout(self)
        row.setContentsMargins(20, 8, 16, 8)
        row.setSpacing(12)
        row.addWidget(self._glyph, 0, Qt.AlignmentFlag.AlignTop)
        row.addLayout(text, 1)
        row.addLayout(self._buttons)
        row.addWidget(self._close)
        self.hide()

    @property
    def text(self) -> str:
        """What it says, for whoever can't see it."""
        return " ".join(part for part in (self._title.text(), self._hint.text()) if part)

    def show_problem(self, problem: Problem) -> None:
        """What stops everything, with the button that helps."""
        self._say("warning", problem.title, problem.hint, problem.details)
        if problem.remedy is not None:
            button = self._add_button(REMEDY_WORDS[problem.remedy])
            button.setProperty("remedy", problem.remedy.value)
            button.clicked.connect(self._on_remedy)
        self._close.hide()

    def show_failure(self, failure: Failure) -> None:
        """What a person asked for and did not get."""
        self._say("warning", failure.title, failure.hint, failure.details)
        self._close.show()

    def show_notice(self, title: str, hint: str, buttons: tuple[tuple[str, str], ...]) -> None:
        """Something to know; `buttons` are pairs of key and words."""
        self._say("info", title, hint, "")
        for key, text in buttons:
            button = self._add_button(text)
            button.setProperty("key", key)
            button.clicked.connect(self._on_button)
        self._close.show()

    def _say(self, glyph: str, title: str, hint: str, details: str) -> None:
        quiet = glyph == "info"
        give_role(self, "tone", "quiet" if quiet else "loud")
        self._glyph.show_glyph(glyph, "accent" if quiet else "needs_you")
        self._title.setText(words.plain(title, 300))
        self._hint.setText(words.plain(hint, 300))
        self._hint.setVisible(bool(hint))
        self._clear_buttons()
        self._details = (title, details)
        if details and words.plain(details) not in (words.plain(title), words.plain(hint)):
            self._add_button("Details…").clicked.connect(self._on_details)
        self.setAccessibleName(self.text)
        self.show()

    def _add_button(self, text: str) -> Button:
        button = Button(text)
        self._buttons.addWidget(button)
        return button

    def _clear_buttons(self) -> None:
        while (item := self._buttons.takeAt(0)) is not None:
            if (widget := item.widget()) is not None:
                widget.hide()
                widget.deleteLater()

    def _on_remedy(self) -> None:
        self.remedy_wanted.emit(Remedy(self.sender().property("remedy")))

    def _on_button(self) -> None:
        self.button_pressed.emit(self.sender().property("key"))

    def _on_details(self) -> None:
        self.details_wanted.emit(*self._details)

    def _on_close(self) -> None:
        self.hide()
        self.closed.emit()
