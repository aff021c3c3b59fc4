"""Small widgets that several views share. Text of any origin is plain text in all of them."""

from PySide6.QtCore import QEvent, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QFont, QFontMetrics, QPainter, QPaintEvent, QPen, QResizeEvent
from PySide6.QtWidgets import (
    QAbstractButton,
    QCheckBox,
    QFrame,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSizePolicy,
    QStyle,
    QStyleOptionButton,
    QToolButton,
    QWidget,
)

from yarddesk.desktop import theme, words
from yarddesk.desktop.icons import glyph, glyph_icon


def label(text: str = "", *, role: str = "", step: float = 0, weight: QFont.Weight = QFont.Weight.Normal) -> QLabel:
    """A label of plain text; `role` is a colour's name in the style sheet."""
    made = QLabel(text)
    made.setTextFormat(Qt.TextFormat.PlainText)
    made.setFont(theme.font(step=step, weight=weight))
    if role:
        made.setProperty("role", role)
    return made


def paragraph(text: str = "", *, role: str = "secondary") -> QLabel:
    """A label that wraps, and whose text can be selected."""
    made = label(text, role=role)
    made.setWordWrap(True)
    made.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    return made


def give_role(widget: QWidget, name: str, value: object) -> None:
    """Set a property that the style sheet looks at, and look again."""
    if widget.property(name) != value:
        widget.setProperty(name, value)
        widget.style().unpolish(widget)
        widget.style().polish(widget)


class CheckBox(QCheckBox):
    """Drawn with our colours: the platform's box is a shade of its window, and on a dark surface nobody sees it."""

    def paintEvent(self, event: QPaintEvent) -> None:
        tokens, style, option = theme.tokens(), self.style(), QStyleOptionButton()
        self.initStyleOption(option)
        box = style.subElementRect(QStyle.SubElement.SE_CheckBoxIndicator, option, self)
        place = style.subElementRect(QStyle.SubElement.SE_CheckBoxContents, option, self)
        checked, focused = self.isChecked(), self.hasFocus()
        edge = tokens.accent if checked or focused else tokens.secondary
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setBrush(tokens.accent if checked else Qt.BrushStyle.NoBrush)
        painter.setPen(QPen(tokens.text if checked and focused else edge, 2 if focused else 1))
        inset = 1.0 if focused else 0.5
        painter.drawRoundedRect(QRectF(box).adjusted(inset, inset, -inset, -inset), 4, 4)
        if checked:
            ratio = self.devicePixelRatioF()
            painter.drawPixmap(box.topLeft(), glyph("check", box.width(), tokens.on_accent, ratio))
        painter.setPen(tokens.text)
        painter.drawText(place, Qt.AlignmentFlag.AlignVCenter | Qt.TextFlag.TextShowMnemonic, self.text())
        painter.end()


class GlyphLabel(QWidget):
    """A glyph in one of the token's colours, which follows the palette."""

    def __init__(
        self, name: str = "", size: int = 20, colour: str = "secondary", parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._name = name
        self._size = size
        self._colour = colour
        self.setFixedSize(size, size)

    def show_glyph(self, name: str, colour: str) -> None:
        if (name, colour) != (self._name, self._colour):
            self._name, self._colour = name, colour
            self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        if self._name:
            colour = getattr(theme.tokens(), self._colour)
            painter = QPainter(self)
            painter.drawPixmap(0, 0, glyph(self._name, self._size, colour, self.devicePixelRatioF()))
            painter.end()


class GlyphButtons:
    """Mixed into buttons: their glyph is drawn anew when the palette changes."""

    glyph_name = ""
    glyph_colour = "text"

    def draw_glyph(self, button: QAbstractButton) -> None:
        if self.glyph_name:
            button.setIcon(glyph_icon(self.glyph_name, getattr(theme.tokens(), self.glyph_colour)))


class ToolButton(QToolButton, GlyphButtons):
    """A flat button with a glyph, words for its tooltip and for a screen reader."""

    def __init__(self, name: str, text: str, parent: QWidget | None = None, *, size: int = 16) -> None:
        super().__init__(parent)
        self.glyph_name = name
        self.setIconSize(QSize(size, size))
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.say(text)
        self.draw_glyph(self)

    def say(self, text: str) -> None:
        self.setToolTip(words.tooltip(text))
        self.setAccessibleName(words.plain(text))

    def show_glyph(self, name: str) -> None:
        if name != self.glyph_name:
            self.glyph_name = name
            self.draw_glyph(self)

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange:
            self.draw_glyph(self)


class Button(QPushButton):
    """A push button; `face` is `main`, `link`, `chip` or empty."""

    def __init__(self, text: str, parent: QWidget | None = None, *, face: str = "") -> None:
        super().__init__(text, parent)
        self.setAutoDefault(face == "main")
        if face:
            self.setProperty("face", face)


class ElidedLabel(QWidget):
    """One line of plain text that gives way where there is too little room, to `least` pixels; its tooltip has the whole."""

    def __init__(
        self,
        text: str = "",
        *,
        colour: str = "text",
        font: QFont | None = None,
        mode: Qt.TextElideMode = Qt.TextElideMode.ElideRight,
        least: int = 64,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._text = ""
        self._colour = colour
        self._mode = mode
        self._least = least
        self.setFont(font or theme.font())
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
        self.set_text(text)

    @property
    def text(self) -> str:
        return self._text

    def set_text(self, text: str) -> None:
        text = words.plain(text)
        if text != self._text:
            self._text = text
            self.setAccessibleName(text)
            self._explain()
            self.updateGeometry()
            self.update()

    def sizeHint(self) -> QSize:
        metrics = QFontMetrics(self.font())
        return QSize(metrics.horizontalAdvance(self._text) + 2, metrics.height())

    def minimumSizeHint(self) -> QSize:
        metrics = QFontMetrics(self.font())
        return QSize(min(metrics.horizontalAdvance(self._text) + 2, self._least), metrics.height())

    def resizeEvent(self, event: QResizeEvent) -> None:
        self._explain()

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setPen(getattr(theme.tokens(), self._colour))
        painter.setFont(self.font())
        metrics = QFontMetrics(self.font())
        whole = metrics.horizontalAdvance(self._text) <= self.width()
        # Of a word or less there is nothing to be read.
        told = whole or self.width() >= metrics.averageCharWidth() * 5
        shown = metrics.elidedText(self._text, self._mode, self.width()) if told else ""
        painter.drawText(self.rect(), Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignLeft, shown)
        painter.end()

    def _explain(self) -> None:
        whole = QFontMetrics(self.font()).horizontalAdvance(self._text) <= self.width()
        self.setToolTip("" if whole else words.tooltip(self._text))


class CommandBox(QFrame):
    """A command to run, with a button that copies it."""

    copied = Signal(str)

    def __init__(self, command: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("command")
        self._text = ElidedLabel(command, font=theme.fixed_font())
        self._copy = ToolButton("copy", f"Copy “{command}”")
        self._copy.clicked.connect(self._on_copy)
        row = QHBoxLayout(self)
        row.setContentsMargins(12, 4, 4, 4)
        row.setSpacing(8)
        row.addWidget(self._text, 1)
        row.addWidget(self._copy)

    @property
    def command(self) -> str:
        return self._text.text

    def _on_copy(self) -> None:
        self.copied.emit(self._text.text)


def page_head(title: str, about: str, button: QWidget) -> QHBoxLayout:
    """The first row of a page: its name, what it's for, and what can be done there."""
    row = QHBoxLayout()
    row.setSpacing(12)
    row.addWidget(label(title, step=2, weight=QFont.Weight.DemiBold))
    row.addWidget(ElidedLabel(about, colour="secondary"), 1)
    row.addWidget(button)
    return row
