"""Time, as those who wait for it see it: injected, so that a test can turn the hands."""

import asyncio
import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """`now` can be set back by a person or the network; `monotonic` can't, and may stand still while the machine sleeps."""

    def now(self) -> datetime:
        """In UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds since some moment."""
        ...

    async def wait(self, event: asyncio.Event, seconds: float | None) -> bool:
        """Until the event is set (True) or the seconds are over (False); None: no limit."""
        ...


class SystemClock:
    """The machine's own."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    async def wait(self, event: asyncio.Event, seconds: float | None) -> bool:
        if seconds is not None and seconds <= 0:
            return event.is_set()
        try:
            async with asyncio.timeout(seconds):
                await event.wait()
        except TimeoutError:
            return False
        return True
