"""A clock whose hands a test turns."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any


class HandClock:
    """Stands still until `advance`. Wall clock and monotonic clock go together unless told otherwise."""

    def __init__(self, start: datetime = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)) -> None:
        self._now = start
        self._monotonic = 1000.0
        self._slept = 0.0
        self._waits: dict[asyncio.Future[None], float] = {}

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic

    def slept(self) -> float:
        return self._slept

    async def wait(self, event: asyncio.Event, seconds: float | None) -> bool:
        if event.is_set() or (seconds is not None and seconds <= 0):
            return event.is_set()
        rung: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if seconds is not None:
            self._waits[rung] = self._monotonic + seconds
        set_ = asyncio.ensure_future(event.wait())
        either: list[asyncio.Future[Any]] = [rung, set_]
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            return event.is_set()
        finally:
            self._waits.pop(rung, None)
            set_.cancel()
            rung.cancel()

    def advance(self, seconds: float, *, sleeping: bool = False) -> None:
        """Let time go by; sleeping: the machine sleeps meanwhile, so that the monotonic clock stands still."""
        self._now += timedelta(seconds=seconds)
        if sleeping:
            self._slept += seconds
            return
        self._monotonic += seconds
        for rung, at in list(self._waits.items()):
            if at <= self._monotonic and not rung.done():
                rung.set_result(None)

    @property
    def next_alarm(self) -> float | None:
        """Seconds until somebody who waits is woken."""
        return min((at - self._monotonic for at in self._waits.values()), default=None)
