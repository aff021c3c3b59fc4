"""A blob's bytes on their way out, in the stretches that a registry takes them in, and hashed in the same read."""

from bisect import bisect_right
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Final

from yarddesk.content.target import ContentSource, DigestMismatch
from yarddesk.content.verify import RunningHash
from yarddesk.oci.descriptor import Descriptor
from yarddesk.oci.digest import Hasher

_MARK_BYTES: Final = 1024 * 1024
_MOST_MARKS: Final = 512


class HashMarks:
    """The hash of a blob's first bytes at several places, so that it can go on from there; their number is bounded."""

    def __init__(self, start: Hasher) -> None:
        self._offsets = [0]
        self._hashes = [start]
        self._spacing = _MARK_BYTES

    def is_due(self, offset: int) -> bool:
        return offset >= self._offsets[-1] + self._spacing

    def put(self, offset: int, state: Hasher) -> None:
        """What lies before is right, or the hash at the end won't be: a mark that is there may stay."""
        index = bisect_right(self._offsets, offset)
        if self._offsets[index - 1] == offset:
            return
        self._offsets.insert(index, offset)
        self._hashes.insert(index, state)
        if len(self._offsets) > _MOST_MARKS:
            self._offsets, self._hashes = self._offsets[::2], self._hashes[::2]
            self._spacing *= 2

    def before(self, offset: int) -> tuple[int, Hasher]:
        """The last mark up to an offset, and a hash that goes on from it."""
        index = bisect_right(self._offsets, offset) - 1
        return self._offsets[index], self._hashes[index].copy()


class Outflow:
    """The blob `descriptor` from `source`. The last piece is held back until the hash of all is right, whatever the stretches.

    `given` is where the last stretch that was read had come to.
    """

    def __init__(self, source: ContentSource, descriptor: Descriptor, marks: HashMarks | None = None) -> None:
        self.marks = marks or HashMarks(descriptor.digest.hasher())
        self.given = 0
        self._source = source
        self._descriptor = descriptor

    @asynccontextmanager
    async def stretch(self, start: int, end: int) -> AsyncIterator[AsyncIterator[bytes]]:
        """The bytes from `start` up to `end`. Raises DigestMismatch before the blob's last byte where they are not its own."""
        self.given = start
        begin, state = self.marks.before(start)
        async with (
            self._source(begin) as pieces,
            aclosing(self._checked(pieces, begin, RunningHash(state), start, end)) as checked,
        ):
            yield checked

    async def _checked(
        self, pieces: AsyncIterator[bytes], offset: int, running: RunningHash, start: int, end: int
    ) -> AsyncGenerator[bytes, None]:
        size = self._descriptor.size
        held = b""
        async for piece in pieces:
            if offset + len(piece) > size:
                raise DigestMismatch(f"There are more than the {size:,} bytes of {self._descriptor.digest}.")
            part = piece[: end - offset]
            await running.take(part)
            fresh = part[max(start - offset, 0) :]
            offset += len(part)
            if self.marks.is_due(offset):
                self.marks.put(offset, await running.so_far())
            if held and fresh:
                self.given += len(held)
                yield held
            held = fresh or held
            if offset == end < size:
                break
        if offset < end:
            raise DigestMismatch(f"Only {offset:,} of the {size:,} bytes of {self._descriptor.digest} came.")
        state = await running.so_far()
        if end == size and state.hexdigest() != self._descriptor.digest.hex:
            raise DigestMismatch(f"The bytes that came are not those of {self._descriptor.digest}.")
        self.marks.put(end, state)
        if held:
            self.given += len(held)
            yield held
