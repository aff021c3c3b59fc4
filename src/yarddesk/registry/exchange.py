"""One request and its answer, between a connection and the ASGI application."""

import asyncio
import logging
import re
from collections import deque
from collections.abc import Iterable
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from starlette.types import ASGIApp, Message, Scope

from yarddesk.registry.buffers import SHORT_BYTES, Buffers
from yarddesk.registry.requests import described
from yarddesk.registry.sendfile import FileTruncated, ReaderStalled, send_file
from yarddesk.registry.wire import STANDING_HEADERS

if TYPE_CHECKING:
    from yarddesk.registry.protocol import RegistryProtocol

logger = logging.getLogger(__name__)

SENDFILE: Final = "yarddesk.sendfile"
"""The ASGI extension by which a body, or a piece of one, is a part of an open file.

The message is `{"type": "yarddesk.sendfile", "file": …, "offset": …, "count": …, "more_body": …}`; more pieces, of either
kind, follow where `more_body` is true. The application closes the file. ASGI's own `http.response.pathsend` knows no ranges.
"""

BODY_HIGH_WATER: Final = 1024 * 1024
"""Bytes of a request's body that wait for the application before no more are read from the connection."""

_JOINED_BYTES: Final = 256 * 1024
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_FORBIDDEN_IN_HEADERS: Final = re.compile(rb"[\r\n\0]")


class AnswerCut(Exception):
    """Raised by the application, which has said why in the log: the answer can't be completed, so the connection ends."""


class Exchange:
    """`receive` and `send` of one ASGI call. `complete`: the whole answer was handed to the connection."""

    __slots__ = (
        "_body_left",
        "_buffers",
        "_chunked",
        "_connection",
        "_dropped",
        "_end_given",
        "_expects_continue",
        "_head",
        "_held",
        "_in_hand",
        "_pieces",
        "_started",
        "_waiter",
        "began",
        "buffered",
        "complete",
        "disconnected",
        "keep_alive",
        "more_body",
        "received",
        "scope",
        "sends_file",
        "sent",
        "status",
        "task",
    )

    def __init__(
        self,
        connection: "RegistryProtocol",
        buffers: Buffers,
        scope: Scope,
        *,
        keep_alive: bool,
        expects_continue: bool,
    ) -> None:
        self._connection = connection
        self._buffers = buffers
        self.scope = scope
        self.keep_alive = keep_alive
        self._expects_continue = expects_continue
        self._pieces: deque[bytes | memoryview] = deque()
        self.buffered = 0
        self._in_hand = 0  # bytes that the application got last, and may still have
        self._dropped = False
        self._held = 0  # bytes of ours in the count of `buffers`
        self.more_body = True
        self._end_given = False
        self._waiter: asyncio.Future[None] | None = None
        self.disconnected = False
        self.complete = False
        self._started = False
        self._head = b""
        self._chunked = False
        self._body_left = 0
        self.task: asyncio.Task[None] | None = None
        self.sends_file = False
        self.began = connection.loop.time()
        self.status = 0
        self.received = self.sent = 0  # bytes of the bodies

    # The connection's side

    @property
    def awaits_body(self) -> bool:
        """Whether the application waits for the client just now."""
        return self._waiter is not None

    @property
    def has_enough(self) -> bool:
        """Whether no more of the body need be read from the connection, until the application has taken what there is."""
        if self._buffers.is_short:
            return self._held >= SHORT_BYTES
        # An application that waits for it takes it at the loop's next turn: to pause for that costs more than it saves.
        return self.buffered >= BODY_HIGH_WATER * (2 if self.awaits_body else 1)

    def body_came(self, piece: bytes | memoryview) -> None:
        self.received += len(piece)
        if self._dropped:
            return
        self._pieces.append(piece)
        self.buffered += len(piece)
        self._hold(len(piece))
        self.wake()

    def body_ended(self) -> None:
        self.more_body = False
        self.wake()

    def connection_lost(self) -> None:
        self.disconnected = True
        self.wake()

    def dropped(self) -> None:
        """Nobody will take what came, nor what still comes."""
        self._dropped = True
        self._pieces.clear()
        self.buffered = self._in_hand = 0
        self._hold(-self._held)

    def _hold(self, count: int) -> None:
        self._held += count
        self._buffers.waiting += count

    def wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    async def run(self, app: ASGIApp) -> None:
        """Let the application answer; whatever it does, the connection is left in a state that is right."""
        try:
            await app(self.scope, self.receive, self.send)
        except asyncio.CancelledError:
            # The server stops. Closing would leave a sendfile's writer behind; so would not saying anything.
            self._connection.transport.abort()
            raise
        except (AnswerCut, FileTruncated) as error:
            logger.info("%s: cut: %r", described(self.scope), error)
            self._connection.transport.close()
        except (ReaderStalled, ConnectionError) as error:
            logger.info("%s: the client is gone: %r", described(self.scope), error)
            self._connection.transport.abort()
        except Exception:
            logger.exception("%s failed", described(self.scope))
            await self._fail()
        else:
            if not self.complete and not self.disconnected:
                logger.error("%s was not answered to its end", described(self.scope))
                await self._fail()
        finally:
            self.dropped()
            self._connection.exchange_ended(self)

    async def _fail(self) -> None:
        if self.disconnected or (self._started and not self._head):
            self._connection.transport.close()
            return
        self._started, self._head, self._chunked = False, b"", False
        self.keep_alive = False
        headers = [*STANDING_HEADERS, (b"content-length", b"0")]
        await self.send({"type": "http.response.start", "status": 500, "headers": headers})
        await self.send({"type": "http.response.body", "body": b""})

    # The application's side

    async def receive(self) -> Message:
        if self._expects_continue and not self._started and not self.disconnected:
            self._connection.write(_CONTINUE)
            self._expects_continue = False
        self._hold(-self._in_hand)
        self._in_hand = 0
        while not self._pieces and not self.disconnected and not self.complete and (self.more_body or self._end_given):
            self._connection.wants_body()
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        if self.complete or (self.disconnected and not self._pieces):
            return {"type": "http.disconnect"}
        body = self._next_body()
        more_body = self.more_body or bool(self._pieces)
        self._end_given = not more_body
        return {"type": "http.request", "body": body, "more_body": more_body}

    def _next_body(self) -> bytes | memoryview:
        """What came: small pieces joined; a large one as it is, which for ASGI should be bytes, but needs no copy so."""
        pieces = self._pieces
        if len(pieces) < 2 or self.buffered > _JOINED_BYTES:
            body = pieces.popleft() if pieces else b""
        else:
            body = b"".join(pieces)
            pieces.clear()
        self.buffered -= len(body)
        self._in_hand = len(body)
        return body

    async def send(self, message: Message) -> None:
        if self.disconnected:
            # As ASGI 2.4 has it: whoever streams must notice.
            raise ConnectionResetError("The client has gone.")
        kind = message["type"]
        if not self._started:
            if kind != "http.response.start":
                raise RuntimeError(f"The answer begins with {kind}.")
            await self._connection.drain()
            self._start(message["status"], list(message.get("headers", ())))
        elif self.complete:
            raise RuntimeError(f"{kind} after the end of the answer.")
        elif kind == "http.response.body":
            await self._send_body(message.get("body", b""), message.get("more_body", False))
        elif kind == SENDFILE:
            await self._send_file(message)
        else:
            raise RuntimeError(f"{kind} is not known.")

    def _start(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        self._started = True
        self.status = status
        if status >= 400 and self.more_body:
            # What is left of the body would have to be read for nothing.
            self.keep_alive = False
        if self._expects_continue:
            # The client waits for our word before it sends the body, and may or may not send it now.
            self.keep_alive = False
        length: int | None = None
        for name, value in headers:
            if name == b"content-length":
                length = int(value)
            elif name == b"connection" and b"close" in value.lower():
                self.keep_alive = False
        headers = [header for header in headers if header[0] != b"connection"]
        without_body = self.scope["method"] == "HEAD" or status in (204, 304)
        if length is None and not without_body:
            self._chunked = True
            headers.append((b"transfer-encoding", b"chunked"))
        self._body_left = 0 if without_body else length or 0
        self._head = render_head(status, headers, self._connection.date(), close=not self.keep_alive)

    async def _send_body(self, body: bytes, more_body: bool) -> None:
        if self.scope["method"] == "HEAD":
            body = b""
        self.sent += len(body)
        if self._chunked:
            framed = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            body = framed if more_body else framed + b"0\r\n\r\n"
        else:
            self._body_left -= len(body)
            if self._body_left < 0:
                raise RuntimeError("The answer is longer than its Content-Length.")
        if self._head and len(body) < 64 * 1024:
            body, self._head = self._head + body, b""
        self._flush_head()
        if body:
            self._connection.write(body)
        if more_body:
            await self._connection.drain()
        else:
            self._end()

    async def _send_file(self, message: Message) -> None:
        if message.get("more_body", False):
            self._connection.goes_on_writing()
        if self.scope["method"] != "HEAD":
            self._body_left -= message["count"]
            self._flush_head()
            self.sends_file = True
            try:
                await send_file(
                    self._connection.transport,
                    message["file"],
                    message["offset"],
                    message["count"],
                    drain=self._connection.drain,
                    stall_seconds=self._connection.limits.write_stall_seconds,
                )
            finally:
                self.sends_file = False
            self.sent += message["count"]
        self._flush_head()
        if not message.get("more_body", False):
            self._end()

    def _flush_head(self) -> None:
        if self._head:
            self._connection.write(self._head)
            self._head = b""

    def _end(self) -> None:
        if self._body_left:
            raise RuntimeError("The answer is shorter than its Content-Length.")
        self.complete = True
        self.wake()
        self.dropped()


def render_head(status: int, headers: Iterable[tuple[bytes, bytes]], date: bytes, *, close: bool) -> bytes:
    """The status line and headers of an answer. Raises RuntimeError for a header that would break out of its line."""
    parts = [_STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status, date]
    for name, value in headers:
        if _FORBIDDEN_IN_HEADERS.search(value):
            raise RuntimeError(f"The header {name!r} holds a line break.")
        parts += (name, b": ", value, b"\r\n")
    parts.append(b"connection: close\r\n\r\n" if close else b"\r\n")
    return b"".join(parts)


_STATUS_LINES: dict[int, bytes] = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus
}
