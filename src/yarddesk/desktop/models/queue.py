"""The lines of the queue's page and of the activity's, from snapshots and history."""

from collections.abc import Sequence
from datetime import datetime

from yarddesk.desktop import words
from yarddesk.desktop.models.rows_model import Line
from yarddesk.sync.snapshot import HistoryEntry, SyncSnapshot
from yarddesk.sync.states import JobState

DONE_TODAY = "Done today"
MOST_DONE = 50


def queue_lines(snapshot: SyncSnapshot, now: datetime, most: int | None = None) -> list[Line]:
    """The images that wait or go, in the queue's order, then what was synced today. `most`: of more images the rest is a number."""
    lines = [Line(f"job:{job.id}", job) for job in snapshot.jobs[:most]]
    if most is not None and len(snapshot.jobs) > most:
        lines.append(Line("title:more", f"{words.count(len(snapshot.jobs) - most, 'more image')} below"))
    today = [
        entry
        for entry in snapshot.recent
        if entry.outcome is JobState.DONE and entry.at.astimezone(now.tzinfo).date() == now.date()
    ]
    if today:
        lines.append(Line("title:done", DONE_TODAY))
        lines.extend(_history_line(entry) for entry in today[:MOST_DONE])
    return _unique(lines)


def activity_lines(
    entries: Sequence[HistoryEntry], now: datetime, *, outcomes: frozenset[JobState] | None = None, text: str = ""
) -> list[Line]:
    """History, newest first, with a title for each day; only these outcomes, and only what contains all words of `text`."""
    lines: list[Line] = []
    title = ""
    for entry in entries:
        if (outcomes is not None and entry.outcome not in outcomes) or not _matches(entry, text):
            continue
        day = words.day(entry.at, now)
        if day != title:
            title = day
            lines.append(Line(f"title:{day}", day))
        lines.append(_history_line(entry))
    return _unique(lines)


def _history_line(entry: HistoryEntry) -> Line:
    return Line(f"done:{entry.name}:{entry.upstream}:{entry.at.timestamp()}:{entry.outcome}", entry)


def _matches(entry: HistoryEntry, text: str) -> bool:
    if not text:
        return True
    searched = f"{entry.name} {entry.registry} {entry.upstream} {entry.digest} {entry.reason} {entry.error}".lower()
    return all(word in searched for word in text.lower().split())


def _unique(lines: list[Line]) -> list[Line]:
    """One line a key: a row is found again by it."""
    return list({line.key: line for line in lines}.values())
