"""The throughput of the last two minutes, for the sparkline. Pure."""

from collections import deque

WINDOW_SECONDS = 120.0
BUCKET_SECONDS = 2.0


class ThroughputLog:
    """Averages over buckets of two seconds; what lies further back than two minutes is forgotten.

    `now` is a monotonic clock's, in seconds.
    """

    def __init__(self) -> None:
        self._buckets: deque[tuple[int, float, int]] = deque()

    def record(self, now: float, bytes_per_second: float) -> None:
        """One sample."""
        bucket = int(now / BUCKET_SECONDS)
        if self._buckets and self._buckets[-1][0] == bucket:
            _, total, samples = self._buckets[-1]
            self._buckets[-1] = (bucket, total + bytes_per_second, samples + 1)
        else:
            self._buckets.append((bucket, bytes_per_second, 1))
        self._forget(bucket)

    def values(self, now: float) -> tuple[float, ...]:
        """Bytes a second, oldest first, one for each bucket of the window; 0.0 where nothing was seen."""
        last = int(now / BUCKET_SECONDS)
        self._forget(last)
        seen = {bucket: total / samples for bucket, total, samples in self._buckets}
        length = int(WINDOW_SECONDS / BUCKET_SECONDS)
        return tuple(seen.get(bucket, 0.0) for bucket in range(last - length + 1, last + 1))

    def latest(self, now: float) -> float:
        """Bytes a second over the last two buckets: the one that is under way may have just begun."""
        recent = [
            total / samples for bucket, total, samples in self._buckets if bucket >= int(now / BUCKET_SECONDS) - 1
        ]
        return sum(recent) / len(recent) if recent else 0.0

    def is_flat(self, now: float) -> bool:
        """Whether nothing moved within the window."""
        self._forget(int(now / BUCKET_SECONDS))
        return all(total <= 0 for _, total, _ in self._buckets)

    def _forget(self, last: int) -> None:
        oldest = last - int(WINDOW_SECONDS / BUCKET_SECONDS)
        while self._buckets and self._buckets[0][0] <= oldest:
            self._buckets.popleft()
