"""Asking upstreams: in the order written, the next after any failure, and not at all while one is known to be away."""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from yarddesk.content.target import NotFound
from yarddesk.content.upstream import (
    Upstream,
    UpstreamAway,
    UpstreamBroken,
    UpstreamFailure,
    UpstreamNotAsked,
    UpstreamTimeout,
)

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

FIRST_REST_SECONDS: Final = 3.0
LONGEST_REST_SECONDS: Final = 30.0
QUICK_SECONDS: Final = 1.0
QUICK_REST_SECONDS: Final = 10.0


@dataclass(slots=True)
class _Absence:
    """An upstream that gave no answer: it's left alone `until` (monotonic), longer each time."""

    until: float
    rest: float
    title: str


class Asking:
    """Whom to ask, and who is better left alone. `offline`: nobody is asked."""

    def __init__(self, monotonic: Callable[[], float], *, offline: bool = False) -> None:
        self.offline = offline
        self._monotonic = monotonic
        self._absences: dict[str, _Absence] = {}
        self._waiting: Counter[str] = Counter()
        self._slow_until: dict[str, float] = {}

    def is_away(self, upstream: str) -> bool:
        """Whether it's known to be away."""
        absence = self._absences.get(upstream)
        return absence is not None and self._monotonic() < absence.until

    def none_answers(self, upstreams: Sequence[Upstream]) -> bool:
        """Whether it's no use to ask any of them now."""
        return self.offline or all(self.is_away(upstream.name) for upstream in upstreams)

    def quick(self, upstreams: Sequence[Upstream]) -> Sequence[Upstream]:
        """Those of them of whom a quick answer may be hoped for."""
        now = self._monotonic()
        return [each for each in upstreams if now >= self._slow_until.get(each.name, now)]

    @asynccontextmanager
    async def quickly(self, upstreams: Sequence[Upstream]) -> AsyncIterator[None]:
        """Around a quick question. Those that owe an answer when time is up get no other for a while, or until they answer.

        Raises TimeoutError.
        """
        try:
            async with asyncio.timeout(QUICK_SECONDS):
                yield
        except TimeoutError:
            for upstream in upstreams:
                if self._waiting[upstream.name]:
                    self._slow_until[upstream.name] = self._monotonic() + QUICK_REST_SECONDS
            raise

    def returned(self, upstream: str) -> None:
        """It was heard of."""
        self._absences.pop(upstream, None)
        self._slow_until.pop(upstream, None)

    def forget(self) -> None:
        """Other settings: nothing is known."""
        self._absences.clear()
        self._slow_until.clear()

    async def first(
        self, upstreams: Sequence[Upstream], work: Callable[[Upstream], Awaitable[_T]]
    ) -> tuple[Upstream, _T] | None:
        """What the first upstream says that has it; None where all say that there is no such thing.

        Raises the first failure where none has it and one failed.
        """
        failure: UpstreamFailure | None = None
        for upstream in upstreams:
            try:
                return upstream, await self.one(upstream, lambda upstream=upstream: work(upstream))  # type: ignore[misc]
            except NotFound:
                continue
            except UpstreamFailure as error:
                failure = failure or error
        if failure is not None:
            raise failure
        return None

    async def one(self, upstream: Upstream, work: Callable[[], Awaitable[_T]]) -> _T:
        """Ask one, and learn from it whether it's there. Raises UpstreamNotAsked, and what `work` raises."""
        if self.offline:
            raise UpstreamNotAsked(
                upstream.name,
                f"{upstream.registry} is not asked: this yarddesk is offline.",
                hint="cache.offline in the settings says so.",
                temporary=True,
            )
        absence = self._absences.get(upstream.name)
        if absence is not None and self._monotonic() < absence.until:
            raise UpstreamNotAsked(
                upstream.name, f"{upstream.registry} is away.", absence.title, hint="Try again soon.", temporary=True
            )
        self._waiting[upstream.name] += 1
        try:
            found = await work()
        except (UpstreamAway, UpstreamBroken) as error:
            # To somebody who waits for a pull, one that breaks off or hangs is as good as away.
            self._is_away(upstream.name, error)
            raise
        except (NotFound, UpstreamFailure):
            self.returned(upstream.name)
            raise
        finally:
            self._waiting[upstream.name] -= 1
        self.returned(upstream.name)
        return found

    def _is_away(self, upstream: str, error: UpstreamAway | UpstreamBroken) -> None:
        now = self._monotonic()
        absence = self._absences.get(upstream)
        if absence is not None and now < absence.until:
            return
        rest = FIRST_REST_SECONDS if absence is None else min(2 * absence.rest, LONGEST_REST_SECONDS)
        self._absences[upstream] = _Absence(now + rest, rest, error.title)


class Shared:
    """Work that several ask for at once is done once, in a task that belongs to nobody who may go away."""

    def __init__(self) -> None:
        self._tasks: dict[object, asyncio.Task[Any]] = {}

    async def do(self, key: object, work: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
        """Join what goes on under this key, or begin it."""
        task: asyncio.Task[_T] | None = self._tasks.get(key)
        if task is None:
            task = self._tasks[key] = asyncio.create_task(work())
            task.add_done_callback(lambda done: self._ended(key, done))
        return await asyncio.shield(task)

    async def close(self) -> None:
        """End all of it."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _ended(self, key: object, task: asyncio.Task[Any]) -> None:
        del self._tasks[key]
        if not task.cancelled() and (error := task.exception()) is not None:
            # Whoever still waits hears of it; if all went away nobody else would.
            _log.debug("%s: %s", key, error)


def no_answer(upstream: Upstream, error: Exception) -> UpstreamFailure:
    """The failure that `error` is, or that it means: our time for the question was up."""
    if isinstance(error, UpstreamFailure):
        return error
    return UpstreamTimeout(upstream.name, f"{upstream.registry} gave no answer.", temporary=True)
