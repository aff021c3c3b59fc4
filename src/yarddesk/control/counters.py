"""What was counted since the start, from the events: what the metrics say that a snapshot of the queue can't."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final, get_args

from yarddesk.events import (
    BlobsEvicted,
    Bound,
    EventBus,
    HookFailed,
    ImageEvicted,
    PartEnded,
    TagConflict,
    TryBegun,
    TryFailed,
)
from yarddesk.sync.states import JobState

SECONDS_BOUNDS: Final = (0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0, 1800.0)
"""Upper bounds of how long syncs take, for the histogram."""


@dataclass(slots=True)
class UpstreamCounts:
    """Of one upstream. `seconds` has a count for each of SECONDS_BOUNDS, and one for what took longer."""

    images: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    bytes_sent: int = 0
    bytes_saved: int = 0
    retries: int = 0
    conflicts: int = 0
    seconds: list[int] = field(default_factory=lambda: [0] * (len(SECONDS_BOUNDS) + 1))
    seconds_sum: float = 0.0


@dataclass(slots=True)
class Evicted:
    """What went to make room; the bytes of blobs without an image among them."""

    images: int = 0
    size: int = 0


class EventCounters:
    """Counts from its making on; closing it twice does nothing."""

    def __init__(self, events: EventBus) -> None:
        self._upstreams: dict[str, UpstreamCounts] = {}
        self._hooks: Counter[str] = Counter()
        self._evicted: dict[Bound, Evicted] = {bound: Evicted() for bound in get_args(Bound)}
        self._subscriptions = (
            events.subscribe(self._heard, PartEnded, TryBegun, TryFailed, TagConflict),
            events.subscribe(self._hook_failed, HookFailed),
            events.subscribe(self._went, ImageEvicted, BlobsEvicted),
        )

    def close(self) -> None:
        """Count no more."""
        for subscription in self._subscriptions:
            subscription.close()

    def of(self, upstreams: Collection[str]) -> Mapping[str, UpstreamCounts]:
        """Of these upstreams, the settings' own; what was counted of others is forgotten, so that it can't become ever more."""
        for name in self._upstreams.keys() - set(upstreams):
            del self._upstreams[name]
        return {name: self._upstreams.get(name) or UpstreamCounts() for name in upstreams}

    @property
    def hooks(self) -> Mapping[str, int]:
        """Arrivals that could not be told of, by who was to be told."""
        return self._hooks

    @property
    def evicted(self) -> Mapping[Bound, Evicted]:
        """By what room was made for."""
        return self._evicted

    def _hook_failed(self, event: HookFailed) -> None:
        self._hooks[event.what] += event.over

    def _went(self, event: ImageEvicted | BlobsEvicted) -> None:
        evicted = self._evicted[event.bound]
        evicted.images += isinstance(event, ImageEvicted)
        evicted.size += event.size

    def _heard(self, event: PartEnded | TryBegun | TryFailed | TagConflict) -> None:
        counts = self._upstreams.setdefault(event.upstream, UpstreamCounts())
        match event:
            case PartEnded():
                _count_end(counts, event)
            case TryBegun():
                counts.retries += event.number > 1
            case TryFailed():
                counts.failures[event.kind] += 1
            case TagConflict():
                counts.conflicts += 1


def _count_end(counts: UpstreamCounts, event: PartEnded) -> None:
    counts.images[event.outcome] += 1
    counts.bytes_sent += event.bytes_sent
    if event.outcome == JobState.DONE:
        counts.bytes_saved += event.bytes_saved
        counts.seconds[bisect_left(SECONDS_BOUNDS, event.seconds)] += 1
        counts.seconds_sum += event.seconds
