"""Pictures of a screen: from the X server's own frame buffer file to PNG, and a look at single pixels."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Picture:
    """width and height in pixels; rows: three bytes (red, green, blue) a pixel, row after row."""

    width: int
    height: int
    rows: bytes

    def pixel(self, x: int, y: int) -> tuple[int, int, int]:
        start = (y * self.width + x) * 3
        red, green, blue = self.rows[start : start + 3]
        return red, green, blue

    @property
    def colours(self) -> int:
        """How many different colours it has: an empty screen has few."""
        return len({self.rows[start : start + 3] for start in range(0, len(self.rows), 3)})


def picture_of_xwd(dump: bytes) -> Picture:
    """Read an X window dump (version 7) of a true-colour screen with 32 bits a pixel, as Xvfb keeps one."""
    header = struct.unpack(">25I", dump[:100])
    size, version, width, height, bits, line = header[0], header[1], header[4], header[5], header[11], header[12]
    colour_entries = header[19]
    if version != 7 or bits != 32:
        raise ValueError(f"not an X window dump of 32 bits a pixel: version {version}, {bits} bits")
    big_endian = header[7] == 1
    start = size + colour_entries * 12
    pixels = dump[start : start + line * height]
    if line != width * 4:
        pixels = b"".join(pixels[row * line : row * line + width * 4] for row in range(height))
    rows = bytearray(width * height * 3)
    for channel, offset in enumerate((1, 2, 3) if big_endian else (2, 1, 0)):
        rows[channel::3] = pixels[offset::4]
    return Picture(width, height, bytes(rows))


def write_png(path: Path, picture: Picture) -> None:
    """Write a picture as a PNG file (RFC 2083), true colour with 8 bits a channel."""
    stride = picture.width * 3
    lines = b"".join(b"\0" + picture.rows[row * stride : (row + 1) * stride] for row in range(picture.height))
    header = struct.pack(">IIBBBBB", picture.width, picture.height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(lines, 6)), (b"IEND", b"")]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, content) for kind, content in chunks))


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
