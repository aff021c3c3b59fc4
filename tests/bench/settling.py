"""What comes before a measurement, so that it tells of the server and not of what was done before it."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

_PIECE = bytes(1 << 20)
_MORE_BYTES = 64 << 20


def settle(folder: Path, written: int = 0) -> None:
    """Write out what earlier work left to be written, and have memory at hand for a file of `written` bytes in `folder`.

    A host takes back what a virtual machine has free for a while (Linux: mm/page_reporting.c), and gives it again page by
    page at the first touch: files are then written at 0.4 GB/s where 6 are usual, and who is measured after a pause, or
    after much was stored, pays for it. So a file as large is written before, and thrown away, for everyone alike: what
    comes next gets its memory.
    """
    os.sync()
    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        left = written + _MORE_BYTES if written else 0
        while left > 0:
            left -= file.write(_PIECE)
