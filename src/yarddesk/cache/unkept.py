"""Blobs that come through an upstream though the store has no room for them: verified, passed on, and gone."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Final

from yarddesk.content.errors import StorageError
from yarddesk.content.target import ContentStream
from yarddesk.content.verify import VerifyingReader
from yarddesk.oci.digest import Digest

_AGAIN_SECONDS: Final = 30.0


class Room:
    """Whether the store takes anything. For a while after it didn't, nothing is offered to it: half of each blob would be lost."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._lacking_until = 0.0

    @property
    def is_lacking(self) -> bool:
        return self._monotonic() < self._lacking_until

    def is_refused(self) -> None:
        """The store had none just now."""
        self._lacking_until = self._monotonic() + _AGAIN_SECONDS


Passed = Callable[[int], ContentStream]
"""Opens a blob's bytes from an offset on, past the store."""


@asynccontextmanager
async def passed_on(
    open_source: Callable[[], ContentStream], digest: Digest, size: int, offset: int
) -> AsyncIterator[AsyncIterator[bytes]]:
    """The bytes from `offset` on; all that come are verified, so that the last of them are given only when the whole is right."""
    async with open_source() as source, aclosing(_after(VerifyingReader(source, digest, size), offset)) as pieces:
        yield pieces


async def kept_or_passed_on(
    kept: AsyncGenerator[bytes, None], passed: Passed, offset: int, room: Room
) -> AsyncGenerator[bytes, None]:
    """`kept`, as long as the store takes it. Where it fails with something given already the answer is cut: the next one is whole."""
    given = False
    async with aclosing(kept):
        try:
            async for piece in kept:
                given = True
                yield piece
            return
        except StorageError:
            room.is_refused()
            if given:
                raise
    async with passed(offset) as pieces:
        async for piece in pieces:
            yield piece


async def _after(pieces: VerifyingReader, offset: int) -> AsyncGenerator[bytes, None]:
    skipped = 0
    async for piece in pieces:
        rest = piece[max(0, offset - skipped) :]
        skipped += len(piece)
        if rest:
            yield rest
