"""The little that a test asks an X server itself, by libX11."""

from __future__ import annotations

import ctypes
from functools import cache


class _ClientMessage(ctypes.Structure):
    """XClientMessageEvent, with room for the largest of Xlib's events."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("serial", ctypes.c_ulong),
        ("send_event", ctypes.c_int),
        ("display", ctypes.c_void_p),
        ("window", ctypes.c_ulong),
        ("message_type", ctypes.c_ulong),
        ("format", ctypes.c_int),
        ("data", ctypes.c_long * 5),
        ("room", ctypes.c_long * 24),
    )


_CLIENT_MESSAGE = 33
_TO_THE_WINDOW_MANAGER = (1 << 19) | (1 << 20)  # SubstructureNotifyMask and SubstructureRedirectMask


@cache
def _library() -> ctypes.CDLL:
    library = ctypes.CDLL("libX11.so.6")
    library.XOpenDisplay.restype = ctypes.c_void_p
    library.XOpenDisplay.argtypes = [ctypes.c_char_p]
    library.XInternAtom.restype = ctypes.c_ulong
    library.XInternAtom.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int]
    library.XGetSelectionOwner.restype = ctypes.c_ulong
    library.XGetSelectionOwner.argtypes = [ctypes.c_void_p, ctypes.c_ulong]
    library.XDefaultRootWindow.restype = ctypes.c_ulong
    library.XDefaultRootWindow.argtypes = [ctypes.c_void_p]
    event = ctypes.POINTER(_ClientMessage)
    library.XSendEvent.argtypes = [ctypes.c_void_p, ctypes.c_ulong, ctypes.c_int, ctypes.c_long, event]
    library.XSync.argtypes = [ctypes.c_void_p, ctypes.c_int]
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


def ask_to_close(display: str, window: int) -> None:
    """Have the window manager ask a window to close, as its button does (EWMH, `_NET_CLOSE_WINDOW`).

    display: as in DISPLAY; window: its id. Raises ConnectionError when there is no server.
    """
    library = _library()
    connection = library.XOpenDisplay(display.encode())
    if not connection:
        raise ConnectionError(f"no X server on {display}")
    try:
        root = library.XDefaultRootWindow(connection)
        atom = library.XInternAtom(connection, b"_NET_CLOSE_WINDOW", 0)
        event = _ClientMessage(type=_CLIENT_MESSAGE, window=window, message_type=atom, format=32)
        library.XSendEvent(connection, root, 0, _TO_THE_WINDOW_MANAGER, ctypes.byref(event))
        library.XSync(connection, 0)
    finally:
        library.XCloseDisplay(connection)
