"""What is looked after from time to time: the end of timed pauses, and the folder, for what its watch misses."""

import logging
import math
from datetime import datetime, timedelta
from typing import Final

from yarddesk.errors import YarddeskError
from yarddesk.sync.queue import Queue
from yarddesk.sync.steering import Steering
from yarddesk.sync.watch import FolderWatch

_log = logging.getLogger(__name__)

_SECONDS: Final = 1.0
_LONGEST_SECONDS: Final = 60.0
_SCAN_REST: Final = 1000.0
_LONGEST_SCAN_REST_SECONDS: Final = 300.0


class Rounds:
    """`interval`: how often the folder is looked through, as the settings have it."""

    def __init__(self, queue: Queue, steering: Steering, watch: FolderWatch, interval: timedelta) -> None:
        self.interval = interval
        self._queue = queue
        self._steering = steering
        self._watch = watch
        self._scan_took_seconds = 0.0

    async def run(self) -> None:
        """For ever."""
        clock = self._queue.clock
        # The first scan comes at once: for what was deleted after the markers were read and before the watch began.
        scanned = -math.inf
        failures = 0
        while True:
            self._queue.timer.clear()
            await clock.wait(self._queue.timer, max(self._until_next(scanned), _again_seconds(failures)))
            try:
                await self._steering.expire()
                if clock.monotonic() - scanned >= self._scan_every_seconds():
                    scanned = clock.monotonic()
                    await self._watch.scan()
                    self._scan_took_seconds = clock.monotonic() - scanned
                failures = 0
            except YarddeskError as error:
                failures += 1
                _log.error("the queue could not be looked after: %s", error)
            except Exception:  # noqa: BLE001 - logged with its traceback; what is synced must not end over it
                failures += 1
                _log.exception("the queue could not be looked after")

    def _scan_every_seconds(self) -> float:
        """As the settings say, but ever less often the longer it takes: it's there for what the watch of the folder misses."""
        seconds = self.interval.total_seconds()
        if not self._watch.tells:
            return seconds
        return max(seconds, min(_SCAN_REST * self._scan_took_seconds, _LONGEST_SCAN_REST_SECONDS))

    def _until_next(self, scanned: float) -> float:
        clock = self._queue.clock
        seconds = max(_SECONDS, self._scan_every_seconds()) - (clock.monotonic() - scanned)
        ends: list[datetime] = list(self._queue.timed_jobs.values())
        if (end := self._queue.pauses.next_end()) is not None:
            ends.append(end)
        if ends:
            seconds = min(seconds, (min(ends) - clock.now()) / timedelta(seconds=1))
        return max(0.0, seconds)


def _again_seconds(failures: int) -> float:
    """The least that is waited after so many failures in a row: an end of a pause that can't be written is due all the time."""
    return 0.0 if not failures else min(_SECONDS * 2.0 ** min(failures, 6), _LONGEST_SECONDS)
