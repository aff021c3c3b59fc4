"""Whether an upstream is asked: a circuit breaker, so that one that hangs costs one wait and not one for each pull.

It opens when no answer came, when a gateway or the registry itself says that it's not available, at the third other 5xx (or answer
of no registry) with none of its own between, and for as long as a 429 asks. While it's open it's probed in the background; no client's
request is the probe. Once it closed, the first failure opens it again, until a request was answered.
"""

import asyncio
import logging
import random
from collections import deque
from collections.abc import Callable
from typing import Final

from yarddesk.content.clock import Clock
from yarddesk.content.upstream import (
    Upstream,
    UpstreamAway,
    UpstreamBroken,
    UpstreamFailure,
    UpstreamNotAsked,
    UpstreamTrouble,
    UpstreamUntrue,
    UpstreamUntrusted,
)

_log = logging.getLogger(__name__)

FIRST_REST_SECONDS: Final = 1.0
LONGEST_REST_SECONDS: Final = 30.0
_UNAVAILABLE: Final = frozenset({502, 503, 504})
_TROUBLES: Final = 3
_TROUBLES_SECONDS: Final = 30.0
_COME_AGAIN_SECONDS: Final = 30.0
"""A 429 that doesn't say how long to wait."""

_IDLE_SECONDS: Final = 600.0
"""When nobody has asked for it for so long, nothing asks whether it's back."""

_PROBE_WAIT_SECONDS: Final = 1.0
_IN_TROUBLE_SECONDS: Final = 60.0
"""One that answers its probes, and only with errors, gets a request after this: its `/v2/` may be worse than the rest of it."""


class Breaker:
    """Of one upstream. `changed` is called whenever it opens or closes, and at the first answer."""

    def __init__(self, clock: Clock, changed: Callable[[], None]) -> None:
        self._clock = clock
        self._changed = changed
        self._cause: UpstreamFailure | None = None
        self._has_answered = False
        self._until: float | None = None
        self._opened = 0.0
        self._rest = FIRST_REST_SECONDS
        self._suspect = False
        self._troubles: deque[float] = deque(maxlen=_TROUBLES)
        self._asked = clock.monotonic()
        self._probing: asyncio.Task[None] | None = None
        self._next_probe = 0.0
        self._news = asyncio.Event()

    @property
    def cause(self) -> UpstreamFailure | None:
        """Why it's open, so that it's not to be asked; None where it's not."""
        return self._cause

    @property
    def has_answered(self) -> bool:
        """Whether it ever gave an answer that is a registry's."""
        return self._has_answered

    def refusal(self, upstream: Upstream) -> UpstreamFailure | None:
        """What a request is refused with; None where it may be asked."""
        if self._cause is None:
            return None
        now = self._clock.monotonic()
        seconds = max(1.0, (self._next_probe if self._until is None else self._until) - now)
        if self._cause.status == 429:
            return UpstreamTrouble(
                upstream.name,
                self._cause.title,
                self._cause.message,
                temporary=True,
                status=429,
                retry_after_seconds=seconds,
                codes=self._cause.codes,
            )
        title = f"{upstream.registry} {'is away' if gave_none(self._cause) else 'is in trouble'}."
        return UpstreamNotAsked(
            upstream.name,
            title,
            self._cause.message if self._cause.title == title else self._cause.title,
            hint="Try again soon.",
            temporary=True,
            retry_after_seconds=seconds,
        )

    async def wake(self, upstream: Upstream, *, wait: bool) -> None:
        """Somebody wants to ask. Where nobody did for long it's probed now, and `wait` gives it a moment."""
        idle, self._asked = self._clock.monotonic() - self._asked > _IDLE_SECONDS, self._clock.monotonic()
        if self._cause is None or self._probing is not None:
            return
        self._rest = FIRST_REST_SECONDS
        self._begin_probing(upstream, at_once=idle)
        if idle and wait:
            await self._clock.wait(self._news, _PROBE_WAIT_SECONDS)

    def answered(self) -> None:
        """It gave an answer that is a registry's. One that asks to wait has its way all the same."""
        first, self._has_answered = not self._has_answered, True
        if first and self._cause is None:
            self._changed()
        if self._until is None:
            self._at_ease()

    def reachable(self) -> None:
        """Somebody else heard of it. What it will say, the next request tells."""
        if self._cause is not None and gave_none(self._cause):
            self._close(suspect=True)

    def failed(self, upstream: Upstream, error: UpstreamFailure, *, of_list: bool = False) -> None:
        """A request failed in a way that says something of the whole upstream; others are ignored.

        `of_list`: that it can't make a list says nothing of its images.
        """
        if self._cause is not None:
            return
        now = self._clock.monotonic()
        if gave_none(error):
            self._open(upstream, error)
        elif error.status == 429 or (_in_trouble(error) and error.retry_after_seconds is not None):
            wait = _COME_AGAIN_SECONDS if error.retry_after_seconds is None else error.retry_after_seconds
            self._open(upstream, error, until=now + wait)
        elif _in_trouble(error) and (error.status in _UNAVAILABLE or not of_list):
            self._troubles.append(now)
            often = len(self._troubles) == _TROUBLES and now - self._troubles[0] <= _TROUBLES_SECONDS
            if often or self._suspect or error.status in _UNAVAILABLE:
                self._open(upstream, error)

    def forget(self) -> None:
        """Nothing is known of it."""
        self._until = None
        self._at_ease()
        self._has_answered = False
        self._stop_probing()

    async def close(self) -> None:
        """End its probe."""
        probing = self._probing
        self._stop_probing()
        if probing is not None:
            await asyncio.wait([probing])

    def _open(self, upstream: Upstream, error: UpstreamFailure, *, until: float | None = None) -> None:
        self._cause, self._until, self._opened = error, until, self._clock.monotonic()
        self._asked = self._opened
        _log.info("%s is not asked for a while: %s", upstream.name, error)
        self._begin_probing(upstream)
        self._changed()

    def _at_ease(self) -> None:
        self._suspect = False
        self._troubles.clear()
        self._rest = FIRST_REST_SECONDS
        self._close()

    def _close(self, *, suspect: bool = False) -> None:
        if self._cause is None:
            return
        self._cause = self._until = None
        self._suspect = suspect
        self._tell()
        self._changed()

    def _begin_probing(self, upstream: Upstream, *, at_once: bool = False) -> None:
        self._stop_probing()
        self._next_probe = self._clock.monotonic() + (0.0 if at_once else self._rest)
        self._probing = asyncio.create_task(self._probe(upstream), name=f"probe of {upstream.name}")

    def _stop_probing(self) -> None:
        if self._probing is not None:
            self._probing.cancel()
            self._probing = None

    async def _probe(self, upstream: Upstream) -> None:
        never = asyncio.Event()
        if self._until is not None:
            await self._clock.wait(never, self._until - self._clock.monotonic())
            self._close(suspect=True)
        while self._cause is not None:
            pause = self._next_probe - self._clock.monotonic()
            # Many that lost it at the same moment shall not come back at the same moment.
            await self._clock.wait(never, pause * random.uniform(0.75, 1.0))
            if self._clock.monotonic() - self._asked > _IDLE_SECONDS or self._cause is None:
                break
            if await self._is_back(upstream):
                self._close(suspect=True)
                break
            if self.cause is None:
                break  # a request was answered meanwhile
            self._tell()
            self._rest = min(2 * self._rest, LONGEST_REST_SECONDS)
            self._next_probe = self._clock.monotonic() + self._rest
        self._probing = None

    async def _is_back(self, upstream: Upstream) -> bool:
        try:
            await upstream.ping()
        except UpstreamUntrusted:
            return True  # it's there, and what a person has to do about it, the next request says
        except UpstreamFailure as error:
            _log.debug("%s is not back: %s", upstream.name, error)
            if self.cause is None:
                return False  # it says nothing of what was answered since it began
            self._cause = error
            return not gave_none(error) and self._clock.monotonic() - self._opened >= _IN_TROUBLE_SECONDS
        _log.info("%s is asked again", upstream.name)
        return True

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()


def gave_none(error: UpstreamFailure) -> bool:
    """Whether it means that no answer came. To somebody who waits for a pull, one that breaks off or hangs is as good as away."""
    return isinstance(error, UpstreamAway | UpstreamBroken)


def _in_trouble(error: UpstreamFailure) -> bool:
    if isinstance(error, UpstreamUntrue):
        return True
    return isinstance(error, UpstreamTrouble) and error.status is not None and error.status >= 500
