"""What the commands print: tables or JSON on standard output, complaints on standard error."""

import codecs
import io
import json
import sys
from collections.abc import Sequence
from typing import Any, Final, TextIO

INTERRUPTED: Final = 130
"""The exit status after Ctrl+C."""


def speak_any_language() -> None:
    """What the terminal, or the file, has no letters for is written as an escape, as on standard error, and ends nothing."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def complain(text: str) -> None:
    """One complaint, on standard error."""
    print(f"yarddesk: {plain(text)}", file=sys.stderr)


def print_json(document: Any, stream: TextIO | None = None) -> None:  # noqa: ANN401 - JSON is any of its types
    encoding = getattr(stream or sys.stdout, "encoding", None) or "utf-8"
    text = json.dumps(document, indent=2, ensure_ascii=codecs.lookup(encoding).name != "utf-8")
    # Half of a surrogate pair can't be printed; JSON has an escape for it.
    print(text.encode("utf-8", "backslashreplace").decode(), file=stream)


def print_table(headings: Sequence[str], rows: Sequence[Sequence[str]], empty: str) -> None:
    """Columns as wide as they must be; `empty` where there are no rows."""
    if not rows:
        print(empty)
        return
    lines = [headings, *([plain(cell) for cell in row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headings))]
    for row in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def plain(text: str) -> str:
    """Without what a terminal would obey: the words of manifests and layouts are anybody's."""
    return "".join(each if each.isprintable() or each == "\n" else "\N{REPLACEMENT CHARACTER}" for each in text)


def size(count: int | None) -> str:
    """Bytes for people, decimal: `340 MB`."""
    if count is None:
        return "?"
    amount = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 999.5:
            return f"{amount:.0f} {unit}" if unit == "B" or amount >= 10 else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"


def plural(count: int, one: str, many: str = "") -> str:
    return f"{count} {one if count == 1 else many or one + 's'}"
