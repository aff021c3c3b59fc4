"""The one place where what went wrong becomes a job's state."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from yarddesk.content.upstream import (
    UpstreamAway,
    UpstreamDenied,
    UpstreamFailure,
    UpstreamFull,
    UpstreamNotAsked,
    UpstreamRefused,
    UpstreamTrouble,
    UpstreamUntrue,
    UpstreamUntrusted,
)
from yarddesk.errors import YarddeskError
from yarddesk.oci.digest import Digest
from yarddesk.sync.conflicts import LOOK_AGAIN_SECONDS as TAG_AGAIN_SECONDS
from yarddesk.sync.conflicts import TagMoved
from yarddesk.sync.errors import ChildrenMissing
from yarddesk.sync.states import JobState

MAX_REASON: Final = 600
LONGEST_RETRY_AFTER_SECONDS: Final = 3600.0
LOOK_AGAIN_SECONDS: Final = 60.0
LOOK_AGAIN_AT_MOST_SECONDS: Final = 1800.0
"""When we look whether a person has put right what they must: nobody may tell us. Each look in vain doubles the time to the
next."""

_DEARER_LOOK_SECONDS: Final = 300.0
"""The same where a look costs something: a wrong password locks accounts, and what found no room is sent again."""


class FailureKind(StrEnum):
    """What failed, in one word: for counting, and for programs."""

    AWAY = "away"
    TROUBLE = "trouble"
    UNTRUE = "untrue"
    DENIED = "denied"
    UNTRUSTED = "untrusted"
    FULL = "full"
    REFUSED = "refused"
    CONFLICT = "conflict"
    INCOMPLETE = "incomplete"
    LOCAL = "local"
    """On this machine: its disk, its copy of the image, its settings."""
    FAULT = "fault"
    """Of yarddesk itself."""


_WAITING: Final = JobState.WAITING
_BLOCKED: Final = JobState.BLOCKED


@dataclass(frozen=True, slots=True)
class Verdict:
    """`state` is WAITING or BLOCKED. `gate` is what it says of the whole upstream (a state of UpstreamHealth), or empty.

    `retry_seconds` is set where the wait is given, for a blocked one the wait before the first look; else a waiting part backs
    off, and a blocked one waits for a person.
    """

    state: JobState
    kind: FailureKind
    reason: str
    gate: str = ""
    retry_seconds: float | None = None
    needs_credentials: bool = False
    missing: tuple[Digest, ...] = ()
    conflict: Digest | None = None


def judge(error: Exception) -> Verdict:
    """What follows from an attempt that raised this."""
    reason = in_words(error)
    match error:
        case UpstreamAway() | UpstreamNotAsked():
            return Verdict(_WAITING, FailureKind.AWAY, reason, gate="away", retry_seconds=_retry_after(error))
        case UpstreamTrouble():
            # A registry that says when to come again, or 429, means all of us; another 5xx may be this image's alone.
            asked = _retry_after(error)
            gate = "trouble" if asked is not None or error.status == 429 else ""
            return Verdict(_WAITING, FailureKind.TROUBLE, reason, gate=gate, retry_seconds=asked)
        case UpstreamUntrue():
            return Verdict(_WAITING, FailureKind.UNTRUE, reason)
        case UpstreamDenied():
            gate = "needs_you" if error.status != 403 else ""
            seconds = _DEARER_LOOK_SECONDS
            return Verdict(
                _BLOCKED, FailureKind.DENIED, reason, gate=gate, retry_seconds=seconds, needs_credentials=True
            )
        case UpstreamUntrusted():
            return Verdict(_BLOCKED, FailureKind.UNTRUSTED, reason, gate="needs_you", retry_seconds=LOOK_AGAIN_SECONDS)
        case UpstreamFull():
            return Verdict(_BLOCKED, FailureKind.FULL, reason, retry_seconds=_DEARER_LOOK_SECONDS)
        case UpstreamRefused():
            return Verdict(_BLOCKED, FailureKind.REFUSED, reason, retry_seconds=LOOK_AGAIN_SECONDS)
        case ChildrenMissing():
            return Verdict(_BLOCKED, FailureKind.INCOMPLETE, reason, missing=error.digests)
        case TagMoved():
            return Verdict(
                _BLOCKED, FailureKind.CONFLICT, reason, retry_seconds=TAG_AGAIN_SECONDS, conflict=error.there
            )
        case YarddeskError():
            return Verdict(_WAITING if error.temporary else _BLOCKED, FailureKind.LOCAL, reason)
        case OSError():
            return Verdict(_WAITING, FailureKind.LOCAL, f"This machine: {error.strerror or error}"[:MAX_REASON])
        case _:
            words = f"A fault in yarddesk ({type(error).__name__}); the log has more."
            return Verdict(_WAITING, FailureKind.FAULT, words)


def in_words(error: Exception) -> str:
    """The sentences for people: printable, on one line, of bounded length."""
    if not isinstance(error, YarddeskError):
        return str(error)
    text = " ".join(f"{error.title} {error.message} {error.hint}".split())
    return "".join(character for character in text if character.isprintable())[:MAX_REASON]


def look_seconds(first: float, looks: int) -> float:
    """How long what is blocked is left alone, after so many looks in vain."""
    return min(first * 2.0 ** min(looks, 10), LOOK_AGAIN_AT_MOST_SECONDS)


def _retry_after(error: UpstreamFailure) -> float | None:
    asked = error.retry_after_seconds
    return None if asked is None else min(max(asked, 1.0), LONGEST_RETRY_AFTER_SECONDS)
