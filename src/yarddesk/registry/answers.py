"""Answers, each an ASGI application of its own: whole, from a file, or as a stream."""

import json
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, aclosing, contextmanager
from dataclasses import dataclass, field
from typing import BinaryIO, Final

from starlette.types import Message, Receive, Scope, Send

from yarddesk.content.pull_through import BlobContent
from yarddesk.content.threads import in_thread_to_the_end
from yarddesk.errors import YarddeskError
from yarddesk.oci.error_codes import ErrorCode, ErrorInfo, render_errors
from yarddesk.registry.exchange import SENDFILE, AnswerCut
from yarddesk.registry.requests import described
from yarddesk.registry.wire import JSON_TYPE, STANDING_HEADERS, Header, Outcome

logger = logging.getLogger(__name__)

_READ_BYTES = 1024 * 1024


@dataclass(slots=True)
class Answer:
    """A whole answer. `headers` begin with those that every answer has; Content-Length is put in from `body`."""

    status: int
    headers: list[Header] = field(default_factory=list)
    body: bytes = b""
    body_size: int | None = None
    """Content-Length, where it is not the body's (an answer to HEAD whose body isn't at hand)."""

    def __post_init__(self) -> None:
        size = len(self.body) if self.body_size is None else self.body_size
        self.headers = [*STANDING_HEADERS, *self.headers]
        if self.status not in (204, 304):
            self.headers.append((b"content-length", b"%d" % size))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else self.body})


def error_answer(outcome: Outcome) -> Answer:
    """An error of the specification's form."""
    headers = [(b"content-type", JSON_TYPE), *outcome.headers]
    return Answer(outcome.status, headers, render_errors(*outcome.errors))


def refusal(status: int, message: str, code: ErrorCode = ErrorCode.UNSUPPORTED) -> Answer:
    """As `error_answer`, for what is refused before the application sees it."""
    return error_answer(Outcome(status, (ErrorInfo(code, message),)))


def json_answer(document: object, *headers: Header, media_type: bytes = JSON_TYPE) -> Answer:
    """200 with a JSON document."""
    body = json.dumps(document, separators=(",", ":")).encode()
    return Answer(200, [(b"content-type", media_type), *headers], body)


SOURCE: Final = "yarddesk.source"
"""The key of the scope by which the answer to a GET of a blob says where its bytes come from."""


@dataclass(slots=True)
class FileAnswer:
    """A part of an open file, by the kernel where the server can; closes the file."""

    status: int
    headers: list[Header]
    file: BinaryIO
    offset: int
    count: int

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope[SOURCE] = "store"
        try:
            await send(_start(self.status, self.headers, self.count))
            if SENDFILE in scope.get("extensions", {}):
                await send({"type": SENDFILE, "file": self.file, "offset": self.offset, "count": self.count})
            else:
                await self._read_and_send(send)
        finally:
            self.file.close()

    async def _read_and_send(self, send: Send) -> None:
        await in_thread_to_the_end(self.file.seek, self.offset)
        left = self.count
        while left:
            piece = await in_thread_to_the_end(self.file.read, min(left, _READ_BYTES))
            if not piece:
                raise AnswerCut("The file is shorter than it was.")
            left -= len(piece)
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


@dataclass(slots=True)
class StreamAnswer:
    """`count` bytes out of `pieces`, after which `source` is left; the connection is cut when they fail or are too few."""

    status: int
    headers: list[Header]
    pieces: AsyncIterator[bytes]
    count: int
    source: AsyncExitStack

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope[SOURCE] = "store"
        async with self.source:
            await send(_start(self.status, self.headers, self.count))
            with cutting(scope):
                await _send_pieces(send, self.pieces, self.count)


@dataclass(slots=True)
class GrowingAnswer:
    """The bytes of `content` from `start` up to `end` while they come in: by the kernel, out of the open `file` that they come
    into, where there is one; after them `source` is left. The connection is cut when they fail or are too few."""

    status: int
    headers: list[Header]
    content: BlobContent
    file: BinaryIO | None
    start: int
    end: int
    source: AsyncExitStack

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope[SOURCE] = "upstream"
        async with self.source:
            await send(_start(self.status, self.headers, self.end - self.start))
            with cutting(scope):
                position = await self._send_file(send)
                if position < self.end or self.start == self.end:
                    pieces = self.content.read(position, self.end)
                    async with aclosing(pieces):
                        await _send_pieces(send, pieces, self.end - position)

    async def _send_file(self, send: Send) -> int:
        """How far the file went: to the end, or not at all where there is none."""
        position, growing = self.start, self.content.growing
        if growing is None or self.file is None:
            return position
        while position < self.end:
            try:
                free = await growing.reach(position, self.end)
            except YarddeskError:
                if position > self.start:
                    raise
                return position  # nothing was given yet: `read` may have it in another way
            count, more = free - position, free < self.end
            await send({"type": SENDFILE, "file": self.file, "offset": position, "count": count, "more_body": more})
            position = free
        return position


def _start(status: int, headers: list[Header], count: int) -> Message:
    everything = [*STANDING_HEADERS, *headers, (b"content-length", b"%d" % count)]
    return {"type": "http.response.start", "status": status, "headers": everything}


@contextmanager
def cutting(scope: Scope) -> Iterator[None]:
    """What fails in the middle of an answer ends it short."""
    try:
        yield
    except YarddeskError as error:
        logger.warning("%s: the answer can't be completed: %s", described(scope), error)
        raise AnswerCut(error.title) from error


async def _send_pieces(send: Send, pieces: AsyncIterator[bytes], left: int) -> None:
    if not left:
        await anext(pieces, b"")  # what is empty is verified, too
    while left:
        piece = await anext(pieces, b"")
        if not piece:
            raise AnswerCut(f"{left:,} bytes are missing.")
        left -= len(piece)
        if left < 0:
            piece, left = piece[:left], 0
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b""})
