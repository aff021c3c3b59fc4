"""What a check found: pure values."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum

from yarddesk.errors import YarddeskError, ended


class State(StrEnum):
    """Of what was looked at. `warning`: it works, and somebody should know; `broken`: it doesn't, until somebody acts."""

    OK = "ok"
    WARNING = "warning"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class Finding:
    """`check` says what was looked for, `subject` at what; `message` is what was found, `hint` what to do next."""

    check: str
    subject: str
    state: State
    message: str
    hint: str = ""

    def document(self) -> dict[str, str]:
        """For JSON."""
        return {**asdict(self), "state": str(self.state)}


def ok(check: str, subject: str, message: str) -> Finding:
    return Finding(check, subject, State.OK, message)


def warning(check: str, subject: str, message: str, hint: str = "") -> Finding:
    return Finding(check, subject, State.WARNING, message, hint)


def broken(check: str, subject: str, message: str, hint: str = "") -> Finding:
    return Finding(check, subject, State.BROKEN, message, hint)


def of_error(state: State, check: str, subject: str, error: YarddeskError, hint: str = "") -> Finding:
    """A finding in the error's own words; `hint` where it has none."""
    message = " ".join(ended(part) for part in (error.title, error.message) if part)
    return Finding(check, subject, state, message, error.hint or hint)


def is_broken(findings: Iterable[Finding]) -> bool:
    """Whether anything is."""
    return any(finding.state is State.BROKEN for finding in findings)


def sums(findings: Iterable[Finding]) -> str:
    """All of them in a sentence."""
    states = [finding.state for finding in findings]
    broken_ones, warnings = states.count(State.BROKEN), states.count(State.WARNING)
    words = f"{warnings} {'warning' if warnings == 1 else 'warnings'}"
    if broken_ones:
        begin = "1 thing is broken" if broken_ones == 1 else f"{broken_ones} things are broken"
        return f"{begin}, {words}." if warnings else f"{begin}."
    return f"Nothing is broken; {words}." if warnings else "All is well."
