"""What our dialogs share: a title, a column for what they ask, and buttons at the foot. Opened, never executed."""

from PySide6.QtCore import QEvent, Qt
from PySide6.QtGui import QFont
from PySide6.QtWidgets import QDialog, QFormLayout, QHBoxLayout, QLabel, QVBoxLayout, QWidget

from yarddesk.desktop import theme, words
from yarddesk.desktop.style import style_sheet
from yarddesk.desktop.views.parts import Button, label, paragraph

WIDTH = 420


class Dialog(QDialog):
    """Deletes itself when it is closed."""

    def __init__(self, title: str, text: str = "", parent: QWidget | None = None, *, width: int = WIDTH) -> None:
        super().__init__(parent)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle(words.plain(title, 120))
        self.setMinimumWidth(width)
        self._title = label(words.plain(title, 300), step=2, weight=QFont.Weight.DemiBold)
        self._title.setWordWrap(True)
        self._text = paragraph(text)
        self._text.setVisible(bool(text))
        self.body = QVBoxLayout()
        self.body.setSpacing(12)
        self.foot = QHBoxLayout()
        self.foot.setSpacing(8)
        column = self._column = QVBoxLayout(self)
        column.setContentsMargins(24, 20, 24, 20)
        column.setSpacing(8)
        column.addWidget(self._title)
        column.addWidget(self._text)
        column.addSpacing(4)
        column.addLayout(self.body, 1)
        column.addSpacing(8)
        column.addLayout(self.foot)
        self._sheet = ""
        self._dress()

    def open(self) -> None:
        self.fit()
        super().open()

    def fit(self) -> None:
        """Become as high as the text needs at this width; a layout with text that wraps guesses otherwise."""
        width = max(self.minimumWidth(), self.width() if self.isVisible() else 0)
        self.resize(width, max(self._column.totalHeightForWidth(width), self._column.totalMinimumSize().height()))

    def add_foot(self, *buttons: Button) -> None:
        """Buttons at the right, the one that does it last."""
        self.foot.addStretch(1)
        for button in buttons:
            self.foot.addWidget(button)

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange:
            self._dress()

    def _dress(self) -> None:
        sheet = style_sheet(theme.tokens())
        if sheet != self._sheet:
            self._sheet = sheet
            self.setStyleSheet(f"QDialog {{ background: {theme.tokens().surface.name()}; }}{sheet}")


def form() -> QFormLayout:
    """Rows of a label and its field."""
    made = QFormLayout()
    made.setContentsMargins(0, 0, 0, 0)
    made.setHorizontalSpacing(12)
    made.setVerticalSpacing(8)
    made.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.ExpandingFieldsGrow)
    return made


def field_label(text: str, field: QWidget) -> QLabel:
    """A label in the middle of its field's height."""
    made = label(text)
    made.setBuddy(field)
    made.setMinimumHeight(field.sizeHint().height())
    return made


def wrong_label() -> QLabel:
    """Where a form says why it was not taken."""
    made = label(role="needs_you")
    made.setWordWrap(True)
    made.hide()
    return made
