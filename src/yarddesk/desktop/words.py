"""Figures, times and sentences as people read them. Pure: no Qt, no clock of its own, local time as `now` has it."""

import html
import unicodedata
from datetime import datetime

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_LONGEST_TEXT = 2000


def size(count: int) -> str:
    """Bytes in decimal units: `812 B`, `12 MB`, `340 MB`, `14.2 GB`."""
    power = _power(count)
    return f"{_scaled(count, power)} {_UNITS[power]}"


def size_of(done: int, total: int) -> str:
    """`212 of 340 MB`: both in the unit of the whole, so that the figures can be compared at a glance."""
    power = _power(total)
    return f"{_scaled(done, power, like=total)} of {_scaled(total, power)} {_UNITS[power]}"


def rate(bytes_per_second: float) -> str:
    """`18 MB/s`; empty when nothing moves."""
    return f"{size(round(bytes_per_second))}/s" if bytes_per_second >= 1 else ""


def time_left(seconds: float | None) -> str:
    """`7 s left`, `about 3 min left`; empty when it can't be told."""
    if seconds is None:
        return ""
    if seconds < 60:
        return f"{max(1, round(seconds))} s left"
    return f"about {_roughly(seconds)} left"


def until(seconds: float) -> str:
    """`now`, `in 40 s`, `in 3 min`, `in 2 h`."""
    if seconds < 1:
        return "now"
    return f"in {round(seconds)} s" if seconds < 60 else f"in {_roughly(seconds)}"


def duration(seconds: float) -> str:
    """`2.1 s`, `42 s`, `3 min 20 s`, `1 h 5 min`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def clock(at: datetime, now: datetime) -> str:
    """`14:02`, of whichever day."""
    return at.astimezone(now.tzinfo).strftime("%H:%M")


def moment(at: datetime, now: datetime) -> str:
    """`14:02` today, `23 Nov` before, `23 Nov 2024` in another year."""
    at = at.astimezone(now.tzinfo)
    return clock(at, now) if at.date() == now.date() else _date(at, now)


def moment_with_time(at: datetime, now: datetime) -> str:
    """`14:02` today, `23 Nov, 14:02` before."""
    at = at.astimezone(now.tzinfo)
    return clock(at, now) if at.date() == now.date() else f"{_date(at, now)}, {clock(at, now)}"


def day(at: datetime, now: datetime) -> str:
    """`Today`, `Yesterday`, `Tuesday, 17 Nov`."""
    at = at.astimezone(now.tzinfo)
    days = (now.date() - at.date()).days
    if days == 0:
        return "Today"
    return "Yesterday" if days == 1 else f"{_DAYS[at.weekday()]}, {_date(at, now)}"


def count(number: int, singular: str, plural: str = "") -> str:
    """`1 image`, `3 images`."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}".replace(",", " ")


def listed(names: list[str], at_most: int = 3) -> str:
    """`a`, `a and b`, `a, b and 3 more`."""
    if len(names) > at_most:
        return f"{', '.join(names[: at_most - 1])} and {len(names) - at_most + 1} more"
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def sentence(text: str) -> str:
    """With a full stop at its end, unless it ends in a mark already."""
    text = text.strip()
    return text if not text or text[-1] in ".!?…" else f"{text}."


def plain(text: str, at_most: int = _LONGEST_TEXT) -> str:
    """Text from elsewhere, safe to show on one line: no control characters, nothing that turns the reading direction."""
    kept = "".join(" " if character in "\n\r\t" else character for character in text[: at_most * 2])
    kept = " ".join("".join(c for c in kept if unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Co")).split())
    return kept if len(kept) <= at_most else f"{kept[: at_most - 1]}…"


def tooltip(text: str) -> str:
    """Text of any origin for a tooltip: Qt would take what looks like markup for markup, so it's escaped into it."""
    lines = "<br>".join(html.escape(plain(line)) for line in text.splitlines())
    return f"<qt>{lines}</qt>" if lines else ""


def menu_text(text: str, at_most: int = 60) -> str:
    """Text of any origin for a menu: `&` would underline the next letter."""
    return plain(text, at_most).replace("&", "&&")


def _power(count: int) -> int:
    power = 0
    # 999.5 kB is 1.0 MB: decide on the figure that would be shown.
    while power < len(_UNITS) - 1 and abs(count) >= 999.5 * 1000**power:
        power += 1
    return power


def _scaled(count: int, power: int, like: int | None = None) -> str:
    """One decimal where it says something: below ten, and below a hundred from GB on."""
    value = count / 1000**power
    measure = value if like is None else like / 1000**power
    if _UNITS[power] in ("B", "kB") or measure >= (9.95 if _UNITS[power] == "MB" else 99.95):
        return f"{value:.0f}"
    return f"{value:.1f}".removesuffix(".0")


def _roughly(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{max(1, minutes)} min"
    hours = round(seconds / 3600)
    return f"{hours} h" if hours < 48 else f"{round(seconds / 86400)} days"


def _date(at: datetime, now: datetime) -> str:
    text = f"{at.day} {_MONTHS[at.month - 1]}"
    return text if at.year == now.year else f"{text} {at.year}"
