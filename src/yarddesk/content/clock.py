"""Time, as those who wait for it see it: injected, so that a test can turn the hands."""

import asyncio
import sys
import time
from datetime import UTC, datetime
from typing import Protocol


def rfc3339(moment: datetime, timespec: str = "auto") -> str:
    """As files and answers have a time: in UTC, with a Z. `timespec` is that of datetime.isoformat."""
    return moment.astimezone(UTC).isoformat(timespec=timespec).replace("+00:00", "Z")


class Clock(Protocol):
    """`now` can be set back by a person or the network; `monotonic` can't, and may stand still while the machine sleeps."""

    def now(self) -> datetime:
        """In UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds since some moment."""
        ...

    def slept(self) -> float:
        """Seconds that the machine spent asleep, since some moment."""
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

    def slept(self) -> float:
        return _awake_or_not() - _awake()

    async def wait(self, event: asyncio.Event, seconds: float | None) -> bool:
        if seconds is not None and seconds <= 0:
            return event.is_set()
        try:
            async with asyncio.timeout(seconds):
                await event.wait()
        except TimeoutError:
            return False
        return True


# Two clocks that nobody can set: one goes on while the machine sleeps, the other stands still.
if sys.platform == "linux":

    def _awake_or_not() -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def _awake() -> float:
        return time.clock_gettime(time.CLOCK_MONOTONIC)

elif sys.platform == "darwin":

    def _awake_or_not() -> float:
        return time.clock_gettime(time.CLOCK_MONOTONIC)

    def _awake() -> float:
        return time.clock_gettime(time.CLOCK_UPTIME_RAW)

elif sys.platform == "win32":
    import ctypes

    def _awake_or_not() -> float:
        return ctypes.windll.kernel32.GetTickCount64() / 1000

    def _awake() -> float:
        ticks = ctypes.c_ulonglong()
        ctypes.windll.kernel32.QueryUnbiasedInterruptTime(ctypes.byref(ticks))
        return ticks.value / 10_000_000

else:

    def _awake_or_not() -> float:
        return time.time()

    def _awake() -> float:
        return time.monotonic()
