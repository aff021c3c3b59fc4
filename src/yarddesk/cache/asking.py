"""Asking upstreams: in the order written, the next after any failure, and not at all while one is known to be away."""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

from yarddesk.cache.absent import Absent, Sought
from yarddesk.cache.breaker import Breaker
from yarddesk.content.clock import Clock
from yarddesk.content.target import NotFound
from yarddesk.content.upstream import (
    Upstream,
    UpstreamDenied,
    UpstreamFailure,
    UpstreamNotAsked,
    UpstreamRefused,
    UpstreamTimeout,
)
from yarddesk.oci.name import RepositoryName
from yarddesk.progress.traffic import Traffic

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

QUICK_SECONDS: Final = 1.0
QUICK_REST_SECONDS: Final = 10.0


class Asking:
    """Whom to ask, and who is better left alone. `offline`: nobody is asked. `changed` hears of each breaker that opens or closes,
    and of first answers."""

    def __init__(
        self,
        clock: Clock,
        *,
        offline: bool = False,
        changed: Callable[[str, UpstreamFailure | None], None] | None = None,
        traffic: Traffic | None = None,
    ) -> None:
        self.offline = offline
        self._clock = clock
        self._changed = changed
        self._absent = Absent(clock.monotonic)
        self._traffic = traffic or Traffic()
        self._breakers: dict[str, Breaker] = {}
        self._waiting: Counter[str] = Counter()
        self._slow_until: dict[str, float] = {}

    def trouble(self, upstream: str) -> UpstreamFailure | None:
        """Why an upstream is not asked just now; None where it is."""
        return breaker.cause if (breaker := self._breakers.get(upstream)) else None

    def has_answered(self, upstream: str) -> bool:
        """Whether it gave an answer since it became known, as far as it was asked for pulls."""
        return (breaker := self._breakers.get(upstream)) is not None and breaker.has_answered

    def none_answers(self, upstreams: Sequence[Upstream]) -> bool:
        """Whether it's no use to ask any of them now."""
        return self.offline or all(self.trouble(upstream.name) is not None for upstream in upstreams)

    async def quick(self, upstreams: Sequence[Upstream]) -> Sequence[Upstream]:
        """Those of them of whom a quick answer may be hoped for."""
        now = self._clock.monotonic()
        for each in upstreams:
            await self._breaker(each).wake(each, wait=False)
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
                    self._slow_until[upstream.name] = self._clock.monotonic() + QUICK_REST_SECONDS
            raise

    def reachable(self, upstream: str) -> None:
        """Somebody else heard of it."""
        if upstream in self._breakers:
            self._breakers[upstream].reachable()
        self._slow_until.pop(upstream, None)

    def appeared(self, repository: RepositoryName) -> None:
        """Something came into a repository, here or at an upstream."""
        self._absent.changed(repository)

    def forget(self, *, but: Collection[str] = ()) -> None:
        """Other settings, or another account: nothing is known, `but` of the upstreams of which it still holds."""
        self._absent.forget()
        for name in self._breakers.keys() - set(but):
            self._breakers[name].forget()
        for name in self._slow_until.keys() - set(but):
            del self._slow_until[name]

    async def close(self) -> None:
        """End what goes on in the background."""
        for breaker in self._breakers.values():
            await breaker.close()

    async def first(
        self,
        upstreams: Sequence[Upstream],
        work: Callable[[Upstream], Awaitable[_T]],
        *,
        sought: Sought | None = None,
        seconds: float | None = None,
        waits_for_last: bool = False,
        of_list: bool = False,
    ) -> tuple[Upstream, _T] | None:
        """What the first upstream says that has it; None where all say that there is no such thing.

        `sought`: what it is, where it's enough that they said so some seconds ago. `seconds`: how long each has,
        but for the last where `waits_for_last`: it has all the time that its client gives it. `of_list`: as Breaker.failed.
        Raises the first failure where none has it and one failed.
        """
        if sought is not None and self._absent.includes(sought, upstreams):
            return None
        failure: UpstreamFailure | None = None
        for upstream in upstreams:
            limit = None if waits_for_last and upstream is upstreams[-1] else seconds
            try:
                return upstream, await self.one(upstream, lambda: work(upstream), seconds=limit, of_list=of_list)  # noqa: B023
            except NotFound:
                continue
            except UpstreamFailure as error:
                failure = failure or error
        if failure is not None:
            raise failure
        if sought is not None:
            self._absent.add(sought, upstreams)
        return None

    async def one(
        self,
        upstream: Upstream,
        work: Callable[[], Awaitable[_T]],
        *,
        seconds: float | None = None,
        of_list: bool = False,
    ) -> _T:
        """Ask one, and learn from it whether it's there. Raises what stands against asking it, and what `work` raises.

        `seconds`: how long it has, before it's an UpstreamTimeout.
        """
        if self.offline:
            raise UpstreamNotAsked(
                upstream.name,
                f"{upstream.registry} is not asked: this yarddesk is offline.",
                hint="cache.offline in the settings says so.",
                temporary=True,
            )
        breaker = self._breaker(upstream)
        await breaker.wake(upstream, wait=True)
        refusal = breaker.refusal(upstream)
        if refusal is not None:
            raise refusal
        self._waiting[upstream.name] += 1
        began = self._clock.monotonic()
        failure = ""
        try:
            found = await _in_time(upstream, work, seconds)
        except NotFound:
            self._answered(upstream.name)
            raise
        except (UpstreamDenied, UpstreamRefused) as error:
            failure = _kind(error)
            self._answered(upstream.name)
            raise
        except UpstreamFailure as error:
            failure = _kind(error)
            breaker.failed(upstream, error, of_list=of_list)
            raise
        except asyncio.CancelledError:
            failure = "given_up"
            raise
        finally:
            self._waiting[upstream.name] -= 1
            self._traffic.answered(upstream.name, self._clock.monotonic() - began, failure)
        self._answered(upstream.name)
        return found

    def failed(self, upstream: Upstream, error: UpstreamFailure) -> None:
        """What it was asked for broke off later."""
        self._breaker(upstream).failed(upstream, error)

    def _answered(self, upstream: str) -> None:
        self._breakers[upstream].answered()
        self._slow_until.pop(upstream, None)

    def _breaker(self, upstream: Upstream) -> Breaker:
        breaker = self._breakers.get(upstream.name)
        if breaker is None:
            breaker = self._breakers[upstream.name] = Breaker(self._clock, lambda: self._tell(upstream.name))
        return breaker

    def _tell(self, upstream: str) -> None:
        if self._changed is not None:
            self._changed(upstream, self.trouble(upstream))


def _kind(error: UpstreamFailure) -> str:
    """What kind of failure it is, in a word for the metrics."""
    return type(error).__name__.removeprefix("Upstream").lower()


async def _in_time(upstream: Upstream, work: Callable[[], Awaitable[_T]], seconds: float | None) -> _T:
    limit = asyncio.timeout(seconds)
    try:
        async with limit:
            return await work()
    except TimeoutError as error:
        if not limit.expired():
            raise
        message = f"Nothing came for {seconds:g} s."
        raise UpstreamTimeout(upstream.name, f"{upstream.registry} gave no answer.", message, temporary=True) from error


class Shared:
    """Work that several ask for at once is done once, in a task that belongs to nobody who may go away."""

    def __init__(self) -> None:
        self._tasks: dict[object, asyncio.Task[Any]] = {}

    async def do(self, key: object, work: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
        """Join what goes on under this key, or begin it."""
        return await asyncio.shield(self.begin(key, work))

    def begin(self, key: object, work: Callable[[], Coroutine[Any, Any, _T]]) -> asyncio.Task[_T]:
        """As `do`, for who doesn't wait for it."""
        task: asyncio.Task[_T] | None = self._tasks.get(key)
        if task is None:
            task = self._tasks[key] = asyncio.create_task(work())
            task.add_done_callback(lambda done: self._ended(key, done))
        return task

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
