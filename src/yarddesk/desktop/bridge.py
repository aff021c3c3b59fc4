"""Between the core and everything that shows it: the one owner of subscriptions, and of the clock that reads snapshots."""

import math
import time
from collections.abc import Callable
from datetime import datetime

from PySide6.QtCore import QObject, Qt, QTimer, Signal

from yarddesk.desktop.core import Core, Problem
from yarddesk.desktop.models.throughput import ThroughputLog
from yarddesk.events import Event, HookFailed, PullHealthChanged, SettingsChanged, StorageChanged, UpstreamStateChanged
from yarddesk.sync.snapshot import SyncSnapshot

SNAPSHOT_MILLISECONDS = 250
VISIBLE_GAP_MILLISECONDS = 100
HIDDEN_GAP_MILLISECONDS = 500
PROBLEMS_EVERY_SECONDS = 5


def local_now() -> datetime:
    """The wall clock, in the person's time zone."""
    return datetime.now().astimezone()


class Bridge(QObject):
    """Events become signals, at most ten a second; snapshots are read four times a second while somebody looks and
    something moves, and otherwise only after an event. Widgets connect here and never to the bus."""

    snapshot_changed = Signal(object)
    """A SyncSnapshot that differs from the last one."""
    storage_changed = Signal()
    upstreams_changed = Signal()
    problems_changed = Signal()
    hook_failed = Signal(object)
    """A HookFailed."""
    second_passed = Signal()
    """While somebody looks at something that says how long it takes."""

    def __init__(self, core: Core, parent: QObject | None = None, *, now: Callable[[], datetime] = local_now) -> None:
        super().__init__(parent)
        self.core = core
        self.now = now
        self.throughput = ThroughputLog()
        """What is sent and what is fetched, together."""
        self.fetching = ThroughputLog()
        """What comes in from upstreams alone."""
        self._fetches = False
        self._fetched_bytes = core.traffic.received["upstreams"]
        self._snapshot = core.sync.snapshot()
        self._problems = tuple(core.problems())
        self._lookers: set[str] = set()
        self._read_at = time.monotonic()
        self._seconds = 0
        self._poll = QTimer(self)
        self._poll.setInterval(SNAPSHOT_MILLISECONDS)
        self._poll.timeout.connect(self._on_poll)
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.setTimerType(Qt.TimerType.PreciseTimer)  # a coarse one may be early
        self._soon.timeout.connect(self._read)
        self._clock = QTimer(self)
        self._clock.setInterval(1000)
        self._clock.timeout.connect(self._on_second)
        self._subscription = core.events.subscribe(self._on_event)
        self._storage_moved = False
        self._upstreams_moved = False

    @property
    def snapshot(self) -> SyncSnapshot:
        """The last one read."""
        return self._snapshot

    @property
    def problems(self) -> tuple[Problem, ...]:
        return self._problems

    @property
    def is_watched(self) -> bool:
        return bool(self._lookers)

    def watch(self, who: str) -> None:
        """`who` (a window, a menu) is visible from now on."""
        if who not in self._lookers:
            if not self._lookers:
                self._fetched_bytes = self.core.traffic.received["upstreams"]  # what came before is not of this moment
            self._lookers.add(who)
            self._read()

    def unwatch(self, who: str) -> None:
        """`who` is hidden."""
        self._lookers.discard(who)
        self._arm()

    def refresh(self) -> None:
        """Read again soon: a person did something."""
        self._read_soon()

    def close(self) -> None:
        """Hear and read nothing more."""
        self._subscription.close()
        self._lookers.clear()
        for timer in (self._poll, self._soon, self._clock):
            timer.stop()

    def _on_event(self, event: Event) -> None:
        if isinstance(event, StorageChanged):
            self._storage_moved = True
        elif isinstance(event, (SettingsChanged, UpstreamStateChanged, PullHealthChanged)):
            self._upstreams_moved = True
        elif isinstance(event, HookFailed):
            self.hook_failed.emit(event)
        self._read_soon()

    def _read_soon(self) -> None:
        if self._soon.isActive():
            return
        gap = VISIBLE_GAP_MILLISECONDS if self._lookers else HIDDEN_GAP_MILLISECONDS
        self._soon.start(max(0, math.ceil(gap - self._milliseconds_since_read())))

    def _on_poll(self) -> None:
        # An event may have had the snapshot read just now.
        if self._milliseconds_since_read() >= VISIBLE_GAP_MILLISECONDS:
            self._read()

    def _milliseconds_since_read(self) -> float:
        return (time.monotonic() - self._read_at) * 1000

    def _read(self) -> None:
        self._soon.stop()
        before, self._read_at = self._read_at, time.monotonic()
        snapshot = self.core.sync.snapshot()
        fetched = self._fetched_since(before)
        if self._lookers:
            self.fetching.record(self._read_at, fetched)
            self.throughput.record(self._read_at, snapshot.bytes_per_second + fetched)
        changed = snapshot.revision != self._snapshot.revision or snapshot != self._snapshot
        self._snapshot = snapshot
        self._arm()
        if changed:
            self.snapshot_changed.emit(snapshot)
        self._tell_the_rest()

    def _fetched_since(self, before: float) -> float:
        """Bytes a second that came in from upstreams since the last reading, which was at `before`."""
        last, self._fetched_bytes = self._fetched_bytes, self.core.traffic.received["upstreams"]
        return (self._fetched_bytes - last) / max(self._read_at - before, 0.001)

    def _tell_the_rest(self) -> None:
        if self._storage_moved:
            self._storage_moved = False
            self.storage_changed.emit()
        if self._upstreams_moved:
            self._upstreams_moved = False
            self.upstreams_changed.emit()
        self._look_for_problems()

    def _look_for_problems(self) -> None:
        problems = tuple(self.core.problems())
        if problems != self._problems:
            self._problems = problems
            self.problems_changed.emit()

    def _arm(self) -> None:
        """Start or stop the timers, by what there is to see and who looks."""
        moving = bool(self._snapshot.tally.active or self.core.traffic.fills)
        _run(self._poll, bool(self._lookers) and moving)
        _run(self._clock, bool(self._lookers))

    def _on_second(self) -> None:
        self._seconds += 1
        if self._seconds % PROBLEMS_EVERY_SECONDS == 0:
            self._look_for_problems()
        fetched, self._fetches = self._fetches, self.core.traffic.fills > 0
        if self._needs_a_clock() or self._fetches or fetched:
            self.second_passed.emit()
        # The time may be another one, and of that there is no event: a probe stood for a try. Nor is there of pulls.
        if self._snapshot.tally.is_timed or self._fetches:
            self._read_soon()

    def _needs_a_clock(self) -> bool:
        snapshot = self._snapshot
        return (
            snapshot.paused_until is not None
            or snapshot.tally.is_timed
            or not self.throughput.is_flat(time.monotonic())
        )


def _run(timer: QTimer, wanted: bool) -> None:
    if wanted != timer.isActive():
        if wanted:
            timer.start()
        else:
            timer.stop()
