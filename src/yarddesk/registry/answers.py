"""Answers, each an ASGI application of its own: whole, from a file, or as a stream."""

import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from typing import BinaryIO, Final

from starlette.types import Message, Receive, Scope, Send

from yarddesk.content.pull_through import GrowingBlob
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


@dataclass(frozen=True, slots=True)
class GrowingPart:
    """The bytes of a blob from `start` up to `end` while they come in: out of the open `file` that they come into, as far as
    `growing` tells, where there is one; else they are `first` and what `pieces` gives after it."""

    growing: GrowingBlob | None
    file: BinaryIO | None
    first: bytes
    pieces: AsyncGenerator[bytes, None]
    start: int
    end: int


@dataclass(slots=True)
class GrowingAnswer:
    """A part of a blob while it comes in, by the kernel where there is a file; after it `source` is left. The connection is
    cut when the bytes fail or are too few."""

    status: int
    headers: list[Header]
    part: GrowingPart
    source: AsyncExitStack

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope[SOURCE] = "upstream"
        part = self.part
        async with self.source:
            await send(_start(self.status, self.headers, part.end - part.start))
            with cutting(scope):
                if not await self._send_file(send):
                    await _send_pieces(send, part.pieces, part.end - part.start, part.first)

    async def _send_file(self, send: Send) -> bool:
        """Whether all of it went so; False where nothing did."""
        part = self.part
        if part.growing is None or part.file is None:
            return False
        position = part.start
        while position < part.end:
            try:
                free = await part.growing.reach(position, part.end)
            except YarddeskError:
                if position > part.start:
                    raise
                return False  # nothing was given yet: `pieces` may have it in another way
            count, more = free - position, free < part.end
            await send({"type": SENDFILE, "file": part.file, "offset": position, "count": count, "more_body": more})
            position = free
        return True


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


async def _send_pieces(send: Send, pieces: AsyncIterator[bytes], left: int, first: bytes = b"") -> None:
    if not left:
        await anext(pieces, b"")  # what is empty is verified, too
    while left:
        piece, first = first or await anext(pieces, b""), b""
        if not piece:
            raise AnswerCut(f"{left:,} bytes are missing.")
        left -= len(piece)
        if left < 0:
            piece, left = piece[:left], 0
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b""})
