"""The one glance in words: the header's, the tray's and the tooltip's line. Pure."""

from dataclasses import dataclass
from datetime import datetime

from yarddesk.desktop import words
from yarddesk.sync.snapshot import OverallState, SyncSnapshot, overall_state
from yarddesk.sync.states import JobState


@dataclass(frozen=True, slots=True)
class Headline:
    """`text` answers “is all well?”, `more` says how much and how long."""

    state: OverallState
    text: str
    more: str = ""

    @property
    def line(self) -> str:
        return f"{self.text} · {self.more}" if self.more else self.text


def headline(snapshot: SyncSnapshot, now: datetime) -> Headline:
    """What the header and the tray say."""
    state = overall_state(snapshot)
    match state:
        case OverallState.NEEDS_YOU:
            more = f"paused{_until(snapshot.paused_until, now)}" if snapshot.paused else ""
            return Headline(state, _needs_you(snapshot), " · ".join(text for text in (more, _left(snapshot)) if text))
        case OverallState.PAUSED:
            return Headline(state, _paused(snapshot, now), _waiting_images(snapshot))
        case OverallState.SYNCING:
            return Headline(state, f"Syncing {words.count(len(snapshot.jobs), 'image')}", _left(snapshot))
        case OverallState.OFFLINE:
            return Headline(state, _offline(snapshot), _waiting_images(snapshot))
        case OverallState.IDLE:
            synced = next((entry for entry in snapshot.recent if entry.outcome is JobState.DONE), None)
            if synced is None:
                return Headline(state, "Nothing waits")
            return Headline(state, "All synced", words.moment(synced.at, now))


def _paused(snapshot: SyncSnapshot, now: datetime) -> str:
    if snapshot.paused:
        return f"Paused{_until(snapshot.paused_until, now)}"
    names = [f"{words.plain(name, 60)}{_until(until, now)}" for name, until in snapshot.paused_repositories.items()]
    return f"Paused: {words.listed(names)}" if names else "Paused"


def _until(moment: datetime | None, now: datetime) -> str:
    return f" until {words.moment_with_time(moment, now)}" if moment else ""


def _needs_you(snapshot: SyncSnapshot) -> str:
    tally = snapshot.tally
    if tally.asking:
        registries = list(dict.fromkeys(words.plain(registry, 60) for registry in tally.asking))
        return f"{words.listed(registries)} {'asks' if len(registries) == 1 else 'ask'} you to sign in"
    return f"{words.count(tally.stuck, 'image needs', 'images need')} you"


def _offline(snapshot: SyncSnapshot) -> str:
    return f"Waiting for {words.listed(sorted(words.plain(registry, 60) for registry in snapshot.tally.awaited))}"


def _waiting_images(snapshot: SyncSnapshot) -> str:
    return words.count(len(snapshot.jobs), "image waits", "images wait") if snapshot.jobs else ""


def _left(snapshot: SyncSnapshot) -> str:
    left = snapshot.bytes_left
    if not left:
        return ""
    speed = snapshot.bytes_per_second
    time = words.time_left(left / speed) if speed >= 1 else ""
    return " · ".join(text for text in (f"{words.size(left)} left" if not time else words.size(left), time) if text)
