"""A loop whose time is made up and whose threads are none: whatever runs on it takes the same turns each time.

Time jumps to the next moment at which anything is due. Work for threads is done in the loop's own turns, some made-up time later.
Each beginning and end of such work is a step, and so is whatever else calls `step`; at a step that was named before, the process
dies: nothing that it began has an effect any more.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, TypeVar, TypeVarTuple, Unpack

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_TURN_SECONDS = 1e-6
"""What each turn of the loop takes, so that what is due in no time at all comes to be due."""

_LONGEST_SECONDS = 0.02
_ROUNDS_TO_DIE = 50


class Standstill(AssertionError):
    """Somebody waits for what can never come: nothing is due, now or later."""


class Died(Exception):
    """The process died while something was under way."""


class _Jumping(selectors.DefaultSelector):
    """Never waits for what is due later: it's that time at once."""

    loop: SimulatedLoop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise Standstill("nothing is due, and something is awaited")
        self.loop.seconds += max(_TURN_SECONDS, timeout)
        return []


class SimulatedLoop(asyncio.SelectorEventLoop):
    """The life of one process. `seconds`: what its clock shows at first, and then."""

    def __init__(self, random: Random, seconds: float = 1000.0) -> None:
        selector = _Jumping()
        selector.loop = self
        self.seconds = seconds
        super().__init__(selector)
        self.random = random
        self.is_dead = False
        self.steps = 0
        self.dies_at: int | None = None

    def time(self) -> float:
        return self.seconds

    def step(self) -> None:
        """Something is about to have an effect outside. Raises CancelledError where the process has died by then."""
        self.steps += 1
        if self.dies_at is not None and self.steps >= self.dies_at and not self.is_dead:
            self.is_dead = True
            self.stop()
        if self.is_dead:
            raise asyncio.CancelledError

    def delay(self) -> float:
        """How long something outside takes."""
        return self.random.choice((0.0, 0.0, self.random.uniform(0, _LONGEST_SECONDS)))

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[Unpack[Ts]], T], *args: *Ts
    ) -> asyncio.Future[T]:
        future: asyncio.Future[T] = self.create_future()
        self.call_later(self.delay(), self._work, future, func, args)
        return future

    def _work(self, future: asyncio.Future[T], func: Callable[..., T], args: tuple[Any, ...]) -> None:
        if future.cancelled() or self._is_over():
            return
        try:
            result = func(*args)
        except Exception as error:  # noqa: BLE001 - it's for whoever awaits it
            self.call_later(self.delay(), self._tell, future, None, error)
        else:
            self.call_later(self.delay(), self._tell, future, result, None)

    def _tell(self, future: asyncio.Future[Any], result: Any, error: Exception | None) -> None:
        if future.done() or self._is_over():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)

    def _is_over(self) -> bool:
        try:
            self.step()
        except asyncio.CancelledError:
            return True
        return False

    def live(self, work: Coroutine[Any, Any, T], *, dies_after: int | None = None) -> T:
        """What the work gives. Raises Died where the process died before: so many steps from now at the latest."""
        self.dies_at = None if dies_after is None else self.steps + dies_after
        task = self.create_task(work)
        try:
            self.run_until_complete(task)
        except (RuntimeError, asyncio.CancelledError):
            if not self.is_dead:
                raise
        finally:
            self.dies_at = None
        if self.is_dead:
            raise Died
        return task.result()

    def die(self) -> None:
        """Take down what is left of it, if anything is; no effect of that gets out."""
        if self.is_closed():
            return
        self.is_dead = True
        for _ in range(_ROUNDS_TO_DIE):
            left = asyncio.all_tasks(self)
            if not left:
                break
            for task in left:
                task.cancel()
            self.call_soon(self.call_soon, self.stop)
            self.run_forever()
            for task in left:
                if task.done() and not task.cancelled():
                    task.exception()  # looked at: the dead don't complain
        self.close()


class SimulatedClock:
    """content.clock.Clock by the loop's time."""

    def __init__(self, loop: SimulatedLoop) -> None:
        self._loop = loop

    def now(self) -> datetime:
        return datetime(2026, 3, 1, 12, 0, tzinfo=UTC) + timedelta(seconds=self._loop.seconds)

    def monotonic(self) -> float:
        return self._loop.seconds

    def slept(self) -> float:
        return 0.0

    async def wait(self, event: asyncio.Event, seconds: float | None) -> bool:
        if seconds is not None and seconds <= 0:
            return event.is_set()
        try:
            async with asyncio.timeout(seconds):
                await event.wait()
        except TimeoutError:
            return False
        return True
