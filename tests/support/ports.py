"""Loopback ports that stay a test's own while nobody listens there.

A port that a server has left is anybody's: of two test processes the other's next server, or a connection that goes out, may
get it, and answer for it. A socket that is bound there and doesn't listen keeps the kernel from giving it away, whoever asks for
any port; connections are refused meanwhile, and whoever names the port may listen there, as both set SO_REUSEADDR (socket(7)),
which Go, asyncio, http.server and yarddesk do.
"""

from __future__ import annotations

import errno
import socket
import weakref
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

LOOPBACK = "127.0.0.1"
_NO_SUCH_ADDRESS = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT)


@contextmanager
def held_port(*more: str, address: str = LOOPBACK) -> Iterator[int]:
    """A port of the kernel's choice at `address`, and `more` addresses that are here, where nobody listens inside the block
    unless it names the port."""
    stack, port = _hold([address, *more])
    with stack:
        yield port


def hold_port(owner: object, *more: str, address: str = LOOPBACK) -> int:
    """As `held_port`, for as long as `owner` lives: it may listen there, stop, and listen again."""
    stack, port = _hold([address, *more])
    weakref.finalize(owner, stack.close)
    return port


def _hold(addresses: Sequence[str]) -> tuple[ExitStack, int]:
    while True:
        with ExitStack() as held:
            port = 0
            try:
                for address in addresses:
                    port = _bind(held, address, port)
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    continue  # free at the first address, and not at the next
                raise
            return held.pop_all(), port


def _bind(held: ExitStack, address: str, port: int) -> int:
    try:
        bound = held.enter_context(socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET))
        bound.bind((address, port))
    except OSError as error:
        if error.errno not in _NO_SUCH_ADDRESS or not port:
            raise
        return port  # nobody can listen there
    # Not before `bind`: two of us would then hold the same port.
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return int(bound.getsockname()[1])
