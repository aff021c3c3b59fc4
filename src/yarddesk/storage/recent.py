"""A bounded memory of what was used lately."""

from collections import OrderedDict
from typing import Generic, TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


class Recent(Generic[Key, Value]):
    """The entries that were used last, up to `limit` in cost (by default one each). For one thread."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._entries: OrderedDict[Key, Value] = OrderedDict()
        self._costs: dict[Key, int] = {}  # of those that cost more than one, or nothing
        self._cost = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def cost(self) -> int:
        """Never more than the limit."""
        return self._cost

    def get(self, key: Key) -> Value | None:
        value = self._entries.get(key)
        if value is not None:
            self._entries.move_to_end(key)
        return value

    def entries(self) -> list[tuple[Key, Value]]:
        """All of them."""
        return list(self._entries.items())

    def put(self, key: Key, value: Value, cost: int = 1) -> None:
        """Remember; what wasn't used for longest goes. An entry that alone costs more than the limit isn't kept."""
        self.drop(key)
        if cost > self._limit:
            return
        self._entries[key] = value
        if cost != 1:
            self._costs[key] = cost
        self._cost += cost
        while self._cost > self._limit:
            oldest, _ = self._entries.popitem(last=False)
            self._cost -= self._costs.pop(oldest, 1)

    def drop(self, key: Key) -> None:
        if self._entries.pop(key, None) is not None:
            self._cost -= self._costs.pop(key, 1)

    def clear(self) -> None:
        self._entries.clear()
        self._costs.clear()
        self._cost = 0
