"""Bytes a second over the last few seconds."""

import time
from collections import deque
from collections.abc import Callable


class RateEstimator:
    """A windowed average: quick to follow, calm enough to read. Memory is bounded by the window, not by the calls."""

    def __init__(
        self, window_seconds: float = 5.0, resolution_seconds: float = 0.25, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._window = window_seconds
        self._resolution = resolution_seconds
        self._clock = clock
        self._buckets: deque[tuple[float, int]] = deque()
        self._started: float | None = None

    def add(self, count: int) -> None:
        """`count` bytes went by just now; a negative count takes some back."""
        now = self._clock()
        if self._started is None:
            self._started = now
        if self._buckets and now - self._buckets[-1][0] < self._resolution:
            at, sofar = self._buckets[-1]
            self._buckets[-1] = (at, sofar + count)
        else:
            self._buckets.append((now, count))
        self._forget(now)

    def bytes_per_second(self) -> float:
        """0.0 when nothing moved within the window."""
        now = self._clock()
        self._forget(now)
        if self._started is None or not self._buckets:
            return 0.0
        span = max(min(now - self._started, self._window), self._resolution)
        return max(0.0, sum(count for _, count in self._buckets) / span)

    def _forget(self, now: float) -> None:
        while self._buckets and now - self._buckets[0][0] > self._window:
            self._buckets.popleft()
        if not self._buckets:
            self._started = None
