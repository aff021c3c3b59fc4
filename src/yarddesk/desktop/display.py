"""Whether there is a screen to show a window on: asked before Qt is, which ends the process where there is none. No Qt here."""

import re
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

_X11_SOCKETS: Final = "/tmp/.X11-unix"
_X11_PORT: Final = 6000
_CONNECT_SECONDS: Final = 3.0
_DISPLAY = re.compile(r"(?P<host>[^:]*):(?P<number>\d+)(?:\.\d+)?")
# Platform plugins of Qt that draw without a display server.
_OWN_PLATFORMS: Final = ("offscreen", "minimal", "vnc", "eglfs", "linuxfb")


def display_problem(environ: Mapping[str, str]) -> str | None:
    """Why there is no screen, in words; None where there is one. Blocks for 3 s at most."""
    if sys.platform in ("darwin", "win32") or environ.get("QT_QPA_PLATFORM", "").startswith(_OWN_PLATFORMS):
        return None
    wayland, display = environ.get("WAYLAND_DISPLAY"), environ.get("DISPLAY")
    if wayland and (Path(environ.get("XDG_RUNTIME_DIR", "/")) / wayland).exists():
        return None
    if display:
        return None if _x11_answers(display) else f"The display {display} does not answer."
    return "There is no display here: neither DISPLAY nor WAYLAND_DISPLAY names one."


def _x11_answers(display: str) -> bool:
    match = _DISPLAY.fullmatch(display)
    if not match:
        return False
    number, host = int(match["number"]), match["host"]
    if host in ("", "unix"):
        path = f"{_X11_SOCKETS}/X{number}"
        return any(_connects(socket.AF_UNIX, address) for address in (path, f"\0{path}"))
    return _connects(socket.AF_INET, (host, _X11_PORT + number))


def _connects(family: socket.AddressFamily, address: str | tuple[str, int]) -> bool:
    with socket.socket(family, socket.SOCK_STREAM) as connection:
        connection.settimeout(_CONNECT_SECONDS)
        try:
            connection.connect(address)
        except OSError:
            return False
    return True
