"""One place where events go in, and whoever subscribed hears of them."""

import logging
from collections.abc import Callable
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

from yarddesk.events.types import Event

_log = logging.getLogger(__name__)


class Subscription:
    """One owner's interest in some types of events; it ends with `close` or the `with` block."""

    def __init__(self, bus: "EventBus", callback: Callable[[Any], None], types: tuple[type[Event], ...]) -> None:
        self._bus = bus
        self.callback = callback
        self.types = types

    def close(self) -> None:
        """Hear no more; closing twice does nothing."""
        self._bus._forget(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class EventBus:
    """Synchronous, on the loop's thread. A callback that raises is logged with its traceback; the others still hear."""

    def __init__(self) -> None:
        self._subscriptions: list[Subscription] = []
        self._sequence = 0

    def publish(self, event: Event) -> None:
        self._sequence += 1
        numbered = replace(event, sequence=self._sequence)
        for subscription in tuple(self._subscriptions):
            if not subscription.types or isinstance(event, subscription.types):
                try:
                    subscription.callback(numbered)
                except Exception:  # noqa: BLE001 - one observer's fault must not keep a push from the others
                    _log.exception("an observer of %s failed", type(event).__name__)

    def subscribe(self, callback: Callable[[Any], None], *types: type[Event]) -> Subscription:
        """Hear of events of these types, or of all."""
        subscription = Subscription(self, callback, types)
        self._subscriptions.append(subscription)
        return subscription

    @property
    def subscribers(self) -> int:
        """How many subscriptions are open; a window that closed leaves none."""
        return len(self._subscriptions)

    def _forget(self, subscription: Subscription) -> None:
        if subscription in self._subscriptions:
            self._subscriptions.remove(subscription)
