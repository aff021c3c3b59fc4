"""Which part of which job is tried next, and when: pure, of times that are handed in.

A lane is an upstream. Each lane goes its own pace, so that one that is slow or away holds up no other. A lane's gate shuts when
the upstream doesn't answer, and one single part then asks whether it's back before the others follow.
"""

import heapq
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from random import Random
from typing import Final, NamedTuple

FIRST_BACKOFF_SECONDS: Final = 5.0
LONGEST_BACKOFF_SECONDS: Final = 300.0

_STALE_AT_LEAST: Final = 100


class PartKey(NamedTuple):
    """One upstream's part of one job."""

    job_id: str
    upstream: str


def backoff_seconds(failures: int, random: Random) -> float:
    """How long to wait after so many failures in a row: anything from 5 s to a bound that doubles up to 300 s.

    Full jitter over that span, so that many which failed together don't come back together.
    """
    bound = min(LONGEST_BACKOFF_SECONDS, FIRST_BACKOFF_SECONDS * 2.0 ** min(failures, 10))
    return random.uniform(FIRST_BACKOFF_SECONDS, bound)


@dataclass(slots=True)
class Gate:
    """Whether an upstream is to be asked. `state` and `reason` are UpstreamHealth's; `needs_credentials`: it's shut for want of them.

    `shut_until` is monotonic, `next_attempt` the same moment for people. `epoch` tells attempts begun before a change of the
    gate from those begun after it: several that failed together count as one failure. `doubted`: a probe said that the
    upstream is there, and the try that followed found it away all the same.
    """

    state: str = "unknown"
    reason: str = ""
    needs_credentials: bool = False
    shut_until: float | None = None
    next_attempt: datetime | None = None
    failures: int = 0
    epoch: int = 0
    doubted: bool = False
    _let_in: bool = False

    @property
    def is_open(self) -> bool:
        return self.shut_until is None

    def opened(self) -> bool:
        """It answered; whether that's news."""
        news = self.state != "ok" or not self.is_open
        self.state, self.reason, self.failures = "ok", "", 0
        self.needs_credentials = self.doubted = self._let_in = False
        self.shut_until = self.next_attempt = None
        if news:
            self.epoch += 1
        return news

    def shut(
        self, state: str, reason: str, until: float, next_attempt: datetime, *, needs_credentials: bool = False
    ) -> None:
        self.state, self.reason, self.needs_credentials = state, reason, needs_credentials
        self.shut_until, self.next_attempt = until, next_attempt
        self.failures += 1
        self.epoch += 1
        self.doubted, self._let_in = self._let_in, False

    def ajar(self, now: float, moment: datetime) -> None:
        """Let one part ask now."""
        if self.shut_until is not None and self.shut_until > now:
            self.shut_until, self.next_attempt = now, moment

    def answers(self, now: float, moment: datetime) -> None:
        """A probe says so: one part asks now."""
        self._let_in = True
        self.ajar(now, moment)

    def still_away(self, until: float, next_attempt: datetime) -> None:
        """A probe said so when a try was due: that was the try."""
        self.shut_until, self.next_attempt = until, next_attempt
        self.failures += 1


Order = tuple[int, int]
"""Where in a lane: what was moved up goes first (a number below zero), then what has waited longest (Job.order)."""

_Entry = tuple[Order, int, PartKey]


class _Ticket(NamedTuple):
    """What was last said of a part that is to be tried."""

    number: int
    at: float | None


@dataclass(slots=True)
class _Lane:
    gate: Gate = field(default_factory=Gate)
    paused: bool = False
    ready: list[_Entry] = field(default_factory=list)
    later: list[tuple[float, Order, int, PartKey]] = field(default_factory=list)
    running: set[PartKey] = field(default_factory=set)


class Schedule:
    """The parts that want to be tried. Every call costs at most the logarithm of the queue's length."""

    def __init__(self, attempts_per_upstream: int) -> None:
        self.attempts_per_upstream = attempts_per_upstream
        self.paused = False
        self._lanes: dict[str, _Lane] = {}
        self._tickets: dict[PartKey, _Ticket] = {}
        self._again: dict[PartKey, tuple[Order, float | None]] = {}
        self._ticket = 0

    def gate(self, upstream: str) -> Gate:
        return self._lane(upstream).gate

    def gates(self) -> Iterable[tuple[str, Gate]]:
        return ((name, lane.gate) for name, lane in self._lanes.items())

    def has_work(self, upstream: str) -> bool:
        """Whether some part of it would be tried if it could."""
        lane = self._lane(upstream)
        self._forget_stale(lane)
        return not (self.paused or lane.paused) and bool(lane.ready or lane.later)

    def next_in_line(self, upstream: str, count: int) -> list[PartKey]:
        """The first of those that only wait for room, or for the gate or a pause to end, in the order in which they go."""
        lane = self._lane(upstream)
        ready, found, stale = lane.ready, list[PartKey](), 0
        # The heap's own order, as far as it's asked for.
        heads = [(ready[0], 0)] if ready else []
        while heads and len(found) < count:
            (_, ticket, key), index = heapq.heappop(heads)
            if self._is_valid(key, ticket):
                found.append(key)
            else:
                stale += 1
            for child in (2 * index + 1, 2 * index + 2):
                if child < len(ready):
                    heapq.heappush(heads, (ready[child], child))
        if stale > count:  # they would cost as much with each look
            self._tidy(lane)
        return found

    def lacks_room(self, upstream: str) -> bool:
        """Whether nothing but want of room keeps what is ready from being tried."""
        lane = self._lane(upstream)
        is_going = not self.paused and not lane.paused and lane.gate.is_open
        return is_going and len(lane.running) >= self.attempts_per_upstream

    def pause_upstream(self, upstream: str, paused: bool) -> None:
        self._lane(upstream).paused = paused

    def is_upstream_paused(self, upstream: str) -> bool:
        return self._lane(upstream).paused

    def is_running(self, key: PartKey) -> bool:
        return key in self._lane(key.upstream).running

    def add(self, key: PartKey, order: Order, at: float | None = None) -> None:
        """Try it as soon as there is room (those with the lower `order` first), but not before `at`.

        What runs is tried again after it ended. A second call takes the place of the first.
        """
        lane = self._lane(key.upstream)
        if key in lane.running:
            self._again[key] = (order, at)
            return
        self._ticket += 1
        self._tickets[key] = _Ticket(self._ticket, at)
        if at is None:
            heapq.heappush(lane.ready, (order, self._ticket, key))
        else:
            heapq.heappush(lane.later, (at, order, self._ticket, key))
        if len(lane.ready) + len(lane.later) > 2 * len(self._tickets) + _STALE_AT_LEAST:
            self._tidy(lane)

    def reorder(self, key: PartKey, order: Order) -> None:
        """Another place for what is to be tried; not before the time that was set for it. What runs, or isn't here, stays so."""
        if key in self._again:
            self._again[key] = (order, self._again[key][1])
        elif (ticket := self._tickets.get(key)) is not None:
            self.add(key, order, ticket.at)

    def drop(self, key: PartKey) -> None:
        """Don't try it any more; what runs goes on."""
        self._tickets.pop(key, None)
        self._again.pop(key, None)

    def take(self, now: float) -> list[PartKey]:
        """Those that are to start now; each counts as running until `finished`."""
        taken: list[PartKey] = []
        if self.paused:
            return taken
        for lane in self._lanes.values():
            self._ripen(lane, now)
            while lane.ready and self._has_room(lane, now):
                _, ticket, key = heapq.heappop(lane.ready)
                if self._is_valid(key, ticket):
                    del self._tickets[key]
                    lane.running.add(key)
                    taken.append(key)
        return taken

    def finished(self, key: PartKey) -> None:
        self._lane(key.upstream).running.discard(key)
        again = self._again.pop(key, None)
        if again is not None:
            self.add(key, *again)

    def next_due(self, now: float) -> float | None:
        """When `take` may give more than it does now, if nothing else happens."""
        if self.paused:
            return None
        moments = [moment for lane in self._lanes.values() if (moment := self._due(lane, now)) is not None]
        return min(moments, default=None)

    def _lane(self, upstream: str) -> _Lane:
        lane = self._lanes.get(upstream)
        if lane is None:
            lane = self._lanes[upstream] = _Lane()
        return lane

    def _ripen(self, lane: _Lane, now: float) -> None:
        while lane.later and lane.later[0][0] <= now:
            _, order, ticket, key = heapq.heappop(lane.later)
            if self._is_valid(key, ticket):
                heapq.heappush(lane.ready, (order, ticket, key))

    def _has_room(self, lane: _Lane, now: float) -> bool:
        if lane.paused:
            return False
        if lane.gate.shut_until is None:
            return len(lane.running) < self.attempts_per_upstream
        return now >= lane.gate.shut_until and not lane.running

    def _due(self, lane: _Lane, now: float) -> float | None:
        self._forget_stale(lane)
        if lane.paused or not (lane.ready or lane.later):
            return None
        gate = lane.gate.shut_until
        if lane.ready:
            # With an open gate they wait for room, and whoever makes it calls `finished`.
            return gate if gate is not None and gate > now else None
        moment = lane.later[0][0]
        return moment if gate is None else max(moment, gate)

    def _forget_stale(self, lane: _Lane) -> None:
        while lane.ready and not self._is_valid(lane.ready[0][2], lane.ready[0][1]):
            heapq.heappop(lane.ready)
        while lane.later and not self._is_valid(lane.later[0][3], lane.later[0][2]):
            heapq.heappop(lane.later)

    def _tidy(self, lane: _Lane) -> None:
        """Forget all that is stale, not only what has come to the front."""
        lane.ready = [entry for entry in lane.ready if self._is_valid(entry[2], entry[1])]
        lane.later = [entry for entry in lane.later if self._is_valid(entry[3], entry[2])]
        heapq.heapify(lane.ready)
        heapq.heapify(lane.later)

    def _is_valid(self, key: PartKey, number: int) -> bool:
        """Whether it's the last that was said of this part."""
        ticket = self._tickets.get(key)
        return ticket is not None and ticket.number == number
