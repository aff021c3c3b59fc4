"""Notices that what was out of reach is back: an upstream that answers again, and a machine that slept.

While an upstream is away a light probe asks for it about twice a second, and opens its gate a little as soon as it answers;
nothing of the queue is tried meanwhile. A lane that is paused or empty is never probed, and one that is probed holds up no
other.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Final

from yarddesk.content.clock import Clock
from yarddesk.content.upstream import Upstream
from yarddesk.sync.queue import Queue, seconds_from
from yarddesk.sync.schedule import Gate, backoff_seconds

_log = logging.getLogger(__name__)

PROBE_SECONDS: Final = 0.5
_LATER_SECONDS: Final = 0.9
_LONG_AWAY_SECONDS: Final = 600.0
_UNTRUSTED_SECONDS: Final = 10.0
_DOUBTED_AT_MOST_SECONDS: Final = 5.0
_MOST_PROBES: Final = 6
"""Of one upstream at once: where packets are lost each takes seconds to say no, and an old one may never say yes."""

SLEPT_SECONDS: Final = 2.0
_LOOK_SECONDS: Final = 1.0


@dataclass(slots=True)
class _Probed:
    """An upstream that is probed: since when, when next, and the probes under way.

    `unbelieved`: how often in a row it answered while it's doubted.
    """

    since: float
    due: float
    unbelieved: int = 0
    probes: set[asyncio.Task[None]] = field(default_factory=set)


class Reach:
    """Probes the upstreams whose gates say that they are away, or that they can't be trusted."""

    def __init__(
        self,
        queue: Queue,
        answers: Callable[[], None],
        spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
    ) -> None:
        """`answers` is called when a gate was opened a little."""
        self._queue = queue
        self._answers = answers
        self._spawn = spawn
        self._probed: dict[str, _Probed] = {}

    async def run(self) -> None:
        """Probe, for ever."""
        clock = self._queue.clock
        while True:
            self._queue.taken.clear()
            now = clock.monotonic()
            self._follow(now)
            for name, probed in self._probed.items():
                if probed.due <= now:
                    self._begin(name, probed, now)
            due = min((probed.due for probed in self._probed.values()), default=None)
            await clock.wait(self._queue.taken, None if due is None else due - now)

    def again(self) -> None:
        """The machine woke up, or is somewhere else now: whoever is away is asked at once."""
        now = self._queue.clock.monotonic()
        for probed in self._probed.values():
            probed.since = probed.due = now
        self._queue.taken.set()

    def _follow(self, now: float) -> None:
        """Those that are to be probed are the gates' affair."""
        wanted = {
            name for name, gate in self._queue.schedule.gates() if _is_out_of_reach(gate) and self._may_probe(name)
        }
        for name in self._probed.keys() - wanted:
            for probe in self._probed.pop(name).probes:
                probe.cancel()
        for name in wanted - self._probed.keys():
            self._probed[name] = _Probed(now, now + PROBE_SECONDS)

    def _may_probe(self, name: str) -> bool:
        return self._queue.routes.upstream(name) is not None and self._queue.schedule.has_work(name)

    def _begin(self, name: str, probed: _Probed, now: float) -> None:
        upstream = self._queue.routes.upstream(name)
        if upstream is None:
            return
        gate = self._queue.schedule.gate(name)
        probed.due = now + _pace(gate, probed, now)
        if len(probed.probes) >= _MOST_PROBES or (gate.shut_until is not None and gate.shut_until <= now):
            return  # with the gate ajar a try is under way, or about to be, which tells more than a probe
        probe = self._spawn(self._probe(upstream, probed, gate, gate.epoch))
        probed.probes.add(probe)
        probe.add_done_callback(probed.probes.discard)

    async def _probe(self, upstream: Upstream, probed: _Probed, gate: Gate, epoch: int) -> None:
        reachable = await upstream.is_reachable()
        if gate.epoch != epoch or gate.is_open:
            return  # it was tried meanwhile
        queue, now = self._queue, self._queue.clock.monotonic()
        if not reachable:
            gate.doubted, probed.unbelieved = False, 0
            self._not_yet(upstream.name, gate, now)
        elif gate.doubted:
            probed.unbelieved += 1
        else:
            _log.info("%s answers again", upstream.name)
            gate.answers(now, queue.clock.now())
            queue.touch_world()
            self._answers()

    def _not_yet(self, name: str, gate: Gate, now: float) -> None:
        """In place of a try that is about to be due: it would find the same, and write it down."""
        if gate.state == "away" and gate.shut_until is not None and 0 < gate.shut_until - now <= 2 * PROBE_SECONDS:
            seconds = backoff_seconds(gate.failures + 1, self._queue.random)
            gate.still_away(now + seconds, seconds_from(self._queue.clock.now(), seconds))
            self._queue.touch_world()
            _log.debug("%s is still away", name)


class SleepWatch:
    """Notices that the machine slept, within a second of its waking."""

    def __init__(self, clock: Clock, woke: Callable[[], Awaitable[None]]) -> None:
        self._clock = clock
        self._woke = woke

    async def run(self) -> None:
        """Look from time to time, for ever."""
        clock, never = self._clock, asyncio.Event()
        slept = clock.slept()
        while True:
            await clock.wait(never, _LOOK_SECONDS)
            before, slept = slept, clock.slept()
            if slept - before > SLEPT_SECONDS:
                _log.info("the machine slept for %.0f s: what waits is tried now", slept - before)
                await self._woke()


def _is_out_of_reach(gate: Gate) -> bool:
    return not gate.is_open and (gate.state == "away" or (gate.state == "needs_you" and not gate.needs_credentials))


def _pace(gate: Gate, probed: _Probed, now: float) -> float:
    if gate.state != "away":
        return _UNTRUSTED_SECONDS
    if gate.doubted:
        return min(PROBE_SECONDS * 2.0 ** min(probed.unbelieved, 10), _DOUBTED_AT_MOST_SECONDS)
    return PROBE_SECONDS if now - probed.since < _LONG_AWAY_SECONDS else _LATER_SECONDS
