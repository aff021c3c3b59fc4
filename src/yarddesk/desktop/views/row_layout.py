"""Where things are in a row: measures for the painter, and the same ones for the mouse. Steps of 4 px."""

from dataclasses import dataclass
from functools import lru_cache

from PySide6.QtCore import QRect
from PySide6.QtGui import QFont, QFontMetrics
from PySide6.QtWidgets import QApplication

from yarddesk.desktop import theme
from yarddesk.desktop.actions import JobAction

LEFT = 20
TEXT_LEFT = 48
RIGHT = 20
BUTTON = 28
LABELLED = 26
GLYPH = 16
BAR = 4
JOB_HEIGHT = 64
HISTORY_HEIGHT = 36
LAYER_HEIGHT = 28
TITLE_HEIGHT = 44
SHOWN_ACTIONS = (JobAction.RESUME, JobAction.RETRY, JobAction.PAUSE, JobAction.CANCEL)
MOST_BUTTONS = 3
DESTINATION_LETTERS = 14


@dataclass(frozen=True, slots=True)
class Fonts:
    """The fonts of rows and their metrics, made once for a system font."""

    name: QFont
    normal: QFont
    small: QFont
    fixed: QFont
    name_metrics: QFontMetrics
    normal_metrics: QFontMetrics
    small_metrics: QFontMetrics
    fixed_metrics: QFontMetrics


@lru_cache(maxsize=4)
def _fonts(_system: str) -> Fonts:
    name = theme.font(step=1, weight=QFont.Weight.Medium)
    normal, small, fixed = theme.font(), theme.font(step=-0.5), theme.fixed_font(-0.5)
    return Fonts(
        name, normal, small, fixed, QFontMetrics(name), QFontMetrics(normal), QFontMetrics(small), QFontMetrics(fixed)
    )


def fonts() -> Fonts:
    """Of the system's font as it is now."""
    return _fonts(QApplication.font().toString())


def job_height(*, labelled: bool = False) -> int:
    """64 px, more where the system's font is large, and where a button with words stands above two lines."""
    known = fonts()
    first, second = _first_height(labelled=labelled), known.small_metrics.height()
    around = 20 if labelled else 12
    return max(JOB_HEIGHT, theme.snapped(max(first + second + BAR + 24, first + 2 * second + around)))


def _first_height(*, labelled: bool) -> int:
    """The line with the name; a button with words in it must touch neither the row's edge nor the words below."""
    text = fonts().name_metrics.height()
    return max(text, LABELLED) if labelled else text


def line_height(least: int) -> int:
    """The height of a row of one line."""
    return max(least, theme.snapped(fonts().normal_metrics.height() + 8))


def _destination_room(room: int, destination: int, name: int) -> int:
    """Where both would be cut a little, the name stands there whole, and the destination has what is left, or nothing."""
    shared = min(destination, max(room * 2 // 5, room - name - 16))
    if shared == destination or not room - shared < name + 16 <= room:
        return shared
    left = room - name - 16
    return left if left >= fonts().small_metrics.averageCharWidth() * DESTINATION_LETTERS else 0


@dataclass(frozen=True, slots=True)
class JobLayout:
    """A job's row: rectangles in the coordinates of `rect`. `buttons` right to left as they are listed; `labelled` has words."""

    glyph: QRect
    name: QRect
    destination: QRect
    bar: QRect
    status: QRect
    chevron: QRect
    labelled: QRect
    buttons: tuple[tuple[JobAction, QRect], ...]


def job_layout(
    rect: QRect,
    actions: tuple[JobAction, ...],
    *,
    has_bar: bool,
    status_width: int,
    labelled_width: int,
    destination_width: int,
    name_width: int,
) -> JobLayout:
    """Room for three buttons is kept whether they show or not, so that nothing moves under the mouse.

    A status that is too wide gets a second line where there is no bar. Widths in pixels, 0 for what isn't there.
    """
    first, second = _first_height(labelled=bool(labelled_width)), fonts().small_metrics.height()
    if not has_bar and status_width > rect.width() - TEXT_LEFT - RIGHT:
        second *= 2
    content = first + second + 4 + (BAR + 4 if has_bar else 0)
    top = rect.top() + (rect.height() - content) // 2
    middle = top + first // 2
    right = rect.right() - RIGHT + 1
    chevron = QRect(right - BUTTON + 6, middle - BUTTON // 2, BUTTON, BUTTON)
    buttons = []
    edge = chevron.left()
    for action in reversed([action for action in SHOWN_ACTIONS if action in actions][-MOST_BUTTONS:]):
        edge -= BUTTON
        buttons.append((action, QRect(edge, middle - BUTTON // 2, BUTTON, BUTTON)))
    edge = chevron.left() - BUTTON * MOST_BUTTONS
    labelled = QRect(edge - labelled_width - 4, top, labelled_width, LABELLED) if labelled_width else QRect()
    text_right = (labelled.left() if labelled_width else edge) - 12
    left = rect.left() + TEXT_LEFT
    room = max(0, text_right - left)
    shown_destination = _destination_room(room, destination_width, name_width)
    name = QRect(left, top, max(0, room - shown_destination - 16), first)
    destination = QRect(text_right - shown_destination, top, shown_destination, first)
    bar = QRect(left, top + first + 4, right - left, BAR) if has_bar else QRect()
    status_top = top + first + 4 + (BAR + 4 if has_bar else 0)
    status = QRect(left, status_top, right - left, second)
    glyph = QRect(rect.left() + LEFT, middle - GLYPH // 2, GLYPH, GLYPH)
    return JobLayout(glyph, name, destination, bar, status, chevron, labelled, tuple(buttons))
