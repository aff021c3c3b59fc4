"""Who is told of each request when it's over."""

from typing import Protocol

from starlette.types import Scope


class Observer(Protocol):
    """Hears of each request when it's over. Must be quick."""

    def ended(self, scope: Scope, status: int, received: int, sent: int, seconds: float) -> None:
        """`status` 0: the connection broke before the answer began. `received` and `sent` are bytes of bodies."""
        ...

    def refused(self, status: int) -> None:
        """What came was no request that an application could be asked."""
        ...
