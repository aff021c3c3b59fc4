"""Small facts in a file of lines: how it stays small, and who does the work."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

from yarddesk.cache.lines import Line, Lines


async def test_the_file_begins_anew_with_what_is_true_and_the_loop_goes_through_none_of_it(tmp_path: Path) -> None:
    known = list(range(10))
    seen: set[bool] = set()

    def everything() -> Iterator[Line]:
        for number in known:
            seen.add(threading.current_thread() is threading.main_thread())
            yield {"number": number}

    lines = Lines(tmp_path / "facts.jsonl", lambda: len(known), everything)
    for number in range(3000):
        lines.add({"number": number})
        if number % 100 == 0:
            await lines.written()
    await lines.close()
    assert seen == {False}
    again = await Lines(tmp_path / "facts.jsonl", lambda: 0, lambda: iter(())).load()
    assert [line["number"] for line in again[:10]] == known
    assert len(again) < 1500
    assert again[-1] == {"number": 2999}
