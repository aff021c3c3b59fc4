"""Small state files: what a write that fails, or goes on for somebody who left, makes of the file and of the folder."""

from __future__ import annotations

import asyncio
import errno
import os
import stat
from pathlib import Path

import pytest

from tests.support.descriptors import open_below
from tests.unit.storage.gate import Gate
from yarddesk.storage.state_files import append_lines, remove_files, replace_file


def failing(monkeypatch: pytest.MonkeyPatch, name: str, *, of_folders: bool = False) -> None:
    call = getattr(os, name)

    def fail(descriptor: int, *arguments: bytes) -> object:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode) == of_folders:
            if arguments:  # some of it is taken before the disk is full
                call(descriptor, arguments[0][: len(arguments[0]) // 2])
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return call(descriptor, *arguments)

    monkeypatch.setattr(os, name, fail)


@pytest.mark.parametrize("call", ["write", "fsync"])
@pytest.mark.parametrize("before", [b"1\n2\n", b"1\ncut o", b""])
def test_of_lines_that_can_not_be_written_none_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, before: bytes
) -> None:
    path = tmp_path / "lines"
    path.write_bytes(before)
    with monkeypatch.context() as patch:
        failing(patch, call)
        with pytest.raises(OSError, match=os.strerror(errno.EIO)):
            append_lines(path, b"3\n4\n")
    assert path.read_bytes() == before
    append_lines(path, b"3\n4\n")
    assert path.read_bytes() == before + (b"\n" if before.endswith(b"o") else b"") + b"3\n4\n"
    assert not open_below(tmp_path)


@pytest.mark.parametrize("call", ["write", "fsync"])
@pytest.mark.parametrize("there", [True, False])
def test_a_file_that_can_not_be_written_is_as_it_was_and_nothing_lies_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, there: bool
) -> None:
    path = tmp_path / "state"
    if there:
        replace_file(path, b"before")
    with monkeypatch.context() as patch:
        failing(patch, call)
        with pytest.raises(OSError, match=os.strerror(errno.EIO)):
            replace_file(path, b"after")
    assert {each.name: each.read_bytes() for each in tmp_path.iterdir()} == ({"state": b"before"} if there else {})
    assert not open_below(tmp_path)


def test_who_writes_it_hears_when_its_name_may_not_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "state"
    with monkeypatch.context() as patch:
        failing(patch, "fsync", of_folders=True)
        for write in (replace_file, append_lines):
            path.unlink(missing_ok=True)
            with pytest.raises(OSError, match=os.strerror(errno.EIO)):
                write(path, b"1\n")
        path.write_bytes(b"1\n")
        with pytest.raises(OSError, match=os.strerror(errno.EIO)):
            remove_files([path])
    assert not list(tmp_path.iterdir())
    assert not open_below(tmp_path)


def test_what_must_be_there_already_is_not_made(tmp_path: Path) -> None:
    assert not replace_file(tmp_path / "state", b"1", only_if_there=True)
    assert not replace_file(tmp_path / "no folder" / "state", b"1", only_if_there=True)
    assert not list(tmp_path.iterdir())
    replace_file(tmp_path / "state", b"1")
    assert replace_file(tmp_path / "state", b"2", only_if_there=True)
    assert (tmp_path / "state").read_bytes() == b"2"


async def test_a_write_that_nobody_waits_for_any_more_does_not_stand_in_the_way_of_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, first = tmp_path / "state", b"first" * 1000
    with monkeypatch.context() as patch:
        gate = Gate(patch, "write", lambda _descriptor, content: content == first)
        left = asyncio.create_task(asyncio.to_thread(replace_file, path, first))
        try:
            await gate.reached()
            await asyncio.to_thread(replace_file, path, b"second")
            assert path.read_bytes() == b"second"
        finally:
            gate.open()
        await left
    assert [(each.name, each.read_bytes()) for each in tmp_path.iterdir()] == [("state", first)]
