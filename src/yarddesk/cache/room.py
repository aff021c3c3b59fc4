"""Whether there is room to keep what is pulled: caching stops before the disk is full, and pushes never ask."""

import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

from yarddesk.content.threads import in_thread
from yarddesk.settings.model import CacheSettings

_log = logging.getLogger(__name__)

_AGAIN_SECONDS: Final = 30.0


def free_bytes(folder: Path) -> int | None:
    """What is free on the folder's disk; None where it can't be told. Blocks."""
    try:
        return shutil.disk_usage(folder).free
    except OSError as error:
        _log.warning("how much room there is can't be told: %s", error)
        return None


class Room:
    """`lacking` hears how many bytes there are too few for what is pulled: something else may go for it, in time for the next.

    `look` gives the free bytes, on a thread.
    """

    def __init__(self, settings: CacheSettings, monotonic: Callable[[], float], look: Callable[[], int | None]) -> None:
        self.settings = settings
        self.lacking: Callable[[int], None] | None = None
        self._monotonic = monotonic
        self._look = look
        self._lacking_until = 0.0
        self._is_told = False

    @property
    def is_lacking(self) -> bool:
        """Whether the store had none just now."""
        return self._monotonic() < self._lacking_until

    def is_refused(self) -> None:
        """The store had none just now: for a while nothing is offered to it, since half of each blob would be lost."""
        self._lacking_until = self._monotonic() + _AGAIN_SECONDS

    async def admits(self, size: int, coming: Callable[[], int]) -> bool:
        """Whether so many bytes may be kept, beside those that are still to come of what is kept just now."""
        if self.is_lacking or 0 < self.settings.max_size < size:
            return False
        if not self.settings.min_free:
            return True
        free = await in_thread(self._look)
        if free is None:
            return True
        # Counted after the look: nobody else may count on the same room meanwhile.
        lack = self.settings.min_free + coming() + size - free
        if lack > 0:
            if not self._is_told:
                _log.warning("the disk has %d bytes left: what is pulled is passed on and not kept", free)
            if self.lacking is not None:
                self.lacking(lack)
        self._is_told = lack > 0
        return lack <= 0
