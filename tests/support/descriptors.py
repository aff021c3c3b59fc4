"""The files that this process holds open, told apart by what they are."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def open_descriptors() -> dict[int, str]:
    """What each open descriptor of this process stands for: a path, or `socket:[INODE]`. Linux's /proc."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        # The listing has its own descriptor, too, which is gone by now; other threads open and close as they like.
        with contextlib.suppress(FileNotFoundError):
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
    return found


def opened_since(before: dict[int, str]) -> dict[int, str]:
    """What is open now and was not `before`. What others closed meanwhile doesn't count."""
    return dict(open_descriptors().items() - before.items())


def open_below(folder: Path) -> list[int]:
    """The descriptors of files below `folder`, and of itself."""
    top = str(folder.resolve())
    return [number for number, path in open_descriptors().items() if path == top or path.startswith(top + os.sep)]
