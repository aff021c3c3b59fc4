"""How the next bytes of a blob go to a registry: what its profile says first, what it turned out to take before that. No I/O.

One streamed PATCH is how Docker and podman send, so every registry takes it from them; then one PUT; then chunks, which is also
how an upload goes on that has bytes already. What was too large, or took too long, is halved; what went well several times is
doubled, until nothing bounds it any more.

A large blob goes in several pieces where that is known to work, so that others get their turn between two of them: a stream, and
chunks after it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from yarddesk.upstream.learned import REMEMBERED_SECONDS, Lessons
from yarddesk.upstream.profiles import MIB, Profile, Rung

SMALL_BYTES: Final = 4 * MIB
"""Up to here a PUT is as good as a PATCH, and a request cheaper."""

LARGEST_PIECE_BYTES: Final = 64 * MIB
TURN_BYTES: Final = 64 * MIB
"""How much of a blob goes before others get their turn."""

SMALLEST_PIECE_BYTES: Final = 64 * 1024
GOOD_PIECES: Final = 8
"""After so many in a row the next are twice as large."""


@dataclass(frozen=True, slots=True)
class Step:
    """One request: `length` bytes of the blob from `offset` on."""

    rung: Rung
    offset: int
    length: int

    @property
    def end(self) -> int:
        return self.offset + self.length


class Ladder:
    """Of one registry. `least` is what an upload session says of its chunks (OCI-Chunk-Min-Length)."""

    def __init__(self, profile: Callable[[], Profile], lessons: Lessons, now: Callable[[], float]) -> None:
        self._profile = profile
        self._lessons = lessons
        self._now = now
        self._good = 0

    def step(self, size: int, offset: int, least: int = 0) -> Step:
        """What to send next of a blob of which the registry has `offset` bytes."""
        if not size:
            return Step(Rung.WHOLE, 0, 0)  # what closes every upload
        if not offset:
            bound = self._bound(least)
            fits = not bound or size <= bound
            if fits and size <= SMALL_BYTES and self._is_open(Rung.WHOLE):
                return Step(Rung.WHOLE, 0, size)
            for rung in self._profile().ladder:
                if rung is not Rung.CHUNKS and fits and self._is_open(rung):
                    return Step(rung, 0, self._before_a_turn(size, least) if rung is Rung.STREAM else size)
        piece = self._bound(least, self._profile().most_chunk_bytes)
        if not offset:
            piece = piece or LARGEST_PIECE_BYTES
        return Step(Rung.CHUNKS, offset, min(size - offset, piece or self._before_a_turn(size - offset, least)))

    def _before_a_turn(self, left: int, least: int) -> int:
        """How much of what is left goes in one request: all, where chunks are peculiar (or there are none), or it's not much more."""
        profile = self._profile()
        is_peculiar = profile.least_chunk_bytes or profile.most_chunk_bytes or not profile.range_is_true
        if is_peculiar or not self._is_open(Rung.CHUNKS):
            return left
        piece = max(TURN_BYTES, least)
        return piece if left > piece + piece // 2 else left

    @property
    def goes_on(self) -> bool:
        """Whether an upload can be gone on with that has bytes already."""
        return self._is_open(Rung.CHUNKS)

    def took(self, step: Step) -> None:
        """The registry has these bytes."""
        lessons = self._lessons
        if not lessons.piece_bytes or step.length < lessons.piece_bytes:
            return
        self._good += 1
        if self._good < GOOD_PIECES:
            return
        self._good = 0
        if self._too_large and lessons.piece_bytes >= self._too_large // 2:
            return  # half of what was refused: twice as much is that again, or a byte less
        doubled = lessons.piece_bytes * 2
        lessons.piece_bytes = 0 if doubled > LARGEST_PIECE_BYTES else doubled
        lessons.changed()

    def refused(self, step: Step) -> bool:
        """It doesn't take this way to send. Whether there is another one."""
        lessons = self._lessons
        if not step.length:
            return False
        if not any(self._is_open(rung) for rung in self._profile().ladder if rung is not step.rung):
            lessons.refused.clear()
            lessons.changed()
            return False
        lessons.refused[step.rung] = self._now() + REMEMBERED_SECONDS
        if step.rung is Rung.CHUNKS:
            lessons.piece_bytes = lessons.too_large_bytes = 0  # there is no way to send less at once
        lessons.changed()
        return True

    def too_large(self, step: Step, least: int = 0) -> bool:
        """It, or what stands before it, takes no body of this size. Whether a smaller one is worth a try."""
        if step.length <= self._floor(least) or not self._is_open(Rung.CHUNKS):
            return False
        self._lessons.too_large_bytes = step.length
        self._lessons.too_large_until = self._now() + REMEMBERED_SECONDS
        self._halve(step, least)
        return True

    def took_long(self, step: Step, least: int = 0) -> None:
        """It ended by a time limit, or by breaks that left nothing of it: less at once may get through."""
        if step.length > self._floor(least) and self._is_open(Rung.CHUNKS):
            self._halve(step, least)

    def _halve(self, step: Step, least: int) -> None:
        half = min(step.length // 2, LARGEST_PIECE_BYTES)
        self._lessons.piece_bytes = max(half, self._floor(least))
        self._lessons.changed()
        self._good = 0

    def _bound(self, least: int, most: int = 0) -> int:
        """How much one request may carry; 0: any amount."""
        bounds = [bound for bound in (self._lessons.piece_bytes, most) if bound]
        return max(min(bounds), self._floor(least)) if bounds else 0

    def _floor(self, least: int) -> int:
        return max(least, self._profile().least_chunk_bytes, SMALLEST_PIECE_BYTES)

    @property
    def _too_large(self) -> int:
        return self._lessons.too_large_bytes if self._now() < self._lessons.too_large_until else 0

    def _is_open(self, rung: Rung) -> bool:
        return rung in self._profile().ladder and self._now() >= self._lessons.refused.get(rung, 0.0)
