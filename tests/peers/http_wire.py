"""HTTP/1.1 as it stands on the wire: heads, and bodies in their two framings."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

HEAD_BYTES = 256 * 1024
PIECE_BYTES = 64 * 1024


@dataclass
class Head:
    """A request's or an answer's first line and headers, in their order and spelling."""

    first: str
    lines: list[tuple[str, str]] = field(default_factory=list)

    @classmethod
    def parse(cls, raw: bytes) -> Head:
        first, *rest = raw.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
        lines = [(name, value.strip()) for name, _, value in (line.partition(":") for line in rest)]
        return cls(first, lines)

    @property
    def headers(self) -> dict[str, str]:
        """By names in lower case; of several with one name the last."""
        return {name.lower(): value for name, value in self.lines}

    @property
    def method(self) -> str:
        return self.first.split(" ", 2)[0]

    @property
    def path(self) -> str:
        return self.first.split(" ", 2)[1]

    @property
    def status(self) -> int:
        return int(self.first.split(" ", 2)[1])

    @property
    def is_chunked(self) -> bool:
        return "chunked" in self.headers.get("transfer-encoding", "").lower()

    @property
    def length(self) -> int | None:
        text = self.headers.get("content-length")
        return None if text is None else int(text)

    def put(self, name: str, value: str | None) -> None:
        """Set a header, in place of others of its name; None takes it out."""
        self.lines = [line for line in self.lines if line[0].lower() != name.lower()]
        if value is not None:
            self.lines.append((name, value))

    def encode(self) -> bytes:
        lines = [self.first, *(f"{name}: {value}" for name, value in self.lines)]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


@dataclass
class Pipe:
    """One connection. `reader` has room for a head of HEAD_BYTES."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def head(self, first: bytes = b"") -> Head:
        """The next head. Raises IncompleteReadError at the end of the connection."""
        return Head.parse(first + await self.reader.readuntil(b"\r\n\r\n"))

    async def write(self, content: bytes) -> None:
        self.writer.write(content)
        await self.writer.drain()

    async def body(self, head: Head, *, until_end: bool) -> AsyncIterator[bytes]:
        """The pieces of a body, without their framing; until_end: one without a length lasts as long as its connection.

        Raises IncompleteReadError where it ends too early.
        """
        if head.is_chunked:
            async for piece in self._chunks():
                yield piece
        elif head.length is not None:
            async for piece in self._exactly(head.length):
                yield piece
        elif until_end:
            while piece := await self.reader.read(PIECE_BYTES):
                yield piece

    async def write_body(self, pieces: AsyncIterator[bytes], *, chunked: bool) -> None:
        async for piece in pieces:
            if piece:
                await self.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
        if chunked:
            await self.write(b"0\r\n\r\n")

    async def _chunks(self) -> AsyncIterator[bytes]:
        while size := int((await self.reader.readuntil(b"\r\n")).partition(b";")[0], 16):
            async for piece in self._exactly(size):
                yield piece
            await self.reader.readexactly(2)
        while await self.reader.readuntil(b"\r\n") != b"\r\n":
            pass  # trailers

    async def _exactly(self, left: int) -> AsyncIterator[bytes]:
        while left:
            piece = await self.reader.read(min(left, PIECE_BYTES))
            if not piece:
                raise asyncio.IncompleteReadError(b"", left)
            left -= len(piece)
            yield piece
