"""What can go wrong with one request on its way to a registry and back. A FaultProxy lets it happen.

A fault is asked at each stage of an exchange, and changes what passes; by itself it changes nothing.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Literal

from tests.peers.http_wire import Head

Words = Literal["json", "plain", "html"]

REASONS = {200: "OK", 307: "Temporary Redirect", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found",
           405: "Method Not Allowed", 413: "Request Entity Too Large", 416: "Range Not Satisfiable",
           429: "Too Many Requests", 500: "Internal Server Error", 502: "Bad Gateway",
           503: "Service Unavailable", 504: "Gateway Timeout"}  # fmt: skip
CODES = {401: "UNAUTHORIZED", 403: "DENIED", 404: "NAME_UNKNOWN", 405: "UNSUPPORTED", 413: "SIZE_INVALID",
         416: "BLOB_UPLOAD_INVALID", 429: "TOOMANYREQUESTS"}  # fmt: skip
PAGE = b"<!DOCTYPE html><html><head><title>Welcome</title></head><body>Log in to this network first.</body></html>"


class Cut(Exception):
    """The connection ends here, on both sides; with a reset, or in order. network: and so does every other one."""

    def __init__(self, last: bytes = b"", *, orderly: bool = False, network: bool = False) -> None:
        super().__init__("cut")
        self.last = last
        self.orderly = orderly
        self.network = network


@dataclass(frozen=True)
class Reply:
    """What is answered in the registry's place. early: before the request's body was read, as proxies do that refuse it."""

    head: Head
    body: bytes = b""
    early: bool = False


@dataclass(frozen=True)
class Fault:
    """Nothing goes wrong."""

    @property
    def title(self) -> str:
        """How it is called in a test's name."""
        return type(self).__name__.lower()

    async def reply(self, request: Head, canary: str) -> Reply | None:
        """An answer in the registry's place. canary: the URL of a foreign host."""
        return None

    async def sent(self, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The request's body as the registry gets it."""
        async for piece in pieces:
            yield piece

    async def answered(self, head: Head, canary: str) -> bytes:
        """The answer's head as the client gets it; may change the framing that the body is then written in."""
        return head.encode()

    async def received(self, pieces: AsyncIterator[bytes], length: int | None) -> AsyncIterator[bytes]:
        """The answer's body as the client gets it. length: what its head says."""
        async for piece in pieces:
            yield piece


@dataclass(frozen=True)
class Reset(Fault):
    """Before the registry has seen anything of it; orderly: the connection is closed, not reset."""

    orderly: bool = False

    @property
    def title(self) -> str:
        return "closed" if self.orderly else "reset"

    async def reply(self, request: Head, canary: str) -> Reply | None:
        raise Cut(orderly=self.orderly)


@dataclass(frozen=True)
class NetworkGone(Fault):
    """With this request the network goes: nobody listens any more, until FaultProxy.come_back."""

    async def reply(self, request: Head, canary: str) -> Reply | None:
        raise Cut(network=True)


@dataclass(frozen=True)
class CutRequest(Fault):
    """After so many bytes of the request's body have gone through; orderly: and have arrived, where a reset drops what is not read."""

    after: int
    orderly: bool = False

    async def sent(self, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for piece in _until(pieces, self.after):
            yield piece
        raise Cut(orderly=self.orderly)


@dataclass(frozen=True)
class LostAnswer(Fault):
    """The registry did it, and its answer never comes."""

    async def answered(self, head: Head, canary: str) -> bytes:
        raise Cut


@dataclass(frozen=True)
class CutHead(Fault):
    """In the middle of the answer's headers."""

    async def answered(self, head: Head, canary: str) -> bytes:
        raw = head.encode()
        raise Cut(raw[: len(raw) // 2], orderly=True)


@dataclass(frozen=True)
class CutAnswer(Fault):
    """After so many bytes of the answer's body."""

    after: int = 0
    orderly: bool = False

    async def received(self, pieces: AsyncIterator[bytes], length: int | None) -> AsyncIterator[bytes]:
        async for piece in _until(pieces, self.after):
            yield piece
        raise Cut(orderly=self.orderly)


@dataclass(frozen=True)
class Stall(Fault):
    """Nothing goes on: in the request's or the answer's body after so many bytes, in the answer's head, or before it."""

    where: Literal["request", "answer", "head", "body"]
    after: int = 0

    @property
    def title(self) -> str:
        return f"stall-{self.where}"

    async def sent(self, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        if self.where != "request":
            async for piece in pieces:
                yield piece
            return
        async for piece in _until(pieces, self.after):
            yield piece
        await _for_ever()

    async def answered(self, head: Head, canary: str) -> bytes:
        if self.where == "answer":
            await _for_ever()
        if self.where == "head":
            raw = head.encode()
            raise Stalled(raw[: len(raw) // 2])
        return head.encode()

    async def received(self, pieces: AsyncIterator[bytes], length: int | None) -> AsyncIterator[bytes]:
        if self.where != "body":
            async for piece in pieces:
                yield piece
            return
        async for piece in _until(pieces, self.after):
            yield piece
        await _for_ever()


class Stalled(Exception):
    """What came so far is passed on, and then nothing."""

    def __init__(self, last: bytes) -> None:
        super().__init__("stalled")
        self.last = last


@dataclass(frozen=True)
class Drip(Fault):
    """Slowly, both ways: `count` bytes at a time, with a pause after each, for the first `drips` of them."""

    count: int = 16
    pause_seconds: float = 0.01
    drips: int = 20

    async def sent(self, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for piece in self._dripped(pieces):
            yield piece

    async def received(self, pieces: AsyncIterator[bytes], length: int | None) -> AsyncIterator[bytes]:
        async for piece in self._dripped(pieces):
            yield piece

    async def _dripped(self, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        left = self.drips
        async for piece in pieces:
            while piece and left:
                left -= 1
                yield piece[: self.count]
                piece = piece[self.count :]
                await asyncio.sleep(self.pause_seconds)
            yield piece


@dataclass(frozen=True)
class Held(Fault):
    """The registry answers, and its answer is on the way until the test lets it come."""

    until: threading.Event = field(default_factory=threading.Event)

    async def answered(self, head: Head, canary: str) -> bytes:
        while not self.until.is_set():
            await asyncio.sleep(0.01)
        return head.encode()


@dataclass(frozen=True)
class Truncated(Fault):
    """Half of the answer's body, and the connection ends in order. said: whether Content-Length is that of the half
    (`matching`), is missing, or is that of the whole (`kept`)."""

    said: Literal["matching", "missing", "kept"]

    @property
    def title(self) -> str:
        return f"truncated-{self.said}"

    async def answered(self, head: Head, canary: str) -> bytes:
        if self.said == "matching":
            head.put("Content-Length", str((head.length or 0) // 2))
        if self.said == "missing":
            head.put("Content-Length", None)
            head.put("Connection", "close")
        return head.encode()

    async def received(self, pieces: AsyncIterator[bytes], length: int | None) -> AsyncIterator[bytes]:
        async for piece in _until(pieces, (length or 0) // 2):
            yield piece
        raise Cut(orderly=True)


@dataclass(frozen=True)
class FlippedByte(Fault):
    """One byte is another one on its way, in the request's body or the answer's."""

    at: int = 0
    of: Literal["request", "answer"] = "answer"

    @property
    def title(self) -> str:
        return f"flipped-{self.of}"

    async def sent(self, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for piece in self._flipped(pieces) if self.of == "request" else pieces:
            yield piece

    async def received(self, pieces: AsyncIterator[bytes], length: int | None) -> AsyncIterator[bytes]:
        async for piece in self._flipped(pieces) if self.of == "answer" else pieces:
            yield piece

    async def _flipped(self, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        position = 0
        async for piece in pieces:
            if position <= self.at < position + len(piece):
                changed = bytearray(piece)
                changed[self.at - position] ^= 0x01
                yield bytes(changed)
            else:
                yield piece
            position += len(piece)


@dataclass(frozen=True)
class Status(Fault):
    """The registry, or what stands before it, says so instead of doing it. challenge: what a 401 asks for."""

    status: int
    words: Words = "json"
    said: str = "so says the registry"
    retry_after: str = ""
    challenge: str = 'Basic realm="test"'
    early: bool = False

    @property
    def title(self) -> str:
        return f"{self.status}-{self.words}" + ("-retry-after" if self.retry_after else "")

    async def reply(self, request: Head, canary: str) -> Reply | None:
        kinds = {"json": "application/json", "plain": "text/plain", "html": "text/html"}
        head = Head(f"HTTP/1.1 {self.status} {REASONS[self.status]}", [("Content-Type", kinds[self.words])])
        if self.retry_after:
            head.put("Retry-After", self.retry_after)
        if self.status == 401:
            head.put("WWW-Authenticate", self.challenge)
        return Reply(head, self._body(), self.early)

    def _body(self) -> bytes:
        if self.words == "json":
            return json.dumps({"errors": [{"code": CODES.get(self.status, "UNKNOWN"), "message": self.said}]}).encode()
        if self.words == "plain":
            return f"{self.said}\n".encode()
        return f"<html><head><title>{self.said}</title></head><body>nginx</body></html>".encode()


@dataclass(frozen=True)
class Portal(Fault):
    """A network that wants people to log in first: its page, with 200, whatever was asked."""

    async def reply(self, request: Head, canary: str) -> Reply | None:
        return Reply(Head("HTTP/1.1 200 OK", [("Content-Type", "text/html; charset=utf-8")]), PAGE)


@dataclass(frozen=True)
class Redirect(Fault):
    """To a foreign host."""

    status: int = 307

    async def reply(self, request: Head, canary: str) -> Reply | None:
        return Reply(Head(f"HTTP/1.1 {self.status} {REASONS[self.status]}", [("Location", canary + request.path)]))


@dataclass(frozen=True)
class ForeignLocation(Fault):
    """The registry did it, and the Location that comes back names a foreign host."""

    async def answered(self, head: Head, canary: str) -> bytes:
        head.put("Location", f"{canary}/v2/stolen/blobs/uploads/1?_state=x")
        return head.encode()


@dataclass(frozen=True)
class WrongDigest(Fault):
    """The answer reports another digest than the content has."""

    reported: str = field(default="sha256:" + "0" * 64)

    async def answered(self, head: Head, canary: str) -> bytes:
        head.put("Docker-Content-Digest", self.reported)
        return head.encode()


async def _until(pieces: AsyncIterator[bytes], end: int) -> AsyncIterator[bytes]:
    """The first `end` bytes."""
    left = end
    while left > 0:
        try:
            piece = await anext(pieces)
        except StopAsyncIteration:
            return
        yield piece[:left]
        left -= len(piece)


async def _for_ever() -> None:
    await asyncio.Event().wait()


@dataclass(frozen=True)
class Bare(Fault):
    """The answer doesn't say what kind of manifest it is, nor which."""

    async def answered(self, head: Head, canary: str) -> bytes:
        for name in ("Content-Type", "Docker-Content-Digest"):
            head.put(name, None)
        return head.encode()
