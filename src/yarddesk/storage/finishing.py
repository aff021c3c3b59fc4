"""Work that is finished even when whoever asked for it has gone away."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

_log = logging.getLogger(__name__)
Result = TypeVar("Result")


class Finishing:
    """Owns the tasks of changes to the disk: a caller that is cancelled stops waiting, the change goes on to its end.

    A thread can't be called back; so what follows upon its work must not be skipped either.
    """

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    async def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if not task.done():
                task.add_done_callback(_report)
            raise

    async def wait(self) -> None:
        """Return when nothing is under way."""
        while self._tasks:
            await asyncio.wait(tuple(self._tasks))


def _report(task: asyncio.Task[Any]) -> None:
    error = None if task.cancelled() else task.exception()
    if error is not None:
        _log.warning("a change that nobody waited for any more failed: %s", error)
