"""What says in the data folder that an instance runs."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from pathlib import Path

import pytest

from yarddesk.control.instance import NoInstance, find_instance, new_token
from yarddesk.service.announcing import announced
from yarddesk.storage.lock import InstanceLock

URL = "http://127.0.0.1:5050"


async def test_it_is_found_until_it_ends(tmp_path: Path) -> None:
    token = new_token()
    with InstanceLock.acquire(tmp_path) as lock:
        async with announced(tmp_path, URL, token, lock):
            found = find_instance(tmp_path)
            assert (found.url, found.pid, found.token.reveal()) == (URL, os.getpid(), token.reveal())
        with pytest.raises(NoInstance):
            find_instance(tmp_path)


async def test_a_disk_that_is_read_only_by_now_keeps_nobody_from_ending(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_arguments: object, **_options: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    with InstanceLock.acquire(tmp_path) as lock:
        async with announced(tmp_path, URL, new_token(), lock):
            monkeypatch.setattr(os, "unlink", fail)
    assert "still says that this instance runs" in caplog.text


async def test_what_is_ended_while_it_is_said_leaves_nothing_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said, goes_on = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def announce(_lock: InstanceLock, _url: str) -> None:
        loop.call_soon_threadsafe(said.set)
        goes_on.wait(10)

    async def run(lock: InstanceLock) -> None:
        async with announced(tmp_path, URL, new_token(), lock):
            raise AssertionError("it was to be ended before")

    monkeypatch.setattr(InstanceLock, "announce", announce)
    with InstanceLock.acquire(tmp_path) as lock:
        running = asyncio.create_task(run(lock))
        await said.wait()
        assert find_instance(tmp_path).url == URL
        running.cancel()
        goes_on.set()
        with pytest.raises(asyncio.CancelledError):
            await running
    with pytest.raises(NoInstance):
        find_instance(tmp_path)
    assert not (tmp_path / "control.token").exists()
