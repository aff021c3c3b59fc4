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
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[Result] = loop.create_future()
        task = loop.create_task(_finish(work, waiter))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return await waiter

    async def wait(self) -> None:
        """Return when nothing is under way."""
        while self._tasks:
            await asyncio.wait(tuple(self._tasks))


async def _finish(work: Coroutine[Any, Any, Result], waiter: "asyncio.Future[Result]") -> None:
    try:
        result = await work
    except asyncio.CancelledError:  # by the loop, which ends
        waiter.cancel()
        raise
    except Exception as error:  # noqa: BLE001 - raised again where it is awaited
        if waiter.done():
            _log.warning("a change that nobody waited for any more failed: %s", error)
        else:
            waiter.set_exception(error)
    else:
        if not waiter.done():
            waiter.set_result(result)
