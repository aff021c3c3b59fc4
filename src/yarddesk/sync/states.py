"""The states of a job's part for one upstream, and the steps between them that exist."""

from enum import StrEnum


class JobState(StrEnum):
    """Values are what the marker, the commands and `/api/v1` say."""

    QUEUED = "queued"
    PREPARING = "preparing"
    TRANSFERRING = "transferring"
    COMMITTING = "committing"
    DONE = "done"
    WAITING = "waiting"
    PAUSED = "paused"
    BLOCKED = "blocked"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"
    FAILED = "failed"

    @property
    def is_active(self) -> bool:
        """Work is going on for it right now."""
        return self in _ACTIVE

    @property
    def is_over(self) -> bool:
        return self in _OVER


_ACTIVE = frozenset({JobState.PREPARING, JobState.TRANSFERRING, JobState.COMMITTING, JobState.CANCELLING})
_OVER = frozenset({JobState.DONE, JobState.CANCELLED, JobState.FAILED})

_S = JobState
_INTERRUPTED = frozenset({_S.QUEUED, _S.WAITING, _S.PAUSED, _S.BLOCKED, _S.CANCELLING, _S.FAILED})
_STEPS: dict[JobState, frozenset[JobState]] = {
    _S.QUEUED: frozenset({_S.PREPARING, _S.PAUSED, _S.BLOCKED, _S.CANCELLED, _S.FAILED, _S.WAITING}),
    _S.PREPARING: _INTERRUPTED | {_S.TRANSFERRING, _S.COMMITTING, _S.DONE},
    _S.TRANSFERRING: _INTERRUPTED | {_S.COMMITTING, _S.DONE},
    _S.COMMITTING: _INTERRUPTED | {_S.DONE},
    _S.WAITING: frozenset({_S.QUEUED, _S.PAUSED, _S.CANCELLED, _S.BLOCKED}),
    _S.PAUSED: frozenset({_S.QUEUED, _S.CANCELLED}),
    _S.BLOCKED: frozenset({_S.QUEUED, _S.PAUSED, _S.CANCELLED, _S.FAILED}),
    _S.CANCELLING: frozenset({_S.CANCELLED, _S.DONE}),
    _S.DONE: frozenset({_S.QUEUED}),
    _S.CANCELLED: frozenset({_S.QUEUED}),
    _S.FAILED: frozenset({_S.QUEUED, _S.CANCELLED}),
}


class IllegalStep(RuntimeError):
    """A step between two states that the table doesn't have: a fault in the program."""


def step(old: JobState, new: JobState) -> JobState:
    """`new`, where that step exists. Raises IllegalStep. Staying in a state is no step and is allowed."""
    if new is not old and new not in _STEPS[old]:
        raise IllegalStep(f"{old} → {new}")
    return new
