"""What all transfers share: how many at once, and how many bytes a second."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from yarddesk.content.clock import Clock

QUESTIONS_AT_ONCE: Final = 16


@dataclass(slots=True, eq=False)
class _Waiter:
    upstream: str
    holder: str
    priority: Callable[[], int]
    granted: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Slot:
    """One of the slots, while a transfer has it."""

    def __init__(self, waiter: _Waiter, turn: Callable[["Slot"], Awaitable[None]]) -> None:
        self.waiter = waiter
        self._turn = turn

    async def turn(self) -> None:
        """A piece of a large blob has gone: others first, if one is next. Back with a slot."""
        await self._turn(self)


class TransferSlots:
    """`total` transfers at once, fairly between images: who holds fewest is next, of those who was served longest ago.

    So an image of many layers gets one slot in each round, as do the small ones beside it, and the same goes for the pieces of
    a large layer. What a person moved up goes before that, and the last slot is kept for an upstream that holds none.
    """

    def __init__(self, total: int) -> None:
        self._total = max(1, total)
        self._upstreams = 1
        self._held_by_upstream: Counter[str] = Counter()
        self._held_by_holder: Counter[str] = Counter()
        self._waiters: list[_Waiter] = []
        self._turns: dict[str, int] = {}
        self._turn = 0

    def resize(self, total: int, upstreams: int) -> None:
        """`upstreams`: how many there are that pushes go to. What holds a slot keeps it."""
        self._total = max(1, total)
        self._upstreams = upstreams
        self._grant()

    @property
    def held(self) -> int:
        return self._held_by_upstream.total()

    @asynccontextmanager
    async def slot(self, upstream: str, holder: str, priority: Callable[[], int] = lambda: 0) -> AsyncIterator[Slot]:
        """One of the slots, for a transfer of the job `holder`."""
        slot = Slot(_Waiter(upstream, holder, priority), self._next_piece)
        self._waiters.append(slot.waiter)
        if holder not in self._turns:
            self._take_turn(holder)
        self._grant()
        try:
            await slot.waiter.granted
            yield slot
        finally:
            if slot.waiter in self._waiters:
                self._waiters.remove(slot.waiter)
            else:
                self._give_back(slot.waiter)
                self._grant()
            if not self._held_by_holder[holder] and all(other.holder != holder for other in self._waiters):
                self._turns.pop(holder, None)

    def _give_back(self, waiter: _Waiter) -> None:
        for held, key in ((self._held_by_upstream, waiter.upstream), (self._held_by_holder, waiter.holder)):
            held[key] -= 1
            if not held[key]:
                del held[key]

    async def _next_piece(self, slot: Slot) -> None:
        before = slot.waiter
        self._give_back(before)
        slot.waiter = _Waiter(before.upstream, before.holder, before.priority)
        # Before what else the same image has to send: what was begun comes to its end first.
        self._waiters.insert(0, slot.waiter)
        self._take_turn(before.holder)
        self._grant()
        await slot.waiter.granted

    def _grant(self) -> None:
        while self.held < self._total:
            allowed = [waiter for waiter in self._waiters if self._may_have(waiter)]
            if not allowed:
                return
            waiter = min(allowed, key=self._place)
            self._waiters.remove(waiter)
            self._take_turn(waiter.holder)
            self._held_by_upstream[waiter.upstream] += 1
            self._held_by_holder[waiter.holder] += 1
            if not waiter.granted.done():
                waiter.granted.set_result(None)

    def _place(self, waiter: _Waiter) -> tuple[int, int, int]:
        return (-waiter.priority(), self._held_by_holder[waiter.holder], self._turns[waiter.holder])

    def _take_turn(self, holder: str) -> None:
        """It's at the end of the round: whoever comes anew, too, so that nobody is passed over for ever."""
        self._turn += 1
        self._turns[holder] = self._turn

    def _may_have(self, waiter: _Waiter) -> bool:
        if not self._held_by_upstream[waiter.upstream]:
            return True
        idle_upstreams = self._upstreams - len(+self._held_by_upstream)
        return self._total - self.held > (1 if idle_upstreams > 0 else 0)


class Questions:
    """How many blobs are asked about at once, at each upstream: more images than may send are being looked at."""

    def __init__(self) -> None:
        self._at: dict[str, asyncio.Semaphore] = {}

    def at(self, upstream: str) -> asyncio.Semaphore:
        if upstream not in self._at:
            self._at[upstream] = asyncio.Semaphore(QUESTIONS_AT_ONCE)
        return self._at[upstream]


class Bandwidth:
    """A token bucket for uploads: `bytes_per_second` in the long run, half a second's worth at once; 0 is no limit.

    Transfers take piece by piece, in the order in which they ask, so that each gets its share. Another limit holds at once, for
    those who wait already too, and nobody pays at the new rate for what went out at the old one.
    """

    _PIECES_A_SECOND = 8
    _LEAST_PIECE_BYTES = 1024
    _MOST_PIECE_BYTES = 64 * 1024
    _BURST_SECONDS = 0.5

    def __init__(self, bytes_per_second: int, clock: Clock) -> None:
        self._bytes_per_second = bytes_per_second
        self._clock = clock
        self._level = 0.0
        self._filled = clock.monotonic()
        self._turn = asyncio.Lock()
        self._changed = asyncio.Event()

    @property
    def bytes_per_second(self) -> int:
        return self._bytes_per_second

    @bytes_per_second.setter
    def bytes_per_second(self, limit: int) -> None:
        if limit != self._bytes_per_second:
            self._bytes_per_second = limit
            self._level, self._filled = 0.0, self._clock.monotonic()
            self._changed.set()

    @property
    def is_limited(self) -> bool:
        return self._bytes_per_second > 0

    @property
    def piece_bytes(self) -> int:
        """How much to take at once: little at low rates, so that no transfer is silent for long."""
        share = self._bytes_per_second // self._PIECES_A_SECOND
        return min(max(share, self._LEAST_PIECE_BYTES), self._MOST_PIECE_BYTES)

    async def take(self, count: int) -> None:
        """Return when `count` more bytes may go out."""
        if not self.is_limited:
            return
        async with self._turn:  # whoever is first waits for the bucket, the others for their turn
            while self.is_limited:
                self._fill()
                if self._level > -1:
                    self._level -= count
                    return
                self._changed.clear()
                await self._clock.wait(self._changed, -self._level / self._bytes_per_second)

    def _fill(self) -> None:
        now = self._clock.monotonic()
        burst = self._BURST_SECONDS * self._bytes_per_second
        self._level = min(self._level + (now - self._filled) * self._bytes_per_second, burst)
        self._filled = now
