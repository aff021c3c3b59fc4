"""Colours, fonts and measures, derived from the platform's palette and font. Steps of 4 px, radius 6 px."""

from dataclasses import dataclass
from functools import lru_cache

from PySide6.QtGui import QColor, QFont, QFontDatabase, QPalette
from PySide6.QtWidgets import QApplication

STEP = 4
RADIUS = 6
TEXT_CONTRAST = 4.5
ICON_CONTRAST = 3.0


@dataclass(frozen=True, slots=True)
class Tokens:
    """The colours of one palette. `*_text` variants read at 4.5 : 1 on both surfaces, the plain ones at 3 : 1."""

    dark: bool
    window: QColor
    surface: QColor
    sidebar: QColor
    card: QColor
    text: QColor
    secondary: QColor
    line: QColor
    hover: QColor
    selected: QColor
    track: QColor
    accent: QColor
    on_accent: QColor
    good: QColor
    waiting: QColor
    needs_you: QColor
    accent_text: QColor
    good_text: QColor
    waiting_text: QColor
    needs_you_text: QColor
    added: QColor
    removed: QColor


_LIGHT = {"accent": "#2F6FED", "good": "#1E8E5A", "waiting": "#B7791F", "needs_you": "#C2413B"}
_DARK = {"accent": "#6EA0FF", "good": "#4CC38A", "waiting": "#E0B35A", "needs_you": "#F2817B"}


def tokens() -> Tokens:
    """Of the application's palette as it is now."""
    palette = QApplication.palette()
    group = QPalette.ColorGroup.Active
    role = QPalette.ColorRole
    return _tokens(
        palette.color(group, role.Window).rgb(),
        palette.color(group, role.Base).rgb(),
        palette.color(group, role.Text).rgb(),
    )


@lru_cache(maxsize=8)
def _tokens(window_rgb: int, base_rgb: int, text_rgb: int) -> Tokens:
    window, base, text = (QColor.fromRgb(value) for value in (window_rgb, base_rgb, text_rgb))
    dark = luminance(base) < luminance(text)
    named = {name: QColor(value) for name, value in (_DARK if dark else _LIGHT).items()}
    sidebar = mix(window, base, 0.45)
    surfaces = (window, base, sidebar)
    icons = {name: readable(colour, surfaces, ICON_CONTRAST, text) for name, colour in named.items()}
    words = {f"{name}_text": readable(colour, surfaces, TEXT_CONTRAST, text) for name, colour in named.items()}
    accent = icons["accent"]
    return Tokens(
        dark=dark,
        window=window,
        surface=base,
        sidebar=sidebar,
        card=mix(base, text, 0.03 if dark else 0.0),
        text=text,
        secondary=readable(mix(text, base, 0.42), surfaces, TEXT_CONTRAST, text),
        line=mix(base, text, 0.14 if dark else 0.12),
        hover=mix(base, text, 0.05 if dark else 0.035),
        selected=mix(base, accent, 0.16 if dark else 0.1),
        track=mix(base, text, 0.16 if dark else 0.11),
        on_accent=on_colour(accent),
        added=mix(base, named["good"], 0.16),
        removed=mix(base, named["needs_you"], 0.16),
        **icons,
        **words,
    )


def mix(first: QColor, second: QColor, share: float) -> QColor:
    """`first` with `share` (0…1) of `second`."""
    return QColor.fromRgbF(
        first.redF() + (second.redF() - first.redF()) * share,
        first.greenF() + (second.greenF() - first.greenF()) * share,
        first.blueF() + (second.blueF() - first.blueF()) * share,
    )


def luminance(colour: QColor) -> float:
    """Relative luminance (WCAG 2.1)."""

    def linear(value: float) -> float:
        return value / 12.92 if value <= 0.04045 else float(((value + 0.055) / 1.055) ** 2.4)

    return 0.2126 * linear(colour.redF()) + 0.7152 * linear(colour.greenF()) + 0.0722 * linear(colour.blueF())


def contrast(first: QColor, second: QColor) -> float:
    """The ratio of contrast, 1 to 21 (WCAG 2.1)."""
    light, dark = sorted((luminance(first), luminance(second)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def readable(colour: QColor, surfaces: tuple[QColor, ...], ratio: float, towards: QColor) -> QColor:
    """`colour`, moved towards another until it has that contrast on each of the surfaces."""
    for tenth in range(21):
        candidate = mix(colour, towards, tenth / 20)
        if all(contrast(candidate, surface) >= ratio for surface in surfaces):
            return candidate
    return towards


def on_colour(ground: QColor) -> QColor:
    """White, or black where white could not be read on it."""
    white = QColor("#ffffff")
    return white if contrast(white, ground) >= TEXT_CONTRAST else QColor("#101214")


def font(*, step: float = 0, weight: QFont.Weight = QFont.Weight.Normal) -> QFont:
    """The system's font, `step` points larger, with figures of one width."""
    chosen = QFont(QApplication.font())
    if step:
        if chosen.pointSizeF() > 0:
            chosen.setPointSizeF(max(6.0, chosen.pointSizeF() + step))
        else:
            chosen.setPixelSize(max(9, round(chosen.pixelSize() + step * 4 / 3)))
    chosen.setWeight(weight)
    chosen.setFeature(QFont.Tag("tnum"), 1)
    return chosen


def fixed_font(step: float = 0) -> QFont:
    """The system's font for commands and diffs."""
    chosen = QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont)
    size = QApplication.font().pointSizeF()
    if size > 0:
        chosen.setPointSizeF(max(6.0, size + step))
    return chosen


def snapped(pixels: float) -> int:
    """The next step of 4 px that holds it."""
    return -(-round(pixels) // STEP) * STEP
