"""One container engine: how it stands, what would change as a diff, and what came of it."""

from PySide6.QtCore import Signal
from PySide6.QtGui import QColor, QFont, QSyntaxHighlighter, QTextCharFormat, QTextDocument
from PySide6.QtWidgets import QFrame, QHBoxLayout, QPlainTextEdit, QVBoxLayout, QWidget

from yarddesk.desktop import theme, words
from yarddesk.desktop.views.parts import Button, ElidedLabel, GlyphLabel, give_role, label, paragraph
from yarddesk.engines.model import EngineStatus, Plan, SetupState
from yarddesk.errors import YarddeskError

MOST_DIFF_LINES = 16

_STATES: dict[SetupState, tuple[str, str]] = {
    SetupState.SET_UP: ("check", "good"),
    SetupState.NOT_SET_UP: ("setup", "secondary"),
    SetupState.BLOCKED: ("warning", "waiting"),
    SetupState.ABSENT: ("offline", "secondary"),
}


class EngineCard(QFrame):
    """The signals carry the engine's key."""

    apply_wanted = Signal(str)
    undo_wanted = Signal(str)
    prove_wanted = Signal(str)

    def __init__(self, key: str, title: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("card")
        self.setAccessibleName(title)
        self.key = key
        self.busy = False
        self._status: EngineStatus | None = None
        self._plan: Plan | None = None
        self._glyph = GlyphLabel("setup", 20, "secondary")
        self._version = ElidedLabel(colour="secondary")
        self._sentence = paragraph(role="")
        self._next = paragraph()
        self._notes = paragraph()
        self.diff = QPlainTextEdit()
        self.diff.setObjectName("diff")
        self.diff.setReadOnly(True)
        self.diff.setTabChangesFocus(True)
        self.diff.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
        self.diff.setFont(theme.fixed_font(-0.5))
        self.diff.setAccessibleName(f"What would change for {title}")
        self.diff.horizontalScrollBar().rangeChanged.connect(self._fit_diff)
        self._colours = _DiffColours(self.diff.document())
        self.result = paragraph()
        self.apply_button = Button("Apply", face="main")
        self.undo_button = Button("Undo")
        self.prove_button = Button("Prove it")
        self._lay_out(title)
        self.apply_button.clicked.connect(self._on_apply)
        self.undo_button.clicked.connect(self._on_undo)
        self.prove_button.clicked.connect(self._on_prove)
        self.result.hide()
        self._arrange()

    def show_status(self, status: EngineStatus) -> None:
        self._status = status
        if status.state is not SetupState.NOT_SET_UP:
            self._plan = None
        self._glyph.show_glyph(*_STATES[status.state])
        self._version.set_text(status.version)
        self._sentence.setText(words.plain(status.sentence, 400))
        self._next.setText(words.plain(status.next_step, 400))
        self._arrange()

    def show_plan(self, plan: Plan) -> None:
        """What applying it would change."""
        self._plan = None if plan.empty else plan
        diff = plan.diff()
        self.diff.setPlainText(diff.rstrip("\n"))
        self._fit_diff()
        notes = [*plan.notes, plan.reload]
        self._notes.setText(" ".join(words.sentence(words.plain(note, 300)) for note in notes if note))
        self._arrange()

    def _fit_diff(self) -> None:
        """High enough for its lines, and for the bar below them where one is too long."""
        lines = min(MOST_DIFF_LINES, self.diff.blockCount())
        across = self.diff.horizontalScrollBar()
        bar = across.sizeHint().height() if across.maximum() > across.minimum() else 0
        self.diff.setFixedHeight(theme.snapped(self.diff.fontMetrics().lineSpacing() * lines + 22) + bar)

    def show_busy(self, text: str) -> None:
        self.busy = True
        self._say(text, "secondary")
        self._arrange()

    def show_result(self, text: str) -> None:
        self.busy = False
        self._say(text, "good")
        self._arrange()

    def show_error(self, error: YarddeskError) -> None:
        self.busy = False
        self._say(str(error), "needs_you")
        self._arrange()

    def _say(self, text: str, role: str) -> None:
        give_role(self.result, "role", role)
        self.result.setText(words.plain(text, 1000))
        self.result.show()

    def _lay_out(self, title: str) -> None:
        head = QHBoxLayout()
        head.setSpacing(8)
        head.addWidget(self._glyph)
        head.addWidget(label(title, step=1, weight=QFont.Weight.Medium))
        head.addWidget(self._version, 1)
        buttons = QHBoxLayout()
        buttons.setSpacing(8)
        for button in (self.apply_button, self.prove_button, self.undo_button):
            buttons.addWidget(button)
        buttons.addStretch(1)
        body = QVBoxLayout()
        body.setContentsMargins(28, 0, 0, 0)
        body.setSpacing(8)
        for widget in (self._sentence, self._next, self.diff, self._notes, self.result):
            body.addWidget(widget)
        body.addLayout(buttons)
        column = QVBoxLayout(self)
        column.setContentsMargins(16, 12, 16, 12)
        column.setSpacing(4)
        column.addLayout(head)
        column.addLayout(body)

    def _arrange(self) -> None:
        """What is there to see and to press, by state."""
        buttons = (self.apply_button, self.prove_button, self.undo_button)
        focused = any(widget.hasFocus() for widget in (self, *buttons))
        if focused:
            # The button that was pressed may go now; without this the focus would jump out of the page.
            self.setFocus()
        state = self._status.state if self._status else None
        planned = self._plan is not None
        self._next.setVisible(bool(self._next.text()))
        self.diff.setVisible(planned)
        self._notes.setVisible(planned and bool(self._notes.text()))
        self.apply_button.setVisible(planned)
        self.prove_button.setVisible(state is SetupState.SET_UP)
        self.undo_button.setVisible(self._status is not None and self._status.undoable)
        for button in buttons:
            button.setEnabled(not self.busy)
        if focused and not self.busy:
            next((button for button in buttons if not button.isHidden()), self).setFocus()

    def _on_apply(self) -> None:
        self.apply_wanted.emit(self.key)

    def _on_undo(self) -> None:
        self.undo_wanted.emit(self.key)

    def _on_prove(self) -> None:
        self.prove_wanted.emit(self.key)


class _DiffColours(QSyntaxHighlighter):
    """Lines that come and go, told by their sign first and by colour second."""

    def __init__(self, document: QTextDocument) -> None:
        super().__init__(document)

    def highlightBlock(self, text: str) -> None:
        tokens = theme.tokens()
        if text.startswith(("---", "+++", "@@")):
            self._colour(text, tokens.secondary, None)
        elif text.startswith("+"):
            self._colour(text, tokens.text, tokens.added)
        elif text.startswith("-"):
            self._colour(text, tokens.text, tokens.removed)

    def _colour(self, text: str, colour: QColor, ground: QColor | None) -> None:
        look = QTextCharFormat()
        look.setForeground(colour)
        if ground is not None:
            look.setBackground(ground)
        self.setFormat(0, len(text), look)
