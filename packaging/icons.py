"""The app's icon in the sizes and formats that systems ask for, drawn from one SVG.

PNG for Linux, ICO for Windows, ICNS for macOS: the last two are small containers of PNG files.
"""

from __future__ import annotations

import os
import struct
import sys
from pathlib import Path

LINUX_SIZES = (16, 32, 48, 64, 128, 256, 512)
WINDOWS_SIZES = (16, 24, 32, 48, 64, 128, 256)
# Types of entries in an ICNS file and the edge in pixels of the PNG that each holds.
MACOS_TYPES = {
    b"icp4": 16,
    b"ic11": 32,
    b"icp5": 32,
    b"ic12": 64,
    b"ic07": 128,
    b"ic13": 256,
    b"ic08": 256,
    b"ic14": 512,
    b"ic09": 512,
    b"ic10": 1024,
}


def draw_icons(drawing: Path, target: Path) -> None:
    """Write TARGET-SIZE.png, TARGET.ico and TARGET.icns. Raises FileNotFoundError, ValueError for what is no SVG."""
    sizes = {*LINUX_SIZES, *WINDOWS_SIZES, *MACOS_TYPES.values()}
    pictures = draw(drawing.read_bytes(), sizes)
    target.parent.mkdir(parents=True, exist_ok=True)
    for size in LINUX_SIZES:
        target.with_name(f"{target.name}-{size}.png").write_bytes(pictures[size])
    target.with_suffix(".ico").write_bytes(ico({size: pictures[size] for size in WINDOWS_SIZES}))
    target.with_suffix(".icns").write_bytes(icns({kind: pictures[size] for kind, size in MACOS_TYPES.items()}))


def draw(svg: bytes, sizes: set[int]) -> dict[int, bytes]:
    """A square PNG for each edge length in pixels."""
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    from PySide6.QtCore import QBuffer, QByteArray, QIODevice, Qt
    from PySide6.QtGui import QImage, QImageWriter, QPainter
    from PySide6.QtSvg import QSvgRenderer

    renderer = QSvgRenderer(QByteArray(svg))
    if not renderer.isValid():
        raise ValueError("the drawing is not an SVG that Qt can read")
    pictures = {}
    for size in sizes:
        image = QImage(size, size, QImage.Format.Format_ARGB32)
        image.fill(Qt.GlobalColor.transparent)
        painter = QPainter(image)
        renderer.render(painter)
        painter.end()
        buffer = QBuffer()
        buffer.open(QIODevice.OpenModeFlag.WriteOnly)
        QImageWriter(buffer, QByteArray(b"png")).write(image)
        pictures[size] = bytes(buffer.data().data())
    return pictures


def ico(pictures: dict[int, bytes]) -> bytes:
    """A Windows icon: a directory of 16 bytes an entry, then the PNG files."""
    offset = 6 + 16 * len(pictures)
    directory = struct.pack("<HHH", 0, 1, len(pictures))
    for size, picture in pictures.items():
        edge = size % 256  # 256 is written as 0
        directory += struct.pack("<BBBBHHII", edge, edge, 0, 0, 1, 32, len(picture), offset)
        offset += len(picture)
    return directory + b"".join(pictures.values())


def icns(pictures: dict[bytes, bytes]) -> bytes:
    """An Apple icon: entries of a type, a length that includes these eight bytes, and a PNG file."""
    entries = b"".join(kind + struct.pack(">I", len(picture) + 8) + picture for kind, picture in pictures.items())
    return b"icns" + struct.pack(">I", len(entries) + 8) + entries


if __name__ == "__main__":
    draw_icons(Path(sys.argv[1]), Path(sys.argv[2]))
