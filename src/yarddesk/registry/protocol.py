"""uvicorn's httptools protocol with the bounds that it lacks: time limits by progress, sizes, back-pressure in large pieces.

Here is what comes in; what goes out, and time, are `connection`'s.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final

import httptools
from starlette.types import Scope
from uvicorn.config import Config
from uvicorn.server import ServerState

from yarddesk.registry.answers import Answer
from yarddesk.registry.body import IncomingBody
from yarddesk.registry.buffers import Buffers
from yarddesk.registry.chunked import InvalidChunk
from yarddesk.registry.connection import BODY, HEAD, IDLE, Connection
from yarddesk.registry.exchange import Exchange, render_head
from yarddesk.registry.heads import RequestHead
from yarddesk.registry.limits import Limits
from yarddesk.registry.observer import Observer

logger = logging.getLogger(__name__)

AnswerAtOnce = Callable[[Scope], Answer | None]
"""An answer that needs no waiting, for the busiest requests; None: ask the application."""

_TLS_HANDSHAKE: Final = 0x16
_HEAD_END: Final = b"\r\n\r\n"
_HEAD_SEARCHED: Final = 4096
_MAX_FRAMING_BYTES: Final = 1024 * 1024
"""Chunk extensions and trailers that may come without a byte of body between them; the parser keeps trailers in memory."""


class RegistryProtocol(Connection):
    """One connection. httptools reads heads and trailers, `IncomingBody` what is between them."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        limits: Limits | None = None,
        at_once: AnswerAtOnce | None = None,
        buffers: Buffers | None = None,
        observer: Observer | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop, limits=limits, observer=observer)
        self._at_once = at_once
        self._buffers = buffers or Buffers()
        self._head_tail = b""
        self._checking = False
        self._head_bytes = 0
        self._head = RequestHead()

    # asyncio's side

    def get_buffer(self, sizehint: int) -> memoryview:
        self._room = self._body.room() if self._body is not None and not self._over else None
        return self._buffers.scratch if self._room is None else self._room

    def buffer_updated(self, nbytes: int) -> None:
        self._bytes_in += nbytes
        if self._over:
            return
        room, self._room = self._room, None
        if room is None:
            self._take(self._buffers.received(nbytes))
        elif self._body is not None:
            del room  # or the buffer would be looked at still when it's free
            self._framing_bytes = 0
            self._body.filled(nbytes)
            self._after_body()

    def _take(self, received: memoryview) -> None:
        if not self._requests and self._phase is IDLE and received[0] == _TLS_HANDSHAKE and self.scheme == "http":
            logger.debug("%s greets with TLS, which this port does not speak", self.client)
            # Docker and containerd take “HTTP/” in place of a TLS record as the word to go on without TLS, and nothing else.
            self._refuse(400, "This port speaks HTTP without TLS.")
            return
        try:
            while received and not self._over:
                received = received[self._take_some(received) :]
        except httptools.HttpParserUpgrade:
            # Nothing else is spoken here: the request is answered as it is, and what follows it can't be read.
            self._close_after_last()
            self._over = True
        except (httptools.HttpParserError, InvalidChunk) as error:
            logger.debug("%s: not HTTP: %s", self.client, error)
            self._refuse(400, "The request is not valid HTTP/1.1.")

    def _take_some(self, received: memoryview) -> int:
        """Take what belongs together at the begin of `received`; how much that was."""
        if self._body is None:
            return self._take_head(received)
        came = self._body.came
        used = self._body.take(received)
        if self._body.came > came:
            self._framing_bytes = 0
        else:
            self._count_framing(used)
        self._after_body()
        return used

    def _take_head(self, received: memoryview) -> int:
        """A head or trailers, to their end, so that the parser never sees a body."""
        used = self._end_of_head(received)
        self.parser.feed_data(received[:used])
        if self._phase is HEAD:
            self._head_bytes += used
            if self._head_bytes > self.limits.header_bytes:
                self._refuse(431, "The request's headers are too long.")
        elif self._phase is BODY and self._body is None:
            self._count_framing(used)
        return used

    def _end_of_head(self, received: memoryview) -> int:
        """Where an empty line ends, or all of it; a head has no other end, and what has another is refused by the parser."""
        before = self._head_tail
        start = before + received[: _HEAD_SEARCHED - len(before)]
        found = start.find(_HEAD_END)
        if found < 0 and len(received) > _HEAD_SEARCHED - len(before):
            start = before + received
            found = start.find(_HEAD_END)
        if found >= 0:
            self._head_tail = b""
            return found + len(_HEAD_END) - len(before)
        self._head_tail = start[1 - len(_HEAD_END) :]
        return len(received)

    def _count_framing(self, count: int) -> None:
        self._framing_bytes += count
        if self._framing_bytes > _MAX_FRAMING_BYTES:
            self._refuse(400, "There is more framing than body.")

    def _check_extension(self, extension: bytes) -> None:
        """Let the parser see a chunk with this extension."""
        self._checking = True
        try:
            self.parser.feed_data(b"1" + extension + b"\r\n-\r\n")
        except httptools.HttpParserError as error:
            raise InvalidChunk(str(error)) from error
        self._checking = False

    def _after_body(self) -> None:
        """Look what came of the body: its end, or more than the application can take just now."""
        body, exchange = self._body, self._receiving
        assert body is not None
        if body.ended:
            self._body = None
            if body.chunked:
                self._head_tail = b"\r\n"
                self.parser.feed_data(b"0\r\n")
            else:
                # The parser waits for the body that it was not given.
                self.parser = httptools.HttpRequestParser(self)
                self.on_message_complete()
        if exchange is not None and exchange.has_enough:
            self.flow.pause_reading()

    def eof_received(self) -> None:
        return None

    # httptools' side

    def on_message_begin(self) -> None:
        self._enter(HEAD)
        self._head_bytes = 0
        self._head = RequestHead()

    def on_url(self, url: bytes) -> None:
        self._head.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._phase is HEAD:
            self._head.add(name, value)
        # Else a trailer: nobody here waits for one, and the headers were judged already.

    def on_headers_complete(self) -> None:
        self._enter(BODY)
        self._requests += 1
        exchange = self._begin()
        head = self._head
        if head.coding or head.length.lstrip(b"0"):
            length = None if head.coding else int(head.length)
            self._body = IncomingBody(self._buffers, exchange, length, self._check_extension)

    def _begin(self) -> Exchange | None:
        """What is to be done about the request whose head is complete: None where nobody will want its body."""
        if self._over or not (self._running is None or self._running.keep_alive):
            return None
        head, version = self._head, self.parser.get_http_version()
        fault = head.too_large(self.limits) or head.wrongly_framed(version)
        if fault is not None:
            self._refuse(*fault)
            return None
        scope = head.scope(self.parser.get_method().decode("ascii"), version, self._about)
        if scope is None:
            self._refuse(400, "The request's target or version is not valid.")
            return None
        keep_alive = self.parser.should_keep_alive()
        if self._at_once is not None and not (
            head.announces_body or self._running is not None or self.flow.write_paused
        ):
            answer = self._at_once(scope)
            if answer is not None:
                self._answer(answer, head_only=scope["method"] == "HEAD", keep_alive=keep_alive)
                if self._observer is not None:
                    self._observer.ended(scope, answer.status, 0, 0, 0.0)
                return None
        exchange = Exchange(self, self._buffers, scope, keep_alive=keep_alive, expects_continue=head.expects_continue)
        self._receiving = exchange
        if self._running is None:
            self._start(exchange)
        elif len(self._waiting) < self.limits.pipelined_requests:
            self._waiting.append(exchange)
            self.flow.pause_reading()
        else:
            exchange.dropped()
            self._refuse(429, "Too many requests at once on one connection.")
        return exchange

    def on_body(self, body: bytes) -> None:
        """Heads alone are given to the parser (`_take_head`): that it sees a body means that we disagree where one begins."""
        if not self._checking:
            self._refuse(400, "The request is not valid HTTP/1.1.")

    def on_message_complete(self) -> None:
        self._enter(IDLE)
        exchange, self._receiving = self._receiving, None
        if exchange is not None:
            exchange.body_ended()

    def exchange_ended(self, exchange: Exchange) -> None:
        self.server_state.total_requests += 1
        self._running = None
        if self._observer is not None:
            seconds = self.loop.time() - exchange.began
            self._observer.ended(exchange.scope, exchange.status, exchange.received, exchange.sent, seconds)
        if self.transport.is_closing():
            return
        if not exchange.keep_alive:
            self._drop_waiting()
            self._close_gently(exchange)
        elif self._waiting:
            following = self._waiting.popleft()
            self._start(following)
        else:
            if self._phase is not BODY:
                self._phase_since = self.loop.time()
            self.flow.resume_reading()

    def _start(self, exchange: Exchange) -> None:
        self._running = exchange
        task = self.loop.create_task(exchange.run(self.app))
        exchange.task = task
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def _answer(self, answer: Answer, *, head_only: bool, keep_alive: bool) -> None:
        self.server_state.total_requests += 1
        head = render_head(answer.status, answer.headers, self.date(), close=not keep_alive)
        self.write(head if head_only else head + answer.body)
        if not keep_alive:
            self._over = True
            self.transport.close()
