"""A connection of the registry's server: how it begins, what goes out on it, the bounds of time that it's held to, how it ends."""

import asyncio
import logging
import socket
import time
from collections import deque
from email.utils import formatdate
from functools import lru_cache
from typing import Any, Final

from starlette.types import Scope
from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.utils import get_local_addr, get_remote_addr, is_ssl
from uvicorn.server import ServerState

from yarddesk.registry.answers import refusal
from yarddesk.registry.body import IncomingBody
from yarddesk.registry.exchange import SENDFILE, Exchange, render_head
from yarddesk.registry.limits import Limits
from yarddesk.registry.observer import Observer
from yarddesk.registry.unsent import unsent_bytes

logger = logging.getLogger(__name__)

IDLE: Final = "idle"
HEAD: Final = "head"
BODY: Final = "body"
"""Where a connection is: between two requests, in a request's head, in its body."""

_LOCAL_SEND_BUFFER_BYTES: Final = 128 * 1024


class Connection(HttpToolsProtocol, asyncio.BufferedProtocol):
    """What comes in is for the class below (`RegistryProtocol`), which says in `_phase` where it is.

    Beside that at most one exchange is being answered (`_running`), and what was pipelined behind it waits.
    `check_progress` is called by the server again and again.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        limits: Limits | None = None,
        observer: Observer | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.limits = limits or Limits()
        self._observer = observer
        self._room: memoryview | None = None
        self._body: IncomingBody | None = None
        self._waiting: deque[Exchange] = deque()
        self._running: Exchange | None = None
        self._receiving: Exchange | None = None
        self._phase = IDLE
        self._phase_since = self.loop.time()
        self._requests = 0
        self._framing_bytes = 0
        self._bytes_in = 0
        self._bytes_out = 0
        self._body_mark = (self._phase_since, 0)
        self._write_mark: tuple[float, object] = (self._phase_since, None)
        self._over = False
        self._about: Scope = {}  # what the application is told of every request

    # Its begin and its end, as asyncio tells them

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.connections.add(self)
        self.transport = transport
        self.flow = FlowControl(transport)
        self.server = get_local_addr(transport)
        self.client = get_remote_addr(transport)
        self.scheme = "https" if is_ssl(transport) else "http"
        self._about = {
            "server": self.server,
            "client": self.client,
            "scheme": self.scheme,
            "extensions": {SENDFILE: {}},
        }
        _bound_send_buffer(transport, self.client)
        if len(self.connections) > self.limits.connections:
            self._say_no(503, "The server has as many connections as it takes.")
            self._over = True
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.connections.discard(self)
        self._over = True
        if self._body is not None:
            self._body.hand_over()
            self._body = self._room = None
        for exchange in (self._receiving, self._running, *self._waiting):
            if exchange is not None:
                exchange.connection_lost()
        self._drop_waiting()
        self.flow.resume_writing()
        self.parser = None  # type: ignore[assignment]  # it refers back to us

    def shutdown(self) -> None:
        """Close when what is being answered is answered."""
        if self._running is None:
            self._over = True
            self.transport.close()
        else:
            self._running.keep_alive = False
            self._drop_waiting()

    def _enter(self, phase: str) -> None:
        self._phase = phase
        self._phase_since = self.loop.time()
        if phase is BODY:
            self._framing_bytes = 0
            self._body_mark = (self._phase_since, self._bytes_in)

    # What goes out

    def write(self, content: bytes) -> None:
        if not self.transport.is_closing():
            self._bytes_out += len(content)
            self.transport.write(content)

    async def drain(self) -> None:
        if self.flow.write_paused:
            await self.flow.drain()

    def wants_body(self) -> None:
        """The application waits for more of the running request's body, or for its client to leave."""
        if not self._waiting:
            self.flow.resume_reading()

    def goes_on_writing(self) -> None:
        """More of a file follows: until it's sent nothing is read, or a client that closes its side would seem to have gone."""
        self.flow.pause_reading()

    def date(self) -> bytes:
        return _date_line(int(time.time()))

    # Bounds

    def check_progress(self, now: float) -> None:
        """Look at the time limits; `now` is the loop's time in seconds."""
        limits = self.limits
        waiting_bytes = self.transport.get_write_buffer_size()
        self._check_reader(now, waiting_bytes)
        if self._body is not None:
            self._body.hand_over_if_still()
        waited = now - self._phase_since
        if self._over:
            if self._running is None and not waiting_bytes and waited > limits.linger_seconds:
                self.transport.abort()
        elif self._phase is HEAD:
            if waited > limits.header_seconds and self._running is None:
                self._refuse(408, "The request's headers did not come in time.")
        elif self._phase is BODY:
            self._check_body(now)
        elif waited > (limits.idle_seconds if self._requests else limits.header_seconds) and self._is_idle():
            self.transport.close()

    def _is_idle(self) -> bool:
        return self._running is None and not self.transport.get_write_buffer_size()

    def _check_reader(self, now: float, waiting_bytes: int) -> None:
        since, before = self._write_mark
        state = (self._bytes_out, waiting_bytes, unsent_bytes(self.transport) if waiting_bytes else None)
        if not waiting_bytes or state != before:
            self._write_mark = (now, state)
        elif now - since > self.limits.write_stall_seconds:
            logger.info("%s does not read its answer: cut", self.client)
            self._cut()

    def _check_body(self, now: float) -> None:
        since, bytes_then = self._body_mark
        came = self._bytes_in - bytes_then
        exchange = self._receiving
        wanted = exchange is None or exchange.complete or exchange.awaits_body
        if not wanted or came >= self.limits.body_stall_bytes:
            self._body_mark = (now, self._bytes_in)
        elif now - since > self.limits.body_stall_seconds:
            logger.info("%s does not go on with its request: cut", self.client)
            self._cut()

    def _refuse(self, status: int, message: str) -> None:
        """Answer what is no request for the application, unless an answer is on its way already, and end the connection."""
        if self._over:
            return
        self._over = True
        if self._running is not None:
            self._cut()
            return
        self._say_no(status, message)
        self._linger()

    def _say_no(self, status: int, message: str) -> None:
        answer = refusal(status, message)
        if self._observer is not None:
            self._observer.refused(status)
        self.write(render_head(answer.status, answer.headers, self.date(), close=True) + answer.body)

    def _cut(self) -> None:
        self._over = True
        running = self._running
        if running is not None and running.task is not None and running.sends_file:
            # The sendfile in progress must end before its socket does; then the exchange aborts the transport.
            running.task.cancel()
        else:
            self.transport.abort()

    def _close_after_last(self) -> None:
        last = self._waiting[-1] if self._waiting else self._running
        if last is not None:
            last.keep_alive = False
        else:
            self.transport.close()

    def _close_gently(self, exchange: Exchange) -> None:
        if exchange.more_body:
            self._linger()
        else:
            self._over = True
            self.transport.close()

    def _linger(self) -> None:
        """Closing while the client still sends would reset the connection, and the client would not see the answer."""
        self._over = True
        self._phase_since = self.loop.time()
        if not self.transport.can_write_eof():
            self.transport.close()
            return
        try:
            self.transport.write_eof()
        except OSError:  # it has gone, which nobody saw while nothing was read
            self.transport.abort()
        else:
            self.flow.resume_reading()

    def _drop_waiting(self) -> None:
        for exchange in self._waiting:
            exchange.dropped()
        self._waiting.clear()


def _bound_send_buffer(transport: asyncio.Transport, client: tuple[str, int] | None) -> None:
    """Within this machine a send buffer of megabytes is no quicker: what is in it falls out of the processor's caches."""
    connection = transport.get_extra_info("socket")
    if connection is not None and client is not None and client[0].removeprefix("::ffff:").startswith(("127.", "::1")):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _LOCAL_SEND_BUFFER_BYTES)


@lru_cache(maxsize=2)
def _date_line(second: int) -> bytes:
    return f"date: {formatdate(second, usegmt=True)}\r\n".encode()
