"""What a page says when there is nothing on it: what to do next, ready to be done."""

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QFont
from PySide6.QtWidgets import QHBoxLayout, QLineEdit, QSizePolicy, QVBoxLayout, QWidget

from yarddesk.desktop.views.parts import Button, CommandBox, GlyphLabel, give_role, label

WIDTH = 440


class Empty(QWidget):
    """A glyph, a title, a sentence, and below them what `content` holds; in the middle of the page."""

    def __init__(self, glyph: str, title: str, text: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._glyph = GlyphLabel(glyph, 40, "secondary")
        self._title = label(title, step=3, weight=QFont.Weight.Medium)
        self._title.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._title.setWordWrap(True)
        self._text = label(text, role="secondary")
        self._text.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._text.setWordWrap(True)
        self.content = QVBoxLayout()
        self.content.setSpacing(12)
        block = QWidget()
        block.setMaximumWidth(WIDTH)
        block.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)
        column = QVBoxLayout(block)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(8)
        column.addWidget(self._glyph, 0, Qt.AlignmentFlag.AlignHCenter)
        column.addSpacing(4)
        column.addWidget(self._title)
        column.addWidget(self._text)
        column.addSpacing(12)
        column.addLayout(self.content)
        across = QHBoxLayout()
        across.addStretch(1)
        across.addWidget(block, 100)
        across.addStretch(1)
        page = QVBoxLayout(self)
        page.setContentsMargins(24, 24, 24, 24)
        page.addStretch(2)
        page.addLayout(across)
        page.addStretch(3)

    def say(self, title: str, text: str) -> None:
        self._title.setText(title)
        self._text.setText(text)
        self._text.setVisible(bool(text))


class NothingWaits(Empty):
    """An upstream takes pushes, and there is nothing to push: the command that does it."""

    copied = Signal(str)

    def __init__(self, address: str, parent: QWidget | None = None) -> None:
        super().__init__("queue", "Nothing is waiting", "Push something, and watch it go up from here:", parent)
        self.command = CommandBox(f"docker push {address}/hello:latest")
        self.command.copied.connect(self.copied)
        self.content.addWidget(self.command)


class NoUpstream(Empty):
    """Nothing takes pushes yet: a field for the registry that shall."""

    add_wanted = Signal(str)
    """A registry's URL."""

    def __init__(self, address: str, parent: QWidget | None = None) -> None:
        super().__init__(
            "upstreams",
            "Where do your pushes go?",
            f"Images pushed to {address} stay here until there is an upstream for them: "
            "name the registry that they are to be synced to.",
            parent,
        )
        self.field = QLineEdit()
        self.field.setPlaceholderText("registry.example.com/team")
        self.field.setAccessibleName("Registry to sync pushes to")
        self.field.setClearButtonEnabled(True)
        self.button = Button("Add upstream", face="main")
        self.button.setEnabled(False)
        self._wrong = label(role="needs_you")
        self._wrong.setWordWrap(True)
        self._wrong.hide()
        row = QHBoxLayout()
        row.setSpacing(8)
        row.addWidget(self.field, 1)
        row.addWidget(self.button)
        self.content.addLayout(row)
        self.content.addWidget(self._wrong)
        self.field.textChanged.connect(self._on_text)
        self.field.returnPressed.connect(self._on_add)
        self.button.clicked.connect(self._on_add)

    def show_wrong(self, text: str) -> None:
        """Why it could not be added; empty when it was."""
        self._wrong.setText(text)
        self._wrong.setVisible(bool(text))
        give_role(self.field, "wrong", bool(text))
        self._on_text()

    def _on_text(self) -> None:
        self.button.setEnabled(bool(self.field.text().strip()))

    def _on_add(self) -> None:
        url = self.field.text().strip()
        if url:
            self.button.setEnabled(False)
            self.add_wanted.emit(url)
