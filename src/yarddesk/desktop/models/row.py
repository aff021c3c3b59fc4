"""What one row says: pure functions from a job, a layer or a history entry to words, a glyph and a tone."""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from yarddesk.desktop import words
from yarddesk.progress import LayerProgress, LayerState, TransferProgress
from yarddesk.sync.snapshot import HistoryEntry, JobSnapshot, UpstreamPart
from yarddesk.sync.states import JobState


class Tone(StrEnum):
    """What a colour may say; the words beside it say it too."""

    QUIET = "quiet"
    ACTIVE = "active"
    GOOD = "good"
    WAITING = "waiting"
    NEEDS_YOU = "needs_you"


@dataclass(frozen=True, slots=True)
class Row:
    """One row. `fraction` (0…1) is how far it is, None without a bar."""

    name: str
    destination: str = ""
    glyph: str = "queue"
    tone: Tone = Tone.QUIET
    status: str = ""
    aside: str = ""
    fraction: float | None = None
    spoken: str = ""
    explained: str = ""


# Which part of a job with several upstreams speaks for it: the first that there is.
_SPEAKS_FIRST = (
    JobState.BLOCKED,
    JobState.FAILED,
    JobState.CANCELLING,
    JobState.TRANSFERRING,
    JobState.COMMITTING,
    JobState.PREPARING,
    JobState.WAITING,
    JobState.PAUSED,
    JobState.QUEUED,
    JobState.CANCELLED,
    JobState.DONE,
)

_GLYPHS: dict[JobState, tuple[str, Tone]] = {
    JobState.QUEUED: ("clock", Tone.QUIET),
    JobState.PREPARING: ("arrow-up", Tone.ACTIVE),
    JobState.TRANSFERRING: ("arrow-up", Tone.ACTIVE),
    JobState.COMMITTING: ("arrow-up", Tone.ACTIVE),
    JobState.WAITING: ("retry", Tone.WAITING),
    JobState.PAUSED: ("pause", Tone.QUIET),
    JobState.BLOCKED: ("warning", Tone.NEEDS_YOU),
    JobState.FAILED: ("warning", Tone.NEEDS_YOU),
    JobState.CANCELLING: ("cancel", Tone.QUIET),
    JobState.CANCELLED: ("cancel", Tone.QUIET),
    JobState.DONE: ("check", Tone.GOOD),
}

_LAYER_WORDS: dict[LayerState, str] = {
    LayerState.WAITING: "waits",
    LayerState.SENDING: "sending",
    LayerState.SENT: "sent",
    LayerState.THERE: "was there",
    LayerState.MOUNTED: "mounted from another repository there",
    LayerState.FAILED: "failed, will be tried again",
}


def speaking_part(job: JobSnapshot) -> UpstreamPart | None:
    """The part whose state the job's row shows; None for a job without any."""
    return min(job.parts, key=lambda part: _SPEAKS_FIRST.index(part.state), default=None)


def job_row(job: JobSnapshot, now: datetime) -> Row:
    """The row of an image in the queue."""
    name = words.plain(job.name)
    part = speaking_part(job)
    if part is None:
        return Row(name, status="No upstream takes it", spoken=f"{name}. No upstream takes it.")
    destination = words.listed([words.plain(part.registry, 80) for part in job.parts])
    status = part_status(part, now)
    if len(job.parts) > 1 and part.state not in (JobState.TRANSFERRING, JobState.QUEUED):
        status = f"{words.plain(part.registry, 80)}: {status}"
    moved = "moved up" if job.priority and part.state is JobState.QUEUED else ""
    aside = " · ".join(text for text in (several(job) or layer_summary(part.progress), moved) if text)
    glyph, tone = _GLYPHS[part.state]
    return Row(
        name=name,
        destination=destination,
        glyph=glyph,
        tone=tone,
        status=status,
        aside=aside,
        fraction=fraction(job),
        spoken=". ".join(text for text in (f"{name} to {destination}", status, aside) if text),
        explained=_explained(job, name, now),
    )


def part_status(part: UpstreamPart, now: datetime) -> str:
    """One upstream's part in a sentence, without its name where that stands beside it."""
    reason = words.sentence(words.plain(part.reason))
    match part.state:
        case JobState.QUEUED:
            return f"In line{_ahead(part)}"
        case JobState.PREPARING:
            return plan(part) or f"Asking {words.plain(part.registry, 80)} what it has already"
        case JobState.TRANSFERRING:
            return transfer_status(part.progress)
        case JobState.COMMITTING:
            return "All there: naming it and reading it back"
        case JobState.WAITING:
            return _waiting_status(part, reason, now)
        case JobState.PAUSED:
            return f"Paused{_kept(part.progress) or _ahead(part)}"
        case JobState.BLOCKED if part.conflict is not None:
            return f"Needs you: somebody else moved this tag to {part.conflict.short} since it was last seen there."
        case JobState.BLOCKED:
            return f"Needs you: {reason or 'it can’t go on by itself.'}"
        case JobState.FAILED:
            return f"Failed: {reason or 'the registry will not take it.'}"
        case JobState.CANCELLING:
            return "Cancelling…"
        case JobState.CANCELLED:
            return "Cancelled"
        case JobState.DONE:
            return "Synced"


def transfer_status(progress: TransferProgress | None) -> str:
    """`212 of 340 MB · 18 MB/s · 7 s left`."""
    if progress is None:
        return "Starting"
    speed = words.rate(progress.bytes_per_second)
    left = words.time_left(progress.seconds_left) if speed and progress.bytes_done < progress.bytes_total else ""
    figures = words.size_of(progress.bytes_done, progress.bytes_total)
    return " · ".join(text for text in (figures, speed, left) if text)


def layer_summary(progress: TransferProgress | None) -> str:
    """`2 layers there · 1 mounted · 1 of 2 sending`."""
    if progress is None:
        return ""
    counts = Counter(layer.state for layer in progress.layers)
    there, mounted = counts[LayerState.THERE], counts[LayerState.MOUNTED]
    sent, sending = counts[LayerState.SENT], counts[LayerState.SENDING]
    to_send = len(progress.layers) - there - mounted
    parts = [
        f"{words.count(there, 'layer')} there" if there else "",
        f"{mounted} mounted" if mounted else "",
        f"{sent} of {to_send} sent" if to_send and (sent or sending) else "",
    ]
    return " · ".join(text for text in parts if text)


def plan(part: UpstreamPart) -> str:
    """`1.2 GB there · 40 MB can be mounted · 16 MB to send`, once it's known."""
    if part.plan is None:
        return ""
    told = (
        (part.plan.there, "there"),
        (part.plan.mountable, "can be mounted"),
        (part.plan.to_send, "to send"),
    )
    return " · ".join(f"{words.size(count)} {what}" for count, what in told if count)


def several(job: JobSnapshot) -> str:
    """`1 of 2 registries done`, for a job with more than one upstream."""
    if len(job.parts) < 2:
        return ""
    done = sum(part.state is JobState.DONE for part in job.parts)
    return f"{done} of {len(job.parts)} registries done"


def fraction(job: JobSnapshot) -> float | None:
    """How much of it is there, over all upstreams; None while nothing of it is known."""
    known = [part.progress for part in job.parts if part.progress is not None and part.progress.bytes_total > 0]
    if not known or all(part.state in (JobState.QUEUED, JobState.BLOCKED, JobState.FAILED) for part in job.parts):
        return None
    total = sum(progress.bytes_total for progress in known)
    done = sum(progress.bytes_done for progress in known)
    if done == 0 and not any(part.state.is_active for part in job.parts):
        return None
    return min(1.0, done / total)


def layer_row(layer: LayerProgress) -> Row:
    """A blob or manifest of an image, in the opened row."""
    sending = layer.state is LayerState.SENDING
    figures = words.size_of(layer.done, layer.size) if sending else words.size(layer.size)
    state = _LAYER_WORDS[layer.state]
    name = layer.digest.short
    return Row(
        name=name,
        glyph=_layer_glyph(layer.state),
        tone={LayerState.SENDING: Tone.ACTIVE, LayerState.FAILED: Tone.WAITING}.get(layer.state, Tone.QUIET),
        status=state,
        aside=figures,
        fraction=layer.done / layer.size if sending and layer.size else None,
        spoken=f"Layer {name}, {figures}, {state}",
        explained=str(layer.digest),
    )


def part_row(part: UpstreamPart, now: datetime) -> Row:
    """One upstream's line in the opened row of a job with several."""
    registry = words.plain(part.registry, 80)
    glyph, tone = _GLYPHS[part.state]
    status = part_status(part, now)
    return Row(
        name=registry,
        glyph=glyph,
        tone=tone,
        status=status,
        aside=layer_summary(part.progress),
        spoken=f"{registry}. {status}",
        explained=status,
    )


def history_row(entry: HistoryEntry, now: datetime) -> Row:
    """What was synced, or wasn't, and at what time; the day is in the title above."""
    name = words.plain(entry.name)
    registry = words.plain(entry.registry, 80)
    reason = words.plain(entry.reason)
    if entry.hook:
        status = f"Arrived, but the {entry.hook} failed: {reason}"
    elif entry.outcome is JobState.DONE:
        status = " · ".join(text for text in (_sent(entry), reason) if text)
    else:
        outcome = "Cancelled" if entry.outcome is JobState.CANCELLED else "Failed"
        status = f"{outcome}: {reason}" if reason.rstrip(".") not in ("", outcome) else outcome
    before = f"A try before failed: {words.plain(entry.error)}" if entry.error else ""
    glyph, tone = _GLYPHS[entry.outcome]
    at = words.clock(entry.at, now)
    took = words.duration(entry.seconds) if entry.outcome is JobState.DONE else ""
    return Row(
        name=name,
        destination=registry,
        glyph=glyph,
        tone=tone,
        status=status,
        aside=" · ".join(text for text in (took, at) if text),
        spoken=f"{name} to {registry}. {status}. {words.moment_with_time(entry.at, now)}",
        explained="\n".join(text for text in (f"{name} → {registry}", str(entry.digest), status, before) if text),
    )


def _sent(entry: HistoryEntry) -> str:
    if entry.bytes_sent == 0 and entry.bytes_saved:
        return f"all {words.size(entry.bytes_saved)} were there"
    sent = f"sent {words.size(entry.bytes_sent)}"
    return f"{sent}, {words.size(entry.bytes_saved)} were there" if entry.bytes_saved else sent


def _waiting_status(part: UpstreamPart, reason: str, now: datetime) -> str:
    because = f": {reason.rstrip('.')}" if reason else ""
    if part.next_attempt is None:
        return f"Waiting{because}"
    when = words.until((part.next_attempt - now).total_seconds())
    # That an upstream is away counts as no try of the image's.
    which = f"Try {part.tries + 1}" if part.tries else "Next try"
    return f"{which} {when}{because}{_kept(part.progress)}"


def _kept(progress: TransferProgress | None) -> str:
    if progress is None or progress.bytes_done == 0:
        return ""
    return f" · {words.size_of(progress.bytes_done, progress.bytes_total)} there"


def _ahead(part: UpstreamPart) -> str:
    """What waits for an image that was never tried."""
    if part.progress is not None:
        return ""
    told = plan(part) or (words.size(part.size) if part.size is not None else "")
    return f" · {told}" if told else ""


def _explained(job: JobSnapshot, name: str, now: datetime) -> str:
    parts = (
        " · ".join(
            text for text in (f"{words.plain(part.registry, 80)}: {part_status(part, now)}", _tried_plan(part)) if text
        )
        for part in job.parts
    )
    return "\n".join(text for text in (name, job.digest, *parts) if text)


def _tried_plan(part: UpstreamPart) -> str:
    return plan(part) if part.progress is not None and part.state is not JobState.PREPARING else ""


def _layer_glyph(state: LayerState) -> str:
    match state:
        case LayerState.SENDING:
            return "arrow-up"
        case LayerState.SENT | LayerState.THERE | LayerState.MOUNTED:
            return "check"
        case LayerState.FAILED:
            return "retry"
        case LayerState.WAITING:
            return "clock"
