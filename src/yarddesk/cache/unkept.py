"""Blobs that come through an upstream though the store has no room for them: verified, passed on, and gone."""

from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import BinaryIO

from yarddesk.cache.fills import HELD_BACK_BYTES
from yarddesk.cache.room import Room
from yarddesk.content.errors import StorageError
from yarddesk.content.pull_through import GrowingBlob
from yarddesk.content.target import ContentStream
from yarddesk.content.verify import VerifyingReader
from yarddesk.oci.digest import Digest


class KeptWhileRoom:
    """A growing blob; where the store has no more room for it, `room` hears of it."""

    def __init__(self, growing: GrowingBlob, room: Room) -> None:
        self._growing = growing
        self._room = room

    async def file(self) -> BinaryIO | None:
        return await self._growing.file()

    async def reach(self, position: int, end: int) -> int:
        try:
            return await self._growing.reach(position, end)
        except StorageError:
            self._room.is_refused()
            raise


Reads = Callable[[int, int], AsyncGenerator[bytes, None]]
"""A blob's bytes from a start up to an end."""


async def passed_on(
    open_source: Callable[[], ContentStream], digest: Digest, size: int, start: int, end: int
) -> AsyncGenerator[bytes, None]:
    """All of the blob is read and verified, and a part of it given: its last bytes, as of a fill, only when the whole is right."""
    held: deque[bytes] = deque()
    held_bytes = position = 0
    async with open_source() as source:
        async for piece in VerifyingReader(source, digest, size):
            wanted = piece[max(0, start - position) : max(0, end - position)]
            position += len(piece)
            if not wanted:
                continue
            held.append(wanted)
            held_bytes += len(wanted)
            while held_bytes - len(held[0]) >= HELD_BACK_BYTES:
                held_bytes -= len(held[0])
                yield held.popleft()
    for piece in held:
        yield piece


async def kept_or_passed_on(
    kept: Reads, passed: Reads, room: Room, start: int, end: int
) -> AsyncGenerator[bytes, None]:
    """`kept`, as long as the store takes it. Where it fails with something given already the answer is cut: the next one is whole."""
    given = False
    async with aclosing(kept(start, end)) as pieces:
        try:
            async for piece in pieces:
                given = True
                yield piece
            return
        except StorageError:
            room.is_refused()
            if given:
                raise
    async with aclosing(passed(start, end)) as pieces:
        async for piece in pieces:
            yield piece
