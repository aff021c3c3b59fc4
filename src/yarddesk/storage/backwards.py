"""What leads to something, to look it up: one of many of a kind leads there, seldom several."""

from collections.abc import Collection, Iterable
from typing import Generic, TypeVar

_One = TypeVar("_One")
_There = TypeVar("_There")


class Backwards(Generic[_There, _One]):
    """Kept in step by who knows the way forth. A set only where several lead to the same, since that's rare."""

    __slots__ = ("_leading",)

    def __init__(self, ways: Iterable[tuple[_One, _There]] = ()) -> None:
        self._leading: dict[_There, _One | set[_One]] = {}
        for one, there in ways:
            self.add(one, there)

    def to(self, there: _There) -> Collection[_One]:
        """All that lead there, in no order."""
        leading = self._leading.get(there)
        if leading is None:
            return ()
        return leading if isinstance(leading, set) else (leading,)

    def add(self, one: _One, there: _There) -> None:
        leading = self._leading.setdefault(there, one)
        if isinstance(leading, set):
            leading.add(one)
        elif leading != one:
            self._leading[there] = {leading, one}

    def remove(self, one: _One, there: _There) -> None:
        leading = self._leading[there]
        if isinstance(leading, set) and len(leading) > 1:
            leading.remove(one)
        else:
            del self._leading[there]
