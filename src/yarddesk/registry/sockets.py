"""Binding the server's sockets, and saying who holds a port that is taken."""

import errno
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from yarddesk.errors import YarddeskError

logger = logging.getLogger(__name__)

_LOOPBACK: Final = ("127.0.0.1", "::1")
_EVERYWHERE: Final = ("0.0.0.0", "::")
_BACKLOG: Final = 2048
_PORTS_TRIED: Final = 50
_LISTENING: Final = "0A"
_NO_SUCH_ADDRESS: Final = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT)


class PortTaken(YarddeskError):
    """Another program listens on the port: process id and name of the `holder`, where the system lets us know."""

    holder: tuple[int, str] | None = None


class CannotBind(YarddeskError):
    """The address can't be listened on."""


def bind(host: str, port: int) -> list[socket.socket]:
    """Listening sockets for `host` (`localhost`: both loopback addresses, empty: all interfaces), all on one port.

    `port` 0 is any that is free on all of them. IPv6 may be missing on `localhost` and everywhere. Blocks for a moment
    (names are looked up). Raises PortTaken or CannotBind.
    """
    addresses = _addresses(host)
    for _ in range(_PORTS_TRIED if port == 0 else 1):
        try:
            sockets, missing = _bind_all(addresses, port)
        except PortTaken:
            if port:
                raise
            continue
        for address in missing:
            logger.warning("there is no %s here: listening on %s alone", address, addresses[0])
        return sockets
    raise CannotBind("No port is free on all addresses that are to be listened on.", ", ".join(addresses))


def missing_addresses(host: str, port: int) -> Sequence[str]:
    """Which of the addresses `bind` would have to go without. Raises PortTaken or CannotBind where it could not listen now.

    Nobody is listened to meanwhile, so that a server that starts in this moment is not kept from the port.
    """
    sockets, missing = _bind_all(_addresses(host), port, listen=False)
    for bound in sockets:
        bound.close()
    return missing


def _addresses(host: str) -> tuple[str, ...]:
    if host.lower() == "localhost":
        return _LOOPBACK
    if not host:
        return _EVERYWHERE
    try:
        found = socket.getaddrinfo(host.strip("[]"), None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise CannotBind(f"“{host}” is no address to listen on.", str(error), hint="Look at server.host.") from error
    return tuple(dict.fromkeys(str(entry[4][0]) for entry in found))


def _bind_all(addresses: tuple[str, ...], port: int, *, listen: bool = True) -> tuple[list[socket.socket], list[str]]:
    """The sockets, and the addresses that are not here and can be done without."""
    sockets: list[socket.socket] = []
    missing: list[str] = []
    try:
        for address in addresses:
            try:
                sockets.append(_bind_one(address, port, listen=listen))
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    for bound in sockets:
                        bound.close()  # or we would find ourselves among those who hold the port
                    raise _taken(address, port) from error
                if error.errno in _NO_SUCH_ADDRESS and sockets and ":" in address:
                    missing.append(address)
                    continue
                raise _cannot(address, port, error) from error
            port = sockets[0].getsockname()[1]
    except BaseException:
        for bound in sockets:
            bound.close()
        raise
    return sockets, missing


def _bind_one(address: str, port: int, *, listen: bool) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    # With the protocol spelt out asyncio sends at once: else a small body waits some 40 ms for its header's acknowledgement.
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if sys.platform != "win32":
            # There the option lets two programs share a port; here it only ignores connections of before.
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.bind((address, port))
        if listen:
            bound.listen(_BACKLOG)
        bound.setblocking(False)
    except BaseException:
        bound.close()
        raise
    return bound


def _taken(address: str, port: int) -> PortTaken:
    holder = port_holder(port)
    where = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
    by = f"{holder[1]} (pid {holder[0]})" if holder else "another program"
    taken = PortTaken(
        f"Port {port} is taken by {by}.",
        f"{where} can't be listened on.",
        hint="End that program, or choose another port with --port or server.port.",
    )
    taken.holder = holder
    return taken


def _cannot(address: str, port: int, error: OSError) -> CannotBind:
    hint = "Ports below 1024 are the system's." if error.errno == errno.EACCES else "Look at server.host."
    return CannotBind(f"{address}, port {port}, can't be listened on.", error.strerror or str(error), hint=hint)


def port_holder(port: int) -> tuple[int, str] | None:
    """Process id and program that listens on a TCP port, where the system lets us know."""
    if Path("/proc/net/tcp").exists():
        return _holder_by_proc(port)
    return _holder_by_lsof(port)


def _holder_by_proc(port: int) -> tuple[int, str] | None:
    sought = {f"socket:[{inode}]" for inode in _listening_inodes(port)}
    if not sought:
        return None
    for process in Path("/proc").iterdir():
        if not process.name.isdecimal():
            continue
        try:
            for descriptor in (process / "fd").iterdir():
                if os.readlink(descriptor) in sought:
                    return int(process.name), (process / "comm").read_text(encoding="utf-8", errors="replace").strip()
        except OSError:
            continue  # it ended meanwhile, or is another user's
    return None


def _listening_inodes(port: int) -> list[str]:
    inodes = []
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = Path(table).read_text(encoding="ascii").splitlines()[1:]
        except OSError:
            continue  # a kernel without IPv6
        for line in lines:
            fields = line.split()
            if fields[3] == _LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                inodes.append(fields[9])
    return inodes


def _holder_by_lsof(port: int) -> tuple[int, str] | None:
    command = ["lsof", "-nP", f"-iTCP:{port}", "-sTCP:LISTEN", "-Fpc"]
    try:
        shown = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    fields = {line[:1]: line[1:] for line in reversed(shown.splitlines()) if line}
    return (int(fields["p"]), fields.get("c", "a program")) if fields.get("p", "").isdecimal() else None
