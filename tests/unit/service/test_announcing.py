"""What says in the data folder that an instance runs."""

from __future__ import annotations

import errno
import os
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
