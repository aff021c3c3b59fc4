"""What the commands print: tables or JSON on standard output, complaints on standard error."""

import json
import sys
from collections.abc import Sequence
from typing import Any, TextIO


def complain(text: str) -> None:
    """One complaint, on standard error."""
    print(f"yarddesk: {text}", file=sys.stderr)


def print_json(document: Any, stream: TextIO | None = None) -> None:  # noqa: ANN401 - JSON is any of its types
    print(json.dumps(document, indent=2, ensure_ascii=False), file=stream)


def print_table(headings: Sequence[str], rows: Sequence[Sequence[str]], empty: str) -> None:
    """Columns as wide as they must be; `empty` where there are no rows."""
    if not rows:
        print(empty)
        return
    widths = [max(len(row[column]) for row in (headings, *rows)) for column in range(len(headings))]
    for row in (headings, *rows):
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


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
