"""What the control API needs of a running yard."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from yarddesk.content.pull_through import PullHealth
from yarddesk.control.counters import EventCounters
from yarddesk.control.event_log import EventLog
from yarddesk.control.works import Work
from yarddesk.progress.traffic import Traffic
from yarddesk.sync.snapshot import SyncController


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
    def event_log(self) -> EventLog: ...

    @property
    def counters(self) -> EventCounters: ...

    @property
    def traffic(self) -> Traffic: ...

    @property
    def max_bytes(self) -> int: ...

    @property
    def works(self) -> Mapping[str, Work]:
        """What takes a while, by the command's name: POST `/api/v1/NAME`."""
        ...

    def pull_health(self, upstream: str) -> PullHealth:
        """How pulls from an upstream go."""
        ...

    def raise_window(self) -> bool:
        """Bring the window to the front; False where there is none."""
        ...

    async def counted(self) -> None:
        """Back once what is stored was counted since the start, or after a moment where that takes longer."""

    def used_bytes(self) -> int:
        """Of what can be had again, as last counted: `max_bytes` is its bound."""
        ...

    def stored_bytes(self) -> int:
        """Of all that is stored, as last counted."""
        ...

    async def pins(self) -> Sequence[Mapping[str, object]]:
        """What is pinned."""
        ...

    async def account_changed(self, registry: str, *, retry: bool) -> int:
        """Somebody signed in to a registry, or out; `retry`: what waits for it goes on. Gives how many images do."""
        ...

    async def wait(self, target: str | None, seconds: float) -> WaitOutcome: ...
