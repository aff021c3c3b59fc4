"""The drawings: there, legible, tinted and sharp."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from PySide6.QtCore import QByteArray
from PySide6.QtGui import QColor, QIcon, QImage
from PySide6.QtSvg import QSvgRenderer
from PySide6.QtWidgets import QApplication

import yarddesk.desktop
from yarddesk.desktop import icons

REQUIRED = {
    *("queue", "images", "upstreams", "activity", "setup", "pause", "play", "cancel", "retry", "settings", "copy"),
    *("sign-in", "more", "chevron-down", "check", "warning", "open", "trash", "plus", "search"),
}
DRAWINGS = sorted(icons.icons_folder().glob("*.svg"))
INK = QColor("#204060")
TRAY_LOOKS = [
    ("idle", 0),
    ("syncing", 0),
    ("syncing", 1),
    ("syncing", 2),
    ("paused", 0),
    ("offline", 0),
    ("needs_you", 0),
]

# Where code names a glyph: the place of the argument in calls, and tables whose values begin with one.
CALLS = {
    "glyph": 0,
    "glyph_icon": 0,
    "GlyphLabel": 0,
    "ToolButton": 0,
    "show_glyph": 0,
    "_action": 1,
    "Deed": 1,
    "Page": 2,
}
TABLES = {"_GLYPHS", "STATE_LOOKS", "_STATES"}

pytestmark = pytest.mark.usefixtures("qapp")


def alphas(image: QImage) -> list[int]:
    return [image.pixelColor(x, y).alpha() for y in range(image.height()) for x in range(image.width())]


def difference_of(one: QColor, other: QColor) -> int:
    return max(abs(one.red() - other.red()), abs(one.green() - other.green()), abs(one.blue() - other.blue()))


def difference(one: QImage, other: QImage) -> float:
    """How many pixels differ, each weighed by how much: 1 is black against white, or there against not."""
    total = 0.0
    for y in range(one.height()):
        for x in range(one.width()):
            a, b = one.pixelColor(x, y), other.pixelColor(x, y)
            total += max(difference_of(a, b), abs(a.alpha() - b.alpha())) / 255
    return total


def names_in_code() -> Iterator[tuple[str, str]]:
    for path in Path(yarddesk.desktop.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                named = node.args[CALLS[called] :][:1] if called in CALLS else []
            elif isinstance(node, ast.AnnAssign) and getattr(node.target, "id", "") in TABLES:
                values = node.value.values if isinstance(node.value, ast.Dict) else []
                named = [value.elts[0] for value in values if isinstance(value, ast.Tuple)]
            else:
                continue
            for name in named:
                if isinstance(name, ast.Constant) and isinstance(name.value, str) and name.value:
                    yield name.value, f"{path.name}:{name.lineno}"


def test_every_glyph_that_code_names_is_drawn() -> None:
    unknown = {f"{name} ({where})" for name, where in names_in_code() if name not in icons.glyph_names()}
    assert unknown == set()
    assert icons.glyph_names() >= REQUIRED


@pytest.mark.parametrize("drawing", DRAWINGS, ids=lambda path: path.stem)
def test_every_drawing_is_an_svg_with_something_in_it_that_stays_inside(drawing: Path) -> None:
    renderer = QSvgRenderer(QByteArray(drawing.read_bytes()))
    assert renderer.isValid()
    assert renderer.viewBoxF().width() == renderer.viewBoxF().height()
    assert "<script" not in drawing.read_text()
    assert "href" not in drawing.read_text()


@pytest.mark.parametrize("size", [16, 20, 24])
@pytest.mark.parametrize("name", sorted(icons.glyph_names()))
def test_a_glyph_has_ink_in_its_colour_and_room_around_it(name: str, size: int) -> None:
    image = icons.glyph(name, size, INK).toImage()
    assert 0.01 < sum(alphas(image)) / 255 / size**2 < 0.5
    corners = [(0, 0), (size - 1, 0), (0, size - 1), (size - 1, size - 1)]
    assert all(image.pixelColor(x, y).alpha() < 64 for x, y in corners)
    full = [image.pixelColor(x, y) for y in range(size) for x in range(size) if image.pixelColor(x, y).alpha() > 200]
    assert full
    assert all(difference_of(colour, INK) < 8 for colour in full)


def test_no_two_glyphs_look_alike_at_16_px() -> None:
    images = {name: icons.glyph(name, 16, INK).toImage() for name in sorted(icons.glyph_names())}
    alike = [
        (one, other) for one in images for other in images if one < other and difference(images[one], images[other]) < 8
    ]
    assert alike == []


@pytest.mark.parametrize("ratio", [1.0, 1.25, 1.5, 2.0, 3.0])
def test_a_glyph_is_drawn_in_the_screens_own_pixels(ratio: float) -> None:
    pixmap = icons.glyph("images", 16, INK, ratio)
    assert pixmap.width() == pixmap.height() == round(16 * ratio)
    assert pixmap.devicePixelRatio() == ratio
    assert pixmap.deviceIndependentSize().width() == pytest.approx(16)


def test_a_glyph_is_drawn_once_for_each_look() -> None:
    one = icons.glyph("queue", 16, QColor("#123456"))
    assert icons.glyph("queue", 16, QColor("#123456")).cacheKey() == one.cacheKey()
    assert icons.glyph("queue", 16, QColor("#654321")).cacheKey() != one.cacheKey()
    assert icons.glyph("queue", 16, QColor("#123456"), 2.0).cacheKey() != one.cacheKey()


def test_a_translucent_colour_makes_a_translucent_glyph() -> None:
    faded = QColor(INK)
    faded.setAlphaF(0.5)
    plain, pale = (sum(alphas(icons.glyph("warning", 24, colour).toImage())) for colour in (INK, faded))
    assert pale == pytest.approx(plain / 2, rel=0.05)


def test_an_icon_is_paler_while_its_button_is_disabled() -> None:
    icon = icons.glyph_icon("retry", INK)
    plain, pale = (alphas(icon.pixmap(16, mode).toImage()) for mode in (QIcon.Mode.Normal, QIcon.Mode.Disabled))
    assert 0 < sum(pale) < sum(plain) * 0.6


def test_an_unknown_glyph_is_an_error() -> None:
    with pytest.raises(KeyError, match="no such drawing: nothing"):
        icons.glyph("nothing", 16, INK)


def tray_image(state: str, step: int, dark: bool, size: int) -> QImage:
    return icons.tray_icon(state, step, dark).pixmap(size, size).toImage()


@pytest.mark.parametrize("dark", [False, True], ids=["light panel", "dark panel"])
@pytest.mark.parametrize("size", [16, 22, 24, 32])
def test_the_trays_states_differ_at_every_size(size: int, dark: bool) -> None:
    images = {look: tray_image(*look, dark, size) for look in TRAY_LOOKS}
    least = size * size / 16**2 * 2
    alike = [
        (one, other)
        for one in images
        for other in images
        if one < other and difference(images[one], images[other]) < least
    ]
    assert alike == []


@pytest.mark.parametrize("panel", ["#f4f4f4", "#262626"])
@pytest.mark.parametrize("look", TRAY_LOOKS, ids=str)
def test_the_tray_is_legible_even_on_a_panel_that_was_guessed_wrong(
    look: tuple[str, int], panel: str, qapp: QApplication
) -> None:
    behind = QColor(panel)
    for dark in (False, True):
        image = tray_image(*look, dark, 22)
        strong = 0
        for y in range(22):
            for x in range(22):
                pixel = image.pixelColor(x, y)
                strong += abs(pixel.lightnessF() - behind.lightnessF()) * pixel.alphaF() > 0.25
        assert strong > 40


def test_the_syncing_arrow_has_three_heights() -> None:
    images = [tray_image("syncing", step, False, 16) for step in range(6)]
    assert images[:3] == images[3:]


def test_an_unknown_state_of_the_tray_is_an_error() -> None:
    with pytest.raises(KeyError, match="no such state"):
        icons.tray_icon("melancholy")


def test_the_apps_icon_fills_every_size() -> None:
    icon = icons.app_icon()
    for size in icons.APP_SIZES:
        image = icon.pixmap(size, size).toImage()
        assert image.width() == size
        assert sum(alphas(image)) / 255 / size**2 > 0.7


@pytest.mark.parametrize("desktop", ["GNOME", "ubuntu:GNOME", "Unity"])
def test_some_desktops_always_have_a_dark_panel(desktop: str) -> None:
    assert icons.panel_is_dark({"XDG_CURRENT_DESKTOP": desktop})


def test_elsewhere_the_colour_scheme_decides(qapp: QApplication) -> None:
    dark = icons.panel_is_dark({"XDG_CURRENT_DESKTOP": "XFCE"})
    assert dark == (qapp.styleHints().colorScheme().name == "Dark")
