"""Single values of the settings, from what YAML, the environment or an option gives. Each raises ValueError with a reason."""

import re
import shlex
import sys
from collections.abc import Callable, Sequence
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Final

_DURATION_PART = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)", re.ASCII | re.IGNORECASE)
_SECONDS: Final = {
    "ns": Decimal("1e-9"),
    "us": Decimal("1e-6"),
    "µs": Decimal("1e-6"),  # the micro sign,
    "μs": Decimal("1e-6"),  # and the Greek letter: Go takes both
    "ms": Decimal("1e-3"),
    "s": Decimal(1),
    "m": Decimal(60),
    "h": Decimal(3600),
}
_NUMBER = re.compile(r"\d+(?:\.\d+)?", re.ASCII)
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgtp]?)(i?)b?", re.ASCII | re.IGNORECASE)
_POWERS: Final = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}
_MAX_SECONDS: Final = 10 * 365 * 24 * 3600
_MAX_BYTES: Final = 2**63 - 1
_TRUE: Final = frozenset({"true", "yes", "on", "1"})
_FALSE: Final = frozenset({"false", "no", "off", "0"})


def boolean(given: object) -> bool:
    if isinstance(given, bool):
        return given
    word = str(given).strip().lower() if isinstance(given, str | int) else ""
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise ValueError(f"{_shown(given)} is neither true nor false")


def text(given: object) -> str:
    if given is None:
        return ""
    if isinstance(given, str) or type(given) is int:
        return str(given)
    if isinstance(given, int | float) and not isinstance(given, bool):
        # 1.10 would become 1.1, and 007 become 7.
        raise ValueError(f"{_shown(given)} is a number, which may not be what is meant; put it in quotes")
    raise ValueError(f"{_shown(given)} is not a text")


def path(given: object) -> str:
    """A text that may begin with `~`, as long as that is somebody's home."""
    written = text(given)
    try:
        Path(written).expanduser()
    except RuntimeError as error:
        raise ValueError(f"{_shown(written)} begins with a home that nobody knows") from error
    return written


def command_words(line: str) -> list[str]:
    """A command line as a shell would take it apart, without any of its magic. The ValueError doesn't repeat it."""
    try:
        words = shlex.split(line, posix=sys.platform != "win32")
    except ValueError as error:
        raise ValueError("a quote has no pair") from error
    return [word.strip('"') for word in words] if sys.platform == "win32" else words


def whole_number(least: int, most: int) -> Callable[[object], int]:
    """A parser for whole numbers from `least` to `most`."""

    def parse(given: object) -> int:
        number: int | None = None
        if isinstance(given, int) and not isinstance(given, bool):
            number = given
        elif isinstance(given, str) and re.fullmatch(r"-?\d{1,18}", given.strip(), re.ASCII):
            number = int(given)
        if number is None or not least <= number <= most:
            raise ValueError(f"{_shown(given)} is not a whole number from {least} to {most}")
        return number

    return parse


def duration(given: object) -> timedelta:
    """Go's durations (`5s`, `1h30m`) or plain seconds."""
    if isinstance(given, int | float) and not isinstance(given, bool):
        return _seconds(Decimal(str(given)), given)
    if isinstance(given, str):
        word = given.strip()
        if _NUMBER.fullmatch(word):
            return _seconds(Decimal(word), given)
        parts = list(_DURATION_PART.finditer(word))
        if parts and "".join(part[0] for part in parts) == word.removeprefix("+"):
            return _seconds(sum((Decimal(part[1]) * _SECONDS[part[2].lower()] for part in parts), Decimal(0)), given)
    raise ValueError(f"{_shown(given)} is not a duration such as 5s, 1h30m or a number of seconds")


def _seconds(seconds: Decimal, given: object) -> timedelta:
    if not seconds.is_finite() or not 0 <= seconds <= _MAX_SECONDS:
        raise ValueError(f"{_shown(given)} is not a duration between 0 and ten years")
    return timedelta(seconds=float(seconds))


def size(given: object) -> int:
    """`500MB` (decimal), `1GiB` (binary) or plain bytes."""
    if isinstance(given, int) and not isinstance(given, bool):
        given = str(given)
    if isinstance(given, str) and (match := _SIZE.fullmatch(given.strip())):
        base = 1024 if match[3] else 1000
        count = int(Decimal(match[1]) * base ** _POWERS[match[2].lower()])
        if count <= _MAX_BYTES:
            return count
    raise ValueError(f"{_shown(given)} is not a size such as 500MB, 20GB, 1GiB or a number of bytes")


def one_of(*words: str) -> Callable[[object], str]:
    """A parser for one of these words, in any case."""

    def parse(given: object) -> str:
        word = str(given).strip().lower()
        if word not in words:
            raise ValueError(f"{_shown(given)} is not one of {', '.join(words)}")
        return word

    return parse


def texts(given: object) -> tuple[str, ...]:
    """A list of texts; from the environment, separated by commas."""
    if given is None:
        return ()
    if isinstance(given, str):
        return tuple(part.strip() for part in given.split(",") if part.strip())
    if isinstance(given, Sequence):
        return tuple(text(entry) for entry in given)
    raise ValueError(f"{_shown(given)} is not a list")


def _shown(given: object) -> str:
    """As it is written in YAML."""
    written = "" if given is None else str(given).lower() if isinstance(given, bool) else str(given)
    return f"“{written[:80]}”"
