"""How late Qt's timers fire: what a person feels as a stutter, as numbers."""

import math
import time
from collections import deque
from dataclasses import dataclass
from types import TracebackType

from PySide6.QtCore import Qt, QTimer

_SAMPLES_KEPT = 20_000  # 100 s at the default interval


@dataclass(frozen=True)
class DelayReport:
    """Delays in seconds; all zero when nothing was sampled."""

    samples: int
    p50_seconds: float
    p99_seconds: float
    max_seconds: float


class LoopDelay:
    """Samples how much later than asked a Qt timer of `interval_seconds` fires, while the context is open.

    A stall of any length is one sample, of its whole length. Only the last 20,000 samples are kept.
    """

    def __init__(self, interval_seconds: float = 0.005) -> None:
        self._interval = max(1, round(interval_seconds * 1000))
        self._delays: deque[float] = deque(maxlen=_SAMPLES_KEPT)
        self._due = math.inf
        self._timer = QTimer()
        self._timer.setSingleShot(True)
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(self._on_timeout)

    def __enter__(self) -> "LoopDelay":
        self._arm()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.stop()

    def report(self) -> DelayReport:
        """What was sampled so far."""
        delays = sorted(self._delays)
        if not delays:
            return DelayReport(0, 0.0, 0.0, 0.0)
        last = len(delays) - 1
        return DelayReport(len(delays), delays[last // 2], delays[math.floor(last * 0.99)], delays[last])

    def _arm(self) -> None:
        self._due = time.monotonic() + self._interval / 1000
        self._timer.start(self._interval)

    def _on_timeout(self) -> None:
        self._delays.append(max(0.0, time.monotonic() - self._due))
        self._arm()
