"""Paints rows: an image in the queue, a layer of it, what was synced, a title. No widget is made for a row."""

from PySide6.QtCore import QModelIndex, QObject, QPersistentModelIndex, QPoint, QRect, QRectF, QSize, Qt
from PySide6.QtGui import QColor, QFont, QFontMetrics, QPainter, QPen, QTextLayout
from PySide6.QtWidgets import QStyle, QStyledItemDelegate, QStyleOptionViewItem

from yarddesk.desktop import theme
from yarddesk.desktop.actions import JOB_DEEDS, JobAction, applicable
from yarddesk.desktop.icons import glyph
from yarddesk.desktop.models.row import Row, Tone
from yarddesk.desktop.models.rows_model import Role, RowsModel
from yarddesk.desktop.views import row_layout
from yarddesk.desktop.views.row_layout import JobLayout, job_layout
from yarddesk.progress import LayerProgress
from yarddesk.sync.snapshot import HistoryEntry, JobSnapshot, UpstreamPart

Index = QModelIndex | QPersistentModelIndex

SIGN_IN = "Sign in…"
SETTINGS = "Open settings"
DECIDE = "Decide…"
_LABELLED = (JobAction.SIGN_IN, JobAction.OPEN_SETTINGS, DECIDE)
_LEFT = Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter
_RIGHT = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
_STATE = QStyle.StateFlag


def _height(subject: object) -> int:
    match subject:
        case JobSnapshot() as job:
            return row_layout.job_height(labelled=bool(label_of(job)))
        case HistoryEntry():
            return row_layout.line_height(row_layout.HISTORY_HEIGHT)
        case str():
            return row_layout.line_height(row_layout.TITLE_HEIGHT)
        case _:
            return row_layout.line_height(row_layout.LAYER_HEIGHT)


class RowDelegate(QStyledItemDelegate):
    """Draws from a row's Row alone. `hovered_button` is the action under the mouse, in the row under it;
    `shows_focus` is set while the keyboard is in use."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.hovered_button: JobAction | str | None = None
        self.shows_focus = False
        self._sizes: dict[tuple[type, bool], QSize] = {}

    def forget_sizes(self) -> None:
        """The rows are laid out anew: the font may be another one."""
        self._sizes.clear()

    def sizeHint(self, option: QStyleOptionViewItem, index: Index) -> QSize:
        model = index.model()
        subject = model.shown_at(index) if isinstance(model, RowsModel) else index.data(Role.SUBJECT)
        kind = type(subject), isinstance(subject, JobSnapshot) and bool(label_of(subject))
        size = self._sizes.get(kind)
        if size is None:
            size = self._sizes[kind] = QSize(0, _height(subject))
        return size

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: Index) -> None:
        row, subject = index.data(Role.ROW), index.data(Role.SUBJECT)
        if row is None:
            return
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        pen = _Pen(painter, option, shows_focus=self.shows_focus)
        match subject:
            case JobSnapshot():
                pen.ground()
                _paint_job(pen, row, subject, index, option, self.hovered_button)
            case HistoryEntry():
                pen.ground()
                _paint_history(pen, row)
            case UpstreamPart() | LayerProgress():
                pen.ground()
                _paint_layer(pen, row, of_digest=isinstance(subject, LayerProgress))
            case _:
                _paint_title(pen, row)
        painter.restore()


def layout_of(rect: QRect, row: Row, job: JobSnapshot) -> JobLayout:
    """Where the parts of a job's row are; `rect` is the row's in the viewport."""
    fonts = row_layout.fonts()
    return job_layout(
        rect,
        applicable(job),
        has_bar=row.fraction is not None,
        status_width=fonts.small_metrics.horizontalAdvance(row.status),
        labelled_width=fonts.small_metrics.horizontalAdvance(label_of(job)) + 24 if label_of(job) else 0,
        destination_width=fonts.small_metrics.horizontalAdvance(row.destination) + 2,
        name_width=fonts.name_metrics.horizontalAdvance(row.name) + 2,
    )


def label_of(job: JobSnapshot) -> str:
    """The words of the button that a job's row shows also when nobody points at it; empty where it has none."""
    if any(part.needs_credentials for part in job.parts):
        return SIGN_IN
    if any(part.needs_settings for part in job.parts):
        return SETTINGS
    return DECIDE if any(part.conflict is not None for part in job.parts) else ""


class _Pen:
    """A painter with the row's rectangle, state and colours at hand."""

    def __init__(self, painter: QPainter, option: QStyleOptionViewItem, *, shows_focus: bool) -> None:
        self.painter = painter
        self.rect: QRect = option.rect
        state: QStyle.StateFlag = option.state
        self.selected = bool(state & _STATE.State_Selected)
        self.focused = shows_focus and bool(state & _STATE.State_HasFocus)
        self.hovered = bool(state & _STATE.State_MouseOver)
        self.ratio = painter.device().devicePixelRatioF()
        self.tokens = theme.tokens()
        self.fonts = row_layout.fonts()

    def ground(self) -> None:
        """What lies under the row: nothing, a hint of the mouse, or the selection; and a ring for the focus."""
        inset = QRectF(self.rect).adjusted(8.5, 1.5, -8.5, -1.5)
        if self.selected or self.hovered:
            self.painter.setPen(Qt.PenStyle.NoPen)
            self.painter.setBrush(self.tokens.selected if self.selected else self.tokens.hover)
            self.painter.drawRoundedRect(inset, theme.RADIUS, theme.RADIUS)
        if self.focused:
            self.painter.setPen(QPen(self.tokens.accent, 1.5))
            self.painter.setBrush(Qt.BrushStyle.NoBrush)
            self.painter.drawRoundedRect(inset, theme.RADIUS, theme.RADIUS)

    def text(self, rect: QRect, text: str, font: QFont, metrics: QFontMetrics, colour: QColor, **how: object) -> int:
        """Draw one line, elided to the rectangle; gives the width it took."""
        mode = how.get("elide", Qt.TextElideMode.ElideRight)
        align = how.get("align", _LEFT)
        if rect.width() < metrics.averageCharWidth() * 3 or not text:
            return 0
        assert isinstance(mode, Qt.TextElideMode)
        assert isinstance(align, Qt.AlignmentFlag)
        shown = metrics.elidedText(text, mode, rect.width())
        self.painter.setFont(font)
        self.painter.setPen(colour)
        self.painter.drawText(rect, align | Qt.TextFlag.TextSingleLine, shown)
        return metrics.horizontalAdvance(shown)

    def two_lines(self, rect: QRect, text: str, font: QFont, metrics: QFontMetrics, colour: QColor) -> None:
        """Break the text once, at a word; the second line is elided."""
        layout = QTextLayout(text, font)
        layout.beginLayout()
        line = layout.createLine()
        line.setLineWidth(rect.width())
        layout.endLayout()
        split = line.textLength()
        upper = QRect(rect.left(), rect.top(), rect.width(), rect.height() // 2)
        self.text(upper, text[:split].rstrip(), font, metrics, colour)
        self.text(upper.translated(0, upper.height()), text[split:], font, metrics, colour)

    def glyph(self, rect: QRect, name: str, colour: QColor) -> None:
        """A glyph of 16 px in the middle of the rectangle."""
        size = row_layout.GLYPH
        place = QPoint(rect.center().x() - size // 2 + 1, rect.center().y() - size // 2 + 1)
        self.painter.drawPixmap(place, glyph(name, size, colour, self.ratio))

    def bar(self, rect: QRect, fraction: float, colour: QColor) -> None:
        """A track, and the part of it that is done."""
        half = rect.height() / 2
        self.painter.setPen(Qt.PenStyle.NoPen)
        self.painter.setBrush(self.tokens.track)
        self.painter.drawRoundedRect(QRectF(rect), half, half)
        width = max(rect.height(), rect.width() * min(1.0, fraction))
        self.painter.setBrush(colour)
        self.painter.drawRoundedRect(QRectF(rect.left(), rect.top(), width, rect.height()), half, half)

    def hairline(self, left: int, right: int, y: int) -> None:
        """One pixel high: between two rows of pixels it would be smeared over both."""
        self.painter.fillRect(QRect(left, y, right - left + 1, 1), self.tokens.line)

    def tone(self, tone: Tone) -> QColor:
        """For glyphs and bars."""
        return {
            Tone.QUIET: self.tokens.secondary,
            Tone.ACTIVE: self.tokens.accent,
            Tone.GOOD: self.tokens.good,
            Tone.WAITING: self.tokens.waiting,
            Tone.NEEDS_YOU: self.tokens.needs_you,
        }[tone]

    def tone_text(self, tone: Tone) -> QColor:
        """For words: only what a person should not miss has a colour."""
        return self.tokens.needs_you_text if tone is Tone.NEEDS_YOU else self.tokens.secondary

    def button(self, rect: QRect, name: str, *, hovered: bool) -> None:
        if hovered:
            self.painter.setPen(Qt.PenStyle.NoPen)
            self.painter.setBrush(self.tokens.track)
            self.painter.drawRoundedRect(QRectF(rect).adjusted(1, 1, -1, -1), theme.RADIUS, theme.RADIUS)
        self.glyph(rect, name, self.tokens.text if hovered else self.tokens.secondary)


def _paint_job(
    pen: _Pen, row: Row, job: JobSnapshot, index: Index, option: QStyleOptionViewItem, hovered: JobAction | str | None
) -> None:
    fonts, tokens = pen.fonts, pen.tokens
    where = layout_of(pen.rect, row, job)
    here = hovered if pen.hovered else None
    if not (pen.selected or pen.hovered):
        pen.hairline(row_layout.TEXT_LEFT, pen.rect.right() - row_layout.RIGHT, pen.rect.bottom())
    pen.glyph(where.glyph, row.glyph, pen.tone(row.tone))
    pen.text(where.name, row.name, fonts.name, fonts.name_metrics, tokens.text, elide=Qt.TextElideMode.ElideMiddle)
    pen.text(
        where.destination, row.destination, fonts.small, fonts.small_metrics, tokens.secondary, align=_RIGHT,
        elide=Qt.TextElideMode.ElideMiddle,
    )  # fmt: skip
    if label := label_of(job):
        _paint_labelled(pen, where.labelled, label, hovered=here in _LABELLED)
    if pen.hovered or pen.selected or pen.focused:
        for action, rect in where.buttons:
            pen.button(rect, JOB_DEEDS[action].glyph, hovered=here is action)
    if index.model().rowCount(index):
        opened = bool(option.state & _STATE.State_Open)
        pen.button(where.chevron, "chevron-down" if opened else "chevron-right", hovered=here == "chevron")
    if row.fraction is not None:
        colour = tokens.accent if row.tone is Tone.ACTIVE else theme.mix(tokens.secondary, tokens.surface, 0.25)
        pen.bar(where.bar, row.fraction, colour)
    _paint_status(pen, where.status, row)


def _paint_status(pen: _Pen, rect: QRect, row: Row) -> None:
    """The status on the left; what stands aside on the right gives way first."""
    fonts = pen.fonts
    metrics = fonts.small_metrics
    if rect.height() >= 2 * metrics.height():
        pen.two_lines(rect, row.status, fonts.small, metrics, pen.tone_text(row.tone))
        return
    aside = metrics.horizontalAdvance(row.aside)
    if row.aside and metrics.horizontalAdvance(row.status) + aside + 24 <= rect.width():
        pen.text(rect, row.aside, fonts.small, metrics, pen.tokens.secondary, align=_RIGHT)
        rect = rect.adjusted(0, 0, -aside - 16, 0)
    pen.text(rect, row.status, fonts.small, metrics, pen.tone_text(row.tone))


def _paint_labelled(pen: _Pen, rect: QRect, label: str, *, hovered: bool) -> None:
    edge = QRectF(rect).adjusted(0.5, 0.5, -0.5, -0.5)
    pen.painter.setPen(pen.tokens.accent)
    pen.painter.setBrush(pen.tokens.accent if hovered else Qt.BrushStyle.NoBrush)
    pen.painter.drawRoundedRect(edge, theme.RADIUS, theme.RADIUS)
    colour = pen.tokens.on_accent if hovered else pen.tokens.accent_text
    pen.text(rect, label, pen.fonts.small, pen.fonts.small_metrics, colour, align=Qt.AlignmentFlag.AlignCenter)


def _paint_history(pen: _Pen, row: Row) -> None:
    fonts, tokens, rect = pen.fonts, pen.tokens, pen.rect
    pen.glyph(QRect(rect.left() + row_layout.LEFT, rect.top(), 16, rect.height()), row.glyph, pen.tone(row.tone))
    line = rect.adjusted(row_layout.TEXT_LEFT, 0, -row_layout.RIGHT, 0)
    aside = pen.text(line, row.aside, fonts.small, fonts.small_metrics, tokens.secondary, align=_RIGHT)
    line.setRight(line.right() - aside - 16)
    room = QRect(line.left(), line.top(), int(line.width() * (0.62 if line.width() > 480 else 1.0)), line.height())
    where = f" → {row.destination}"
    reserved = min(fonts.normal_metrics.horizontalAdvance(where), room.width() // 2)
    middle = Qt.TextElideMode.ElideMiddle
    taken = pen.text(
        room.adjusted(0, 0, -reserved, 0), row.name, fonts.normal, fonts.normal_metrics, tokens.text, elide=middle
    )
    room.setLeft(room.left() + taken)
    taken += pen.text(room, where, fonts.normal, fonts.normal_metrics, tokens.secondary, elide=middle)
    rest = line.adjusted(taken + 16, 0, 0, 0)
    if rest.width() > 80:
        pen.text(rest, row.status, fonts.small, fonts.small_metrics, pen.tone_text(row.tone), align=_RIGHT)


def _paint_layer(pen: _Pen, row: Row, *, of_digest: bool) -> None:
    fonts, tokens, rect = pen.fonts, pen.tokens, pen.rect
    left = row_layout.TEXT_LEFT
    pen.glyph(QRect(left, rect.top(), 16, rect.height()), row.glyph, pen.tone(row.tone))
    line = rect.adjusted(left + 24, 0, -row_layout.RIGHT, 0)
    aside = pen.text(line, row.aside, fonts.small, fonts.small_metrics, tokens.secondary, align=_RIGHT)
    font, metrics = (fonts.fixed, fonts.fixed_metrics) if of_digest else (fonts.normal, fonts.normal_metrics)
    line.setRight(line.right() - aside - 16)
    taken = pen.text(line, row.name, font, metrics, tokens.text)
    line.setLeft(line.left() + taken + 16)
    if row.fraction is not None:
        track = QRect(line.left(), rect.center().y() - 1, min(160, line.width()), row_layout.BAR)
        pen.bar(track, row.fraction, tokens.accent)
    else:
        pen.text(line, row.status, fonts.small, fonts.small_metrics, pen.tone_text(row.tone))


def _paint_title(pen: _Pen, row: Row) -> None:
    fonts, rect = pen.fonts, pen.rect
    line = rect.adjusted(row_layout.LEFT, 12, -row_layout.RIGHT, 0)
    taken = pen.text(line, row.name, fonts.small, fonts.small_metrics, pen.tokens.secondary)
    pen.hairline(line.left() + taken + 12, line.right(), line.center().y())
