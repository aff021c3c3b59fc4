"""Whether there is room left on the disk that the data folder is on."""

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

from yarddesk.events import EventBus, SettingsChanged
from yarddesk.service.front import Problem, Remedy

_NEARLY_FULL_BYTES: Final = 500_000_000
_LOOK_SECONDS: Final = 60.0


class DiskWatch:
    """`problem` is what was found at the last look; `min_free` gives what pulls leave free."""

    def __init__(self, data_dir: Path, min_free: Callable[[], int], events: EventBus) -> None:
        self.problem: Problem | None = None
        self._data_dir = data_dir
        self._min_free = min_free
        self._events = events

    async def watch(self, stop: asyncio.Event) -> None:
        """Look from time to time whether the disk is about to be full, until `stop` is set."""
        while not stop.is_set():
            problem = await asyncio.to_thread(disk_problem, self._data_dir, self._min_free())
            if problem != self.problem:
                self.problem = problem
                self._events.publish(SettingsChanged())
            try:
                async with asyncio.timeout(_LOOK_SECONDS):
                    await stop.wait()
            except TimeoutError:
                continue


def disk_problem(data_dir: Path, min_free: int) -> Problem | None:
    """What to tell where pushes are about to fail for want of room, or pulls are not kept. Blocking."""
    try:
        free = shutil.disk_usage(data_dir).free
    except OSError as error:
        return Problem(
            "The data folder can't be read.",
            hint="Look whether its disk is still there.",
            details=f"{data_dir}: {error.strerror or error}",
            remedy=Remedy.OPEN_DATA_FOLDER,
        )
    if free >= max(_NEARLY_FULL_BYTES, min_free):
        return None
    if free >= _NEARLY_FULL_BYTES:
        return Problem(
            f"What is pulled is not kept: {free // 1_000_000} MB are left on the disk.",
            hint="Pulls go through to the upstreams until there is more room than cache.min_free in the settings asks for.",
            details=str(data_dir),
            remedy=Remedy.OPEN_DATA_FOLDER,
            stops=False,
        )
    return Problem(
        f"The disk is nearly full: {free // 1_000_000} MB are left.",
        hint="Pushes fail when it is full. Make room, or move the data folder.",
        details=str(data_dir),
        remedy=Remedy.OPEN_DATA_FOLDER,
    )
