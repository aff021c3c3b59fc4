"""Garbage is collected in the thread of the window alone.

Python collects cycles in whichever thread happens to allocate. One that holds a widget or a timer, collected by a thread
that hashes a blob, destroys it there, and Qt crashes. So automatic collection is off while the app runs, and the loop
collects between two turns, by the same thresholds.
"""

import gc
import time
from types import TracebackType

_FULL_SECONDS = 10.0  # a full collection takes longest; Python, too, does it more seldom than its thresholds say


class GarbageHere:
    """While the context is open garbage is collected by `collect_if_due`, and in no other way."""

    def __init__(self) -> None:
        self._was_enabled = False
        self._last_full = time.monotonic()

    def __enter__(self) -> "GarbageHere":
        self._was_enabled = gc.isenabled()
        gc.disable()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._was_enabled:
            gc.enable()

    def collect_if_due(self) -> None:
        """Call often: this takes 0.1 µs while nothing is due. The counts go on while automatic collection is off."""
        young, middle, old = gc.get_count()
        young_most, middle_most, old_most = gc.get_threshold()
        if young <= young_most or not young_most:
            return
        if middle <= middle_most:
            gc.collect(0)
        elif old <= old_most or time.monotonic() - self._last_full < _FULL_SECONDS:
            gc.collect(1)
        else:
            gc.collect()
            self._last_full = time.monotonic()
