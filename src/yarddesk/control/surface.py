"""What the control API needs of a running yard."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from yarddesk.sync.snapshot import HistoryEntry, SyncController, SyncSnapshot


@dataclass(frozen=True, slots=True)
class WaitOutcome:
    """`state` is `done`, `failed` (`reason` says what of which image) or `pending`."""

    state: str
    reason: str = ""


class ControlSurface(Protocol):
    """Sizes are bytes."""

    @property
    def url(self) -> str: ...

    @property
    def sync(self) -> SyncController: ...

    @property
    def cache_max_bytes(self) -> int: ...

    @property
    def show_window(self) -> Callable[[], None] | None:
        """Brings the window to the front; None where there is none."""
        ...

    def snapshot(self) -> SyncSnapshot: ...

    def history(self, limit: int) -> Sequence[HistoryEntry]: ...

    async def used_bytes(self) -> int: ...

    async def wait(self, target: str | None, seconds: float) -> WaitOutcome: ...
