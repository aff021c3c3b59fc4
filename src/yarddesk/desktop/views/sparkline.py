"""The throughput of the last two minutes as a small curve, and the cache's fill as a bar."""

from collections.abc import Sequence

from PySide6.QtCore import QPointF, QRectF, QSize, Qt
from PySide6.QtGui import QColor, QLinearGradient, QPainter, QPainterPath, QPaintEvent, QPen
from PySide6.QtWidgets import QSizePolicy, QWidget

from yarddesk.desktop import theme, words

_FLOOR = 1_000_000.0
"""Bytes a second: the curve's scale never ends below it, so that a trickle doesn't look like a flood."""


class Sparkline(QWidget):
    """`show_values` takes bytes a second, oldest first."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._values: tuple[float, ...] = ()
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setAccessibleName("Throughput of the last two minutes")

    def sizeHint(self) -> QSize:
        return QSize(120, 32)

    def show_values(self, values: Sequence[float]) -> None:
        values = tuple(values)
        if values != self._values:
            self._values = values
            now = words.rate(values[-1]) if values else ""
            self.setAccessibleDescription(f"now {now or 'nothing'}, at most {words.rate(max(values)) or 'nothing'}")
            self.setToolTip(
                words.tooltip(
                    f"Sent and fetched over the last two minutes, at most {words.rate(max(values)) or '0 B/s'}"
                )
            )
            self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        tokens = theme.tokens()
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        base = self.height() - 1.5
        painter.setPen(QPen(tokens.line, 1))
        painter.drawLine(QPointF(0, base + 1), QPointF(self.width(), base + 1))
        if any(self._values):
            self._paint_curve(painter, base)
        painter.end()

    def _paint_curve(self, painter: QPainter, base: float) -> None:
        accent = theme.tokens().accent
        highest = max(_FLOOR, max(self._values)) * 1.1
        step = self.width() / max(1, len(self._values) - 1)
        curve = QPainterPath(QPointF(0, base - (base - 2) * self._values[0] / highest))
        for position, value in enumerate(self._values[1:], 1):
            curve.lineTo(position * step, base - (base - 2) * value / highest)
        area = QPainterPath(curve)
        area.lineTo(self.width(), base)
        area.lineTo(0, base)
        wash = QLinearGradient(0, 0, 0, base)
        wash.setColorAt(0, _clear(accent, 0.30))
        wash.setColorAt(1, _clear(accent, 0.04))
        painter.fillPath(area, wash)
        painter.setPen(QPen(accent, 1.5, Qt.PenStyle.SolidLine, Qt.PenCapStyle.RoundCap, Qt.PenJoinStyle.RoundJoin))
        painter.drawPath(curve)


class FillBar(QWidget):
    """How full something is: 4 px high; in the colour of waiting from nine tenths on."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._fraction = 0.0
        self.setFixedHeight(4)

    def show_fraction(self, fraction: float) -> None:
        if fraction != self._fraction:
            self._fraction = fraction
            self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        tokens = theme.tokens()
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(tokens.track)
        painter.drawRoundedRect(QRectF(self.rect()), 2, 2)
        if self._fraction > 0:
            painter.setBrush(tokens.waiting if self._fraction >= 0.9 else tokens.secondary)
            width = max(4.0, self.width() * min(1.0, self._fraction))
            painter.drawRoundedRect(QRectF(0, 0, width, self.height()), 2, 2)
        painter.end()


def _clear(colour: QColor, opacity: float) -> QColor:
    washed = QColor(colour)
    washed.setAlphaF(opacity)
    return washed
