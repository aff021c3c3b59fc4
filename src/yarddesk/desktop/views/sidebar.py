"""The pages by name, a count where something waits, a dot where something needs the person; and the cache at the foot."""

from dataclasses import dataclass

from PySide6.QtCore import QPoint, QPointF, QRect, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QEnterEvent, QFont, QFontMetrics, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QAbstractButton, QButtonGroup, QSizePolicy, QVBoxLayout, QWidget

from yarddesk.desktop import theme, words
from yarddesk.desktop.icons import glyph
from yarddesk.desktop.views.parts import ElidedLabel
from yarddesk.desktop.views.sparkline import FillBar, Sparkline

WIDE = 176
NARROW = 56
WORD_LEFT = 40


@dataclass(frozen=True, slots=True)
class Page:
    """A page of the window: `key` for the program, the rest for people."""

    key: str
    title: str
    glyph: str


class PageButton(QAbstractButton):
    """One entry: glyph, word, count or dot. In the narrow sidebar the word is in the tooltip."""

    def __init__(self, page: Page, shortcut: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.page = page
        self._shortcut = shortcut
        self._count = 0
        self._needs_you = False
        self._narrow = False
        self.setCheckable(True)
        self.setText(page.title)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setAttribute(Qt.WidgetAttribute.WA_Hover)
        self._name()

    def sizeHint(self) -> QSize:
        return QSize(WIDE - 16, max(36, theme.snapped(QFontMetrics(theme.font()).height() + 16)))

    def show_waiting(self, count: int, *, needs_you: bool) -> None:
        if (count, needs_you) != (self._count, self._needs_you):
            self._count, self._needs_you = count, needs_you
            self._name()
            self.update()

    def set_narrow(self, narrow: bool) -> None:
        self._narrow = narrow
        self._name()
        self.update()

    def enterEvent(self, event: QEnterEvent) -> None:
        super().enterEvent(event)
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        tokens = theme.tokens()
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        self._paint_ground(painter)
        colour = tokens.text if self.isChecked() else tokens.secondary
        middle = self.height() // 2
        glyph_left = (self.width() - 20) // 2 if self._narrow else 10
        shown = glyph(self.page.glyph, 20, tokens.accent if self.isChecked() else colour, self.devicePixelRatioF())
        painter.drawPixmap(QPoint(glyph_left, middle - 10), shown)
        if self._narrow:
            if self._needs_you or self._count:
                self._paint_dot(painter, QPointF(glyph_left + 20, middle - 8))
        else:
            text_right = self._paint_count(painter)
            painter.setFont(theme.font(weight=QFont.Weight.Medium if self.isChecked() else QFont.Weight.Normal))
            painter.setPen(colour)
            room = QRect(WORD_LEFT, 0, text_right - WORD_LEFT - 4, self.height())
            painter.drawText(room, Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignLeft, self.page.title)
        painter.end()

    def _paint_ground(self, painter: QPainter) -> None:
        tokens = theme.tokens()
        inset = QRectF(self.rect()).adjusted(1, 1, -1, -1)
        if self.isChecked() or self.underMouse():
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(tokens.selected if self.isChecked() else theme.mix(tokens.sidebar, tokens.text, 0.06))
            painter.drawRoundedRect(inset, theme.RADIUS, theme.RADIUS)
        if self.hasFocus():
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.setPen(QPen(tokens.accent, 2))
            painter.drawRoundedRect(inset, theme.RADIUS, theme.RADIUS)

    def _paint_count(self, painter: QPainter) -> int:
        """The count in its pill at the right; gives where the word must end."""
        tokens = theme.tokens()
        right = self.width() - 10
        if not self._count:
            if self._needs_you:
                self._paint_dot(painter, QPointF(right - 4, self.height() / 2))
                return right - 8
            return right
        font = theme.font(step=-1, weight=QFont.Weight.Medium)
        text = str(self._count) if self._count < 10_000 else "9999+"
        width = max(20, QFontMetrics(font).horizontalAdvance(text) + 12)
        pill = QRectF(right - width, self.height() / 2 - 9, width, 18)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(tokens.needs_you if self._needs_you else tokens.track)
        painter.drawRoundedRect(pill, 9, 9)
        painter.setFont(font)
        painter.setPen(theme.on_colour(tokens.needs_you) if self._needs_you else tokens.text)
        painter.drawText(pill, Qt.AlignmentFlag.AlignCenter, text)
        return int(pill.left())

    def _paint_dot(self, painter: QPainter, centre: QPointF) -> None:
        tokens = theme.tokens()
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(tokens.needs_you if self._needs_you else tokens.accent)
        painter.drawEllipse(centre, 4, 4)

    def _name(self) -> None:
        waiting = f", {self._count} waiting" if self._count else ""
        asking = ", needs you" if self._needs_you else ""
        self.setAccessibleName(f"{self.page.title}{waiting}{asking}")
        shown = f"{self.page.title}{waiting}{asking}" if self._narrow else ""
        self.setToolTip(words.tooltip(f"{shown}\n{self._shortcut}" if shown else self._shortcut))


class Sidebar(QWidget):
    """`page_chosen` carries a page's key."""

    page_chosen = Signal(str)

    def __init__(self, pages: tuple[Page, ...], shortcuts: tuple[str, ...], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("sidebar")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self._group = QButtonGroup(self)
        self._buttons: dict[str, PageButton] = {}
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(8, 8, 9, 16)
        self._column.setSpacing(2)
        for page, shortcut in zip(pages, shortcuts, strict=True):
            button = PageButton(page, shortcut)
            self._group.addButton(button)
            self._buttons[page.key] = button
            self._column.addWidget(button)
        self._group.buttonToggled.connect(self._on_toggle)
        self._column.addStretch(1)
        self._foot = _Foot()
        self._column.addWidget(self._foot)
        self.setFixedWidth(self._wide())

    def choose(self, key: str) -> None:
        self._buttons[key].setChecked(True)

    def button(self, key: str) -> PageButton:
        return self._buttons[key]

    def set_narrow(self, narrow: bool) -> None:
        """Glyphs alone, for a narrow window."""
        width = NARROW if narrow else self._wide()
        if self.width() == width and self.maximumWidth() == width:
            return
        self.setFixedWidth(width)
        for button in self._buttons.values():
            button.set_narrow(narrow)
        self._foot.set_narrow(narrow)

    def _wide(self) -> int:
        """More than usual where the system's font is large: a word must not run into the dot beside it."""
        metrics = QFontMetrics(theme.font(weight=QFont.Weight.Medium))
        widest = max(metrics.horizontalAdvance(button.page.title) for button in self._buttons.values())
        return max(WIDE, theme.snapped(WORD_LEFT + widest + 40))

    def show_usage(self, used: int, bound: int, stored: int) -> None:
        self._foot.show_usage(used, bound, stored)

    def show_throughput(self, values: tuple[float, ...]) -> None:
        self._foot.sparkline.show_values(values)

    def show_fetching(self, layers: int, bytes_per_second: float) -> None:
        self._foot.show_fetching(layers, bytes_per_second)

    def _on_toggle(self, button: QAbstractButton, checked: bool) -> None:
        if checked and isinstance(button, PageButton):
            self.page_chosen.emit(button.page.key)


class _Foot(QWidget):
    """What is stored, of how much, and how fast things go."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.sparkline = Sparkline()
        self._fetching = ElidedLabel(colour="secondary", font=theme.font(step=-1))
        self._fetching.hide()
        self._narrow = False
        self._text = ElidedLabel(colour="secondary", font=theme.font(step=-1))
        self._bar = FillBar()
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(8, 0, 8, 0)
        self._column.setSpacing(8)
        self._column.addWidget(self._fetching)
        self._column.addWidget(self.sparkline)
        self._column.addWidget(self._text)
        self._column.addWidget(self._bar)
        self._full = ""
        self._fetches = False

    def show_usage(self, used: int, bound: int, stored: int) -> None:
        self._full = f"{words.size(used)} of {words.size(bound)}" if bound else f"{words.size(stored)} stored"
        told = f"Can be had again: {self._full}. Stored in all: {words.size(stored)}." if bound else self._full
        self._text.set_text(self._full)
        self._bar.setVisible(bool(bound))
        self._bar.show_fraction(used / bound if bound else 0.0)
        self.setToolTip(words.tooltip(told))
        self.setAccessibleName(told)

    def show_fetching(self, layers: int, bytes_per_second: float) -> None:
        """What comes in from upstreams just now, if anything does."""
        rate = words.rate(bytes_per_second)
        self._fetching.set_text(f"Fetching · {rate}" if rate else "Fetching…")
        told = f"{words.count(layers, 'layer')} on the way from upstreams"
        self._fetching.setToolTip(words.tooltip(told))
        self._fetching.setAccessibleName(f"{told}{f', at {rate}' if rate else ''}")
        self._fetches = layers > 0
        self._fetching.setVisible(self._fetches and not self._narrow)

    def set_narrow(self, narrow: bool) -> None:
        self._narrow = narrow
        self._fetching.setVisible(self._fetches and not narrow)
        self._column.setContentsMargins(0 if narrow else 8, 0, 0 if narrow else 8, 0)
        self._text.setVisible(not narrow)
