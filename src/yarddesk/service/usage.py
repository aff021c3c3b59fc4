"""How many bytes are stored, for whoever asks, and an event when it changes."""

from yarddesk.events import EventBus, StorageChanged


class StoredBytes:
    """The store calls `changed`; `count` is the latest figure, 0 until the store has counted."""

    def __init__(self, events: EventBus) -> None:
        self._events = events
        self.count = 0

    def changed(self, count: int) -> None:
        self.count = count
        self._events.publish(StorageChanged(used_bytes=count))
