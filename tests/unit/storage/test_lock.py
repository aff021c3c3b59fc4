"""One process a data folder."""

from __future__ import annotations

import errno
import json
import os
import signal
import stat
import subprocess
import sys
import types
from pathlib import Path

import pytest

from tests.support.descriptors import open_below
from yarddesk.content.errors import StorageError
from yarddesk.storage.lock import AlreadyRunning, InstanceLock, try_lock

HOLD = """
import sys
from pathlib import Path
from yarddesk.storage.lock import InstanceLock
lock = InstanceLock.acquire(Path(sys.argv[1]))
lock.announce("http://localhost:5050")
print("held", flush=True)
sys.stdin.read()
"""


def hold(data: Path) -> subprocess.Popen[str]:
    """Another process that holds the lock."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(data)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    return holder


def test_a_second_process_is_told_who_holds_the_folder(tmp_path: Path) -> None:
    with hold(tmp_path) as holder:
        with pytest.raises(AlreadyRunning) as told:
            InstanceLock.acquire(tmp_path)
        holder.communicate()
    assert (told.value.pid, told.value.url) == (holder.pid, "http://localhost:5050")
    assert str(holder.pid) in str(told.value)
    assert "http://localhost:5050" in str(told.value)
    with InstanceLock.acquire(tmp_path):
        pass


def test_the_lock_dies_with_its_process(tmp_path: Path) -> None:
    with hold(tmp_path) as holder:
        os.kill(holder.pid, signal.SIGKILL)
    with InstanceLock.acquire(tmp_path):
        pass


def test_a_released_lock_is_free(tmp_path: Path) -> None:
    lock = InstanceLock.acquire(tmp_path / "new" / "folder")
    with pytest.raises(AlreadyRunning):
        InstanceLock.acquire(tmp_path / "new" / "folder")
    lock.release()
    lock.release()
    with InstanceLock.acquire(tmp_path / "new" / "folder"):
        pass


def test_children_do_not_keep_the_lock(tmp_path: Path) -> None:
    with InstanceLock.acquire(tmp_path):
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, close_fds=False)
    with child, InstanceLock.acquire(tmp_path):
        child.communicate(b"\n")


def test_a_released_lock_is_free_while_a_child_still_has_what_it_inherited(tmp_path: Path) -> None:
    with InstanceLock.acquire(tmp_path):
        inherited = os.dup(*open_below(tmp_path / "lock"))
    try:
        with InstanceLock.acquire(tmp_path):
            pass
    finally:
        os.close(inherited)


@pytest.mark.parametrize("content", [b"", b"not json", b"[]", b"\xff", b'{"pid": "x"}'])
def test_a_holder_that_says_nothing_useful_is_still_a_holder(tmp_path: Path, content: bytes) -> None:
    with InstanceLock.acquire(tmp_path):
        (tmp_path / "lock").write_bytes(content)
        with pytest.raises(AlreadyRunning) as told:
            InstanceLock.acquire(tmp_path)
    assert told.value.pid is None


def test_the_address_is_also_taken_from_the_control_file(tmp_path: Path) -> None:
    (tmp_path / "control.json").write_text(json.dumps({"url": "http://localhost:7", "pid": 1, "version": "0"}))
    with InstanceLock.acquire(tmp_path), pytest.raises(AlreadyRunning) as told:
        InstanceLock.acquire(tmp_path)
    assert (told.value.pid, told.value.url) == (os.getpid(), "http://localhost:7")


def test_the_lock_file_is_private(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with InstanceLock.acquire(tmp_path / "data"):
            assert stat.S_IMODE((tmp_path / "data" / "lock").stat().st_mode) == 0o600
            assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700
    finally:
        os.umask(before)


def test_what_is_written_to_a_locked_file_begins_where_the_file_does_also_on_windows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    windows = types.ModuleType("msvcrt")
    windows.LK_NBLCK, windows.locking = 2, lambda *_: None  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "msvcrt", windows)
    monkeypatch.setattr(sys, "platform", "win32")
    with open(tmp_path / "file", "wb", buffering=0) as file:
        assert try_lock(file.fileno())
        assert file.tell() == 0


def test_a_folder_that_can_not_be_is_told_in_words(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        InstanceLock.acquire(tmp_path / "file" / "data")


def test_a_disk_that_is_read_only_by_now_keeps_nobody_from_letting_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    lock = InstanceLock.acquire(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "ftruncate", fail)
        lock.release()
    with InstanceLock.acquire(tmp_path):
        pass
