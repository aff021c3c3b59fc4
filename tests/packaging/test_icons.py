"""The icon's sizes and formats, checked by their own headers."""

from __future__ import annotations

import struct
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "packaging"))

import icons  # noqa: E402

PNG = b"\x89PNG\r\n\x1a\n"


def edge(png: bytes) -> int:
    """The width of a PNG, which must be its height too."""
    assert png.startswith(PNG)
    width, height = struct.unpack(">II", png[16:24])
    assert width == height
    return int(width)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """The icons of a red disc."""
    drawing = tmp_path / "disc.svg"
    disc = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 10 10"><circle cx="5" cy="5" r="5" fill="red"/></svg>'
    drawing.write_text(disc, encoding="ascii")
    icons.draw_icons(drawing, tmp_path / "out" / "disc")
    return tmp_path / "out" / "disc"


def test_linux_gets_a_png_of_each_size(target: Path) -> None:
    sizes = {size: edge(target.with_name(f"disc-{size}.png").read_bytes()) for size in icons.LINUX_SIZES}
    assert all(size == drawn for size, drawn in sizes.items())


def test_windows_gets_an_icon_whose_directory_leads_to_its_pictures(target: Path) -> None:
    content = target.with_suffix(".ico").read_bytes()
    _, kind, count = struct.unpack("<HHH", content[:6])
    entries = [struct.unpack("<BBBBHHII", content[6 + 16 * n : 22 + 16 * n]) for n in range(count)]
    assert kind == 1
    assert [entry[0] or 256 for entry in entries] == list(icons.WINDOWS_SIZES)
    assert [edge(content[entry[7] : entry[7] + entry[6]]) for entry in entries] == list(icons.WINDOWS_SIZES)


def test_macos_gets_an_icon_whose_entries_fill_it(target: Path) -> None:
    content = target.with_suffix(".icns").read_bytes()
    assert content[:4] == b"icns"
    assert struct.unpack(">I", content[4:8])[0] == len(content)
    place, found = 8, {}
    while place < len(content):
        kind, length = struct.unpack(">4sI", content[place : place + 8])
        found[kind] = edge(content[place + 8 : place + length])
        place += length
    assert found == icons.MACOS_TYPES


def test_what_is_no_drawing_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.svg").write_text("not a drawing", encoding="ascii")
    with pytest.raises(ValueError, match="not an SVG"):
        icons.draw_icons(tmp_path / "text.svg", tmp_path / "icon")


def test_the_projects_own_icon_can_be_drawn(tmp_path: Path) -> None:
    icons.draw_icons(ROOT / "resources" / "icons" / "yarddesk.svg", tmp_path / "yarddesk")
    assert (tmp_path / "yarddesk-512.png").stat().st_size > 1000
