"""What the kernel still holds of what was written to a connection: whether a slow reader reads at all."""

import asyncio
import socket
import struct
import sys
from typing import Final

_PLATFORM: Final[str] = sys.platform  # through a name, so that the type checker looks at every branch
_SO_NWRITE: Final = 0x1024
"""macOS: bytes in a socket's send buffer (<sys/socket.h>)."""


def unsent_bytes(transport: asyncio.BaseTransport) -> int | None:
    """Bytes that the other side has not taken yet, beside those in the transport; None where the system doesn't say."""
    connection = transport.get_extra_info("socket")
    if connection is None or connection.fileno() < 0:
        return None
    try:
        if _PLATFORM == "linux":
            import fcntl
            import termios

            (count,) = struct.unpack("i", fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, bytes(4)))
            return int(count)
        if _PLATFORM == "darwin":
            return int(connection.getsockopt(socket.SOL_SOCKET, _SO_NWRITE))
    except OSError:
        return None  # it was closed meanwhile
    return None
