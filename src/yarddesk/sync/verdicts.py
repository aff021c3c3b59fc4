"""The one place where what went wrong becomes a job's state."""

from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class Verdict:
    """`state` is WAITING or BLOCKED. `gate` is what it says of the whole upstream (a state of UpstreamHealth), or empty.

    `retry_seconds` is set where the wait is given, for a blocked one the wait before the first look; else a waiting part backs
    off, and a blocked one waits for a person.
    """

    state: JobState
    reason: str
    gate: str = ""
    retry_seconds: float | None = None
    needs_credentials: bool = False
    missing: tuple[Digest, ...] = ()
    conflict: Digest | None = None


def judge(error: Exception) -> Verdict:
    """What follows from an attempt that raised this."""
    match error:
        case UpstreamAway() | UpstreamNotAsked():
            return Verdict(JobState.WAITING, in_words(error), gate="away", retry_seconds=_retry_after(error))
        case UpstreamTrouble():
            # A registry that says when to come again, or 429, means all of us; another 5xx may be this image's alone.
            asked = _retry_after(error)
            gate = "trouble" if asked is not None or error.status == 429 else ""
            return Verdict(JobState.WAITING, in_words(error), gate=gate, retry_seconds=asked)
        case UpstreamUntrue():
            return Verdict(JobState.WAITING, in_words(error))
        case UpstreamDenied():
            gate = "needs_you" if error.status != 403 else ""
            return Verdict(
                JobState.BLOCKED,
                in_words(error),
                gate=gate,
                retry_seconds=_DEARER_LOOK_SECONDS,
                needs_credentials=True,
            )
        case UpstreamUntrusted():
            return Verdict(JobState.BLOCKED, in_words(error), gate="needs_you", retry_seconds=LOOK_AGAIN_SECONDS)
        case UpstreamFull():
            return Verdict(JobState.BLOCKED, in_words(error), retry_seconds=_DEARER_LOOK_SECONDS)
        case UpstreamRefused():
            return Verdict(JobState.BLOCKED, in_words(error), retry_seconds=LOOK_AGAIN_SECONDS)
        case ChildrenMissing():
            return Verdict(JobState.BLOCKED, in_words(error), missing=error.digests)
        case TagMoved():
            return Verdict(JobState.BLOCKED, in_words(error), retry_seconds=TAG_AGAIN_SECONDS, conflict=error.there)
        case YarddeskError() if not error.temporary:
            return Verdict(JobState.BLOCKED, in_words(error))
        case YarddeskError():
            return Verdict(JobState.WAITING, in_words(error))
        case OSError():
            return Verdict(JobState.WAITING, f"This machine: {error.strerror or error}"[:MAX_REASON])
        case _:
            return Verdict(JobState.WAITING, f"A fault in yarddesk ({type(error).__name__}); the log has more.")


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
