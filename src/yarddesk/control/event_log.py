"""The latest events, for whoever asks what happened since: bounded, and nobody who asks holds up what is told."""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from yarddesk.events import Event, EventBus, StorageChanged

KEPT: Final = 1000
_GATHERING_SECONDS: Final = 0.05
"""What happens within this time after an event goes into the same answer: one for each would be a request for each."""


@dataclass(frozen=True, slots=True)
class Happened:
    """`events` in order; `last` is to be asked with next time. `missed`: more happened than is kept, so look at the whole again."""

    events: Sequence[Event]
    last: int
    missed: bool


class EventLog:
    """Hears of everything but the store's size, a figure that changes with every blob. Closing it twice does nothing."""

    def __init__(self, events: EventBus, kept: int = KEPT) -> None:
        self._kept: deque[Event] = deque(maxlen=kept)
        self._heard_last = 0
        self._dropped_last = 0
        self._news = asyncio.Event()
        self._subscription = events.subscribe(self._heard)
        self.closed = False

    def close(self) -> None:
        """Hear no more, and let go of who waits."""
        self._subscription.close()
        self.closed = True
        self._news.set()

    def since(self, sequence: int | None) -> Happened:
        """What came after that one, as far as it's kept; None: all that is kept."""
        known = self._dropped_last if sequence is None else sequence
        missed = not self._dropped_last <= known <= self._heard_last
        events = [event for event in self._kept if missed or event.sequence > known]
        return Happened(events, self._heard_last, missed)

    async def wait(self, sequence: int, seconds: float) -> Happened:
        """As `since`, once there is something to tell, or after that time."""
        happened = self.since(sequence)
        if happened.events or happened.missed:
            return happened
        try:
            async with asyncio.timeout(seconds):
                while not (self.closed or (self._kept and self._kept[-1].sequence > sequence)):
                    await self._news.wait()
                if not self.closed:
                    await asyncio.sleep(_GATHERING_SECONDS)
        except TimeoutError:
            pass
        return self.since(sequence)

    def _heard(self, event: Event) -> None:
        self._heard_last = event.sequence
        if isinstance(event, StorageChanged):
            return
        if len(self._kept) == self._kept.maxlen:
            self._dropped_last = self._kept[0].sequence
        self._kept.append(event)
        news, self._news = self._news, asyncio.Event()
        news.set()
