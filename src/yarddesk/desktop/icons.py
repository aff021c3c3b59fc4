"""The app's own drawings: glyphs in one colour for the window, the tray's states, and the app's icon.

A glyph is an SVG of 24 × 24 units whose `currentColor` is replaced by a colour of the palette. It is drawn at the size
in device pixels that it is shown at, never scaled afterwards. Pixmaps are kept in Qt's own bounded cache.
"""

import os
import sys
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Final

from PySide6.QtCore import QByteArray, QRectF, QSettings, Qt
from PySide6.QtGui import QColor, QGuiApplication, QIcon, QPainter, QPixmap, QPixmapCache
from PySide6.QtSvg import QSvgRenderer

import yarddesk

APP_SIZES: Final = (16, 20, 22, 24, 32, 40, 48, 64, 128, 256)
GLYPH_SIZES: Final = (16, 20, 24, 32)
TRAY_SIZES: Final = (16, 20, 22, 24, 32, 44, 48, 64)
TRAY_STATES: Final = ("idle", "syncing", "paused", "offline", "needs_you")
SYNCING_STEPS: Final = 3

_STROKE_UNITS: Final = 1.5
_SMALL: Final = 24
_SMALL_STROKE_PIXELS: Final = 1.25  # the drawing's stroke at 16 px would be 1 px, grey between two rows of pixels

_ON_LIGHT: Final = "#2B2B2B"
_ON_DARK: Final = "#F2F2F2"
_DOT: Final = "#C2413B"  # as in the drawing, made for light panels
_DOT_ON_DARK: Final = "#F2817B"
_HALO_OPACITY: Final = 0.4
_DARK_PANELS: Final = frozenset({"gnome", "unity", "pantheon"})
_FADED_OPACITY: Final = 0.4


def glyph(name: str, size: int, colour: QColor, ratio: float = 1.0) -> QPixmap:
    """The glyph `name`, `size` × `size` logical pixels at `ratio` device pixels each. Raises KeyError for no such glyph."""
    key = f"yarddesk/{name}/{size}/{ratio}/{colour.rgba():08x}"
    pixmap = QPixmap()
    if not QPixmapCache.find(key, pixmap):
        pixmap = _drawn(_tinted(name, size, colour), size, ratio)
        pixmap.setDevicePixelRatio(ratio)
        QPixmapCache.insert(key, pixmap)
    return pixmap


def glyph_icon(name: str, colour: QColor, faded: QColor | None = None) -> QIcon:
    """For buttons and menus: `faded` is the colour while they are disabled, by default a paler `colour`."""
    if faded is None:
        faded = QColor(colour)
        faded.setAlphaF(colour.alphaF() * _FADED_OPACITY)
    icon = QIcon()
    for ratio in _ratios():
        for size in GLYPH_SIZES:
            icon.addPixmap(glyph(name, size, colour, ratio), QIcon.Mode.Normal)
            icon.addPixmap(glyph(name, size, faded, ratio), QIcon.Mode.Disabled)
    return icon


def app_icon() -> QIcon:
    """For windows, task bars and notifications."""
    icon = QIcon()
    for size in APP_SIZES:
        icon.addPixmap(_drawn(_source("yarddesk"), size, 1.0))
    return icon


def tray_icon(state: str, step: int = 0, dark_panel: bool | None = None) -> QIcon:
    """One of TRAY_STATES; `step` counts on while syncing and shows the arrow at one of three heights.

    `dark_panel`: what the tray's panel looks like, by default `panel_is_dark()`. macOS gets a template image, which it
    colours itself.
    """
    if state not in TRAY_STATES:
        raise KeyError(f"no such state of the tray: {state}")
    name = f"tray-syncing-{step % SYNCING_STEPS + 1}" if state == "syncing" else f"tray-{state.replace('_', '-')}"
    dark = panel_is_dark() if dark_panel is None else dark_panel
    icon = QIcon()
    for size in TRAY_SIZES:
        icon.addPixmap(_tray_pixmap(name, size, dark))
    icon.setIsMask(sys.platform == "darwin")
    return icon


def panel_is_dark(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether the tray's panel is dark, as far as the platform tells.

    Windows says so. On Linux nobody does: some desktops have a dark panel always, of the others the colour scheme is taken.
    """
    if sys.platform == "win32":
        key = r"HKEY_CURRENT_USER\Software\Microsoft\Windows\CurrentVersion\Themes\Personalize"
        return not QSettings(key, QSettings.Format.NativeFormat).value("SystemUsesLightTheme", 1)
    if _DARK_PANELS & set(environment.get("XDG_CURRENT_DESKTOP", "").lower().split(":")):
        return True
    return QGuiApplication.styleHints().colorScheme() == Qt.ColorScheme.Dark


def glyph_names() -> frozenset[str]:
    """What `glyph` can draw."""
    names = (drawing.stem for drawing in icons_folder().glob("*.svg"))
    return frozenset(name for name in names if name != "yarddesk" and not name.startswith("tray-"))


@lru_cache(maxsize=1)
def icons_folder() -> Path:
    """Where the drawings are: in the package (a wheel), beside it (a bundle) or at the root of the source tree."""
    package = Path(yarddesk.__file__).parent
    for parent in (package, package.parent, package.parent.parent):
        folder = parent / "resources" / "icons"
        if (folder / "yarddesk.svg").is_file():
            return folder
    raise FileNotFoundError(f"the drawings of yarddesk are missing: no resources/icons in or beside {package}")


@lru_cache(maxsize=128)
def _source(name: str) -> str:
    drawing = icons_folder() / f"{name}.svg"
    if not drawing.is_file():
        raise KeyError(f"no such drawing: {name}")
    return drawing.read_text(encoding="utf-8")


def _tinted(name: str, size: int, colour: QColor) -> str:
    source = _source(name).replace("currentColor", colour.name())
    if size < _SMALL:
        stroke = _SMALL_STROKE_PIXELS * _SMALL / size
        source = source.replace(f'stroke-width="{_STROKE_UNITS}"', f'stroke-width="{stroke:.3f}"')
    if colour.alpha() < 255:
        source = source.replace("<svg ", f'<svg opacity="{colour.alphaF():.3f}" ', 1)
    return source


def _drawn(source: str, size: int, ratio: float) -> QPixmap:
    pixels = max(1, round(size * ratio))
    pixmap = QPixmap(pixels, pixels)
    pixmap.fill(Qt.GlobalColor.transparent)
    painter = QPainter(pixmap)
    QSvgRenderer(QByteArray(source.encode())).render(painter)
    painter.end()
    return pixmap


def _tray_pixmap(name: str, size: int, dark: bool) -> QPixmap:
    colour, behind = (_ON_DARK, _ON_LIGHT) if dark else (_ON_LIGHT, _ON_DARK)
    source = _source(name).replace("currentColor", colour)
    if sys.platform == "darwin":
        return _drawn(source.replace(_DOT, colour), size, 1.0)
    shown = _drawn(source.replace(_DOT, _DOT_ON_DARK) if dark else source, size, 1.0)
    if sys.platform == "win32":
        return shown
    # A thin halo, unseen on the panel that was guessed, keeps the shape legible on the other one.
    return _with_halo(shown, _drawn(_source(name).replace("currentColor", behind).replace(_DOT, behind), size, 1.0))


def _with_halo(shown: QPixmap, shadow: QPixmap) -> QPixmap:
    size = shown.width()
    reach = size / 22
    pixmap = QPixmap(size, size)
    pixmap.fill(Qt.GlobalColor.transparent)
    painter = QPainter(pixmap)
    painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
    painter.setOpacity(_HALO_OPACITY)
    for across, down in ((-1, 0), (1, 0), (0, -1), (0, 1)):
        painter.drawPixmap(QRectF(across * reach, down * reach, size, size), shadow, QRectF(shadow.rect()))
    painter.setOpacity(1)
    painter.drawPixmap(0, 0, shown)
    painter.end()
    return pixmap


def _ratios() -> list[float]:
    screens = QGuiApplication.screens()
    return sorted({1.0, 2.0} | {screen.devicePixelRatio() for screen in screens})
