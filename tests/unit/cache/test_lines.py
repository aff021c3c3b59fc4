"""Small facts in a file of lines: how it stays small, and who does the work."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from yarddesk.cache.lines import Lines
from yarddesk.storage.line_file import Line, LineFile


async def on_disk(folder: Path) -> list[Line]:
    found: list[Line] = []
    await LineFile(folder / "facts.jsonl").load(found.append, "")
    return found


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
    again = await on_disk(tmp_path)
    assert [line["number"] for line in again[:10]] == known
    assert len(again) < 1500
    assert again[-1] == {"number": 2999}


async def test_what_is_written_to_a_new_file_lasts_with_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced, fsync = [], os.fsync

    def noted(descriptor: int) -> None:
        fsync(descriptor)
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))

    lines = Lines(tmp_path / "facts.jsonl", lambda: 1, lambda: iter(()))
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", noted)
        lines.add({"number": 1})
        await lines.written()
    assert synced[-1] == str(tmp_path.resolve())
    lines.add({"number": 2})
    await lines.written()
    assert await on_disk(tmp_path) == [{"number": 1}, {"number": 2}]
