"""Which of the libraries and fonts that Qt leaves to the system are missing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from needs import FONT_PACKAGE, QT_LIBRARIES

# The ones that draw a window, and what they load themselves.
PLUGINS = (
    "platforms/libqxcb.so",
    "xcbglintegrations/*.so",
    "platforms/libqwayland*.so",
    "wayland-shell-integration/*.so",
)
LIBRARIES = ("libQt6Widgets.so.6", "libQt6Svg.so.6", "libQt6DBus.so.6")


def missing_for_qt(environment: Path) -> dict[str, str]:
    """What is missing, by name, and the Debian package that has it, empty where we don't know one.

    environment: the folder of the virtual environment that PySide6 is in.
    """
    if not sys.platform.startswith("linux"):
        return {}
    missing = {soname: QT_LIBRARIES.get(soname, "") for soname in missing_libraries(environment)}
    if not has_font():
        missing["a font"] = FONT_PACKAGE
    return missing


def missing_libraries(environment: Path) -> set[str]:
    """The sonames that the dynamic linker does not find for Qt's libraries and plugins."""
    files: list[Path] = []
    for qt in environment.glob("lib/python3*/site-packages/PySide6/Qt"):
        files += [qt / "lib" / name for name in LIBRARIES]
        files += [path for pattern in PLUGINS for path in qt.glob(f"plugins/{pattern}")]
    listing = subprocess.run(["ldd", *map(str, files)], capture_output=True, text=True) if files else None
    lines = listing.stdout.splitlines() if listing else []
    return {line.split()[0] for line in lines if line.endswith("=> not found")}


def has_font() -> bool:
    home = Path.home()
    shared = os.environ.get("XDG_DATA_HOME", str(home / ".local/share"))
    folders = [Path("/usr/share/fonts"), Path("/usr/local/share/fonts"), Path(shared) / "fonts", home / ".fonts"]
    return any(path.suffix.lower() in {".ttf", ".otf", ".ttc"} for folder in folders for path in folder.rglob("*"))
