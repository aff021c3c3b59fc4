"""A file of facts: what is damaged costs itself alone, and what can't be written is told to who wrote it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from yarddesk.storage.line_file import Line, LineFile


def numbers(count: int) -> list[Line]:
    return [{"number": number} for number in range(count)]


async def taken(path: Path, otherwise: str = "nothing is known") -> list[float]:
    found: list[float] = []
    await LineFile(path).load(lambda line: found.append(float(line["number"])), otherwise)
    return found


async def test_lines_that_can_not_be_read_or_taken_are_left_out_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "facts"
    damaged = [b"[]", b"7", b"null", b"{}", b'{"number": []}', b'{"number": "x"}', b'{"number": 1%s}' % (b"0" * 400)]
    deep = b"[" * 100_000
    path.write_bytes(b"\n".join([b'{"number": 1}', *damaged, deep, b"\xff", b'{"number": 2}', b'{"numb']))
    assert await taken(path) == [1, 2]
    assert f"{len(damaged) + 3} lines of {path}" in caplog.text


async def test_what_it_means_that_the_file_can_not_be_read_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path, opened = tmp_path / "facts", os.open

    def refused(name: str, *arguments: int) -> int:
        if name == str(path):
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
        return opened(name, *arguments)

    assert await taken(path) == []
    assert not caplog.text
    monkeypatch.setattr(os, "open", refused)
    assert await taken(path, "all of it counts as new") == []
    assert "all of it counts as new" in caplog.text


@pytest.mark.parametrize("anew", [False, True])
async def test_what_could_not_be_written_is_not_there_and_counts_as_no_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, anew: bool
) -> None:
    path = tmp_path / "facts"
    file, before = LineFile(path), numbers(900 if anew else 10)
    await file.write(before, len(before), lambda: before)

    def fail(_descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        for _ in range(3):
            with pytest.raises(OSError, match=os.strerror(errno.EIO)):
                await file.write(numbers(400), 1, lambda: numbers(1))
    assert await taken(path) == [line["number"] for line in before]
    await file.write(numbers(400), 1, lambda: numbers(1))
    assert len(await taken(path)) == (1 if anew else 410)
