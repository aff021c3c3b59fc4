"""Below the queue: the repositories that are paused, also those of which nothing waits yet, each with its way on."""

from datetime import datetime

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QHBoxLayout, QVBoxLayout, QWidget

from yarddesk.desktop import words
from yarddesk.desktop.views.parts import Button, ElidedLabel, GlyphLabel
from yarddesk.sync.snapshot import SyncSnapshot

MOST = 2


class PausedStrip(QWidget):
    """A line for each; hidden where none is paused."""

    resume_wanted = Signal(str)
    """A repository's name."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setAccessibleName("Paused repositories")
        self.buttons: list[Button] = []
        self._said: tuple[tuple[str, str], ...] = ()
        self._column = QVBoxLayout(self)
        self.setObjectName("strip")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self._column.setContentsMargins(20, 5, 16, 5)
        self._column.setSpacing(0)
        self.hide()

    @property
    def text(self) -> str:
        """What it says, for whoever can't see it."""
        return "\n".join(text for _, text in self._said)

    def show_snapshot(self, snapshot: SyncSnapshot, now: datetime) -> None:
        said = _lines(snapshot, now)
        if said != self._said:
            self._said = said
            self._fill()
        self.setVisible(bool(said))

    def _fill(self) -> None:
        while (item := self._column.takeAt(0)) is not None:
            if (line := item.widget()) is not None:
                line.hide()
                line.deleteLater()
        self.buttons = []
        for name, text in self._said:
            self._column.addWidget(self._line(name, text))

    def _line(self, name: str, text: str) -> QWidget:
        line = QWidget()
        row = QHBoxLayout(line)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(12)
        row.addWidget(GlyphLabel("pause" if name else "more", 16, "secondary"))
        row.addWidget(ElidedLabel(text, colour="secondary"), 1)
        if name:
            button = Button("Resume", face="link")
            button.setProperty("repository", name)
            button.setAccessibleName(f"Resume {words.plain(name, 120)}")
            button.clicked.connect(self._on_click)
            self.buttons.append(button)
            row.addWidget(button)
        return line

    def _on_click(self) -> None:
        self.resume_wanted.emit(self.sender().property("repository"))


def _lines(snapshot: SyncSnapshot, now: datetime) -> tuple[tuple[str, str], ...]:
    """Name and words of each, the first to end first; the last without a name where they are more than can be shown."""
    ends = [(until is None, until or now, str(name)) for name, until in snapshot.paused_repositories.items()]
    lines = []
    for for_ever, until, name in sorted(ends)[:MOST]:
        end = "" if for_ever else f" until {words.moment_with_time(until, now)}"
        lines.append((name, f"Paused{end}: {words.plain(name, 120)}"))
    if len(ends) > MOST:
        more = words.count(len(ends) - MOST, "more repository is", "more repositories are")
        lines.append(("", f"{more} paused"))
    return tuple(lines)
