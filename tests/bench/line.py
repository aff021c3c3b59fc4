"""A line of so many bytes a second to a server on loopback: all connections through it share what it carries.

What goes the other way, requests, is not held up; nor has it a delay of its own. Bytes pass through the kernel alone (splice),
so that it costs little of what is measured.
"""

from __future__ import annotations

import fcntl
import os
import socket
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from types import TracebackType
from typing import Self

_AT_ONCE = 256 * 1024
_PIPE_BYTES = 1024 * 1024
_CATCH_UP_SECONDS = 0.002
"""What it may make up for: nobody is woken on the microsecond."""


class Line:
    """Leads to `port` on 127.0.0.1, from `self.port`, for as long as it's entered."""

    def __init__(self, port: int, bytes_per_second: float) -> None:
        self._leads_to = port
        self._rate = bytes_per_second
        self._free_at = 0.0
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]

    def __enter__(self) -> Self:
        self._begin(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for each in (self._listening, *self._sockets):
            with suppress(OSError):  # its other side may have gone
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for each in (self._listening, *self._sockets):
            each.close()

    def _begin(self, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listening.accept()
            except OSError:
                return  # it's over
            far = socket.create_connection(("127.0.0.1", self._leads_to))
            self._sockets += [near, far]
            for each in (near, far):
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._begin(lambda near=near, far=far: self._carry(near, far, lambda _: None))  # type: ignore[misc]
            self._begin(lambda near=near, far=far: self._carry(far, near, self._take_turn))  # type: ignore[misc]

    def _carry(self, source: socket.socket, target: socket.socket, wait: Callable[[int], None]) -> None:
        with ExitStack() as stack:
            out, into = os.pipe()
            stack.callback(os.close, out)
            stack.callback(os.close, into)
            fcntl.fcntl(into, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
            try:
                while came := os.splice(source.fileno(), into, _AT_ONCE):
                    wait(came)
                    while came:
                        came -= os.splice(out, target.fileno(), came)
                target.shutdown(socket.SHUT_WR)
            except OSError:  # one side has gone: neither is of use to the other
                for each in (source, target):
                    with suppress(OSError):
                        each.shutdown(socket.SHUT_RDWR)

    def _take_turn(self, count: int) -> None:
        """Return when the line has carried so many bytes."""
        with self._lock:
            now = time.monotonic()
            self._free_at = max(self._free_at, now - _CATCH_UP_SECONDS) + count / self._rate
            left = self._free_at - now
        if left > 0:
            time.sleep(left)
