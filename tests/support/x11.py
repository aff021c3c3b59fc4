"""The little that a test asks an X server itself, by libX11."""

from __future__ import annotations

import ctypes
from functools import cache


@cache
def _library() -> ctypes.CDLL:
    library = ctypes.CDLL("libX11.so.6")
    library.XOpenDisplay.restype = ctypes.c_void_p
    library.XOpenDisplay.argtypes = [ctypes.c_char_p]
    library.XInternAtom.restype = ctypes.c_ulong
    library.XInternAtom.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int]
    library.XGetSelectionOwner.restype = ctypes.c_ulong
    library.XGetSelectionOwner.argtypes = [ctypes.c_void_p, ctypes.c_ulong]
    library.XCloseDisplay.argtypes = [ctypes.c_void_p]
    return library


def owns_selection(display: str, name: str) -> bool:
    """Whether some program holds a selection, as a tray holds `_NET_SYSTEM_TRAY_S0`.

    display: as in DISPLAY. Raises ConnectionError when there is no server.
    """
    library = _library()
    connection = library.XOpenDisplay(display.encode())
    if not connection:
        raise ConnectionError(f"no X server on {display}")
    try:
        atom = library.XInternAtom(connection, name.encode(), 0)
        return bool(library.XGetSelectionOwner(connection, atom))
    finally:
        library.XCloseDisplay(connection)
