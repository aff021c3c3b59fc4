"""A start that is called off: what it took is free again, for the next one in the same process, too."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.descriptors import open_below
from tests.unit.storage.gate import Gate
from yarddesk.service.alone import open_alone
from yarddesk.service.opening import open_yard
from yarddesk.service.reload import SettingsSource
from yarddesk.settings.loader import load_settings
from yarddesk.storage.layout import LOCK_FILE
from yarddesk.storage.lock import InstanceLock


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    before = os.umask(0o077)
    yield
    os.umask(before)


@pytest.mark.parametrize("alone", [True, False])
async def test_a_start_that_is_cancelled_while_it_takes_the_lock_gives_it_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, alone: bool
) -> None:
    data, file, options = tmp_path / "data", tmp_path / "config.yaml", {"data_dir": str(tmp_path / "data")}
    file.write_text("server: {host: 127.0.0.1, port: 0}\nupstreams: []\n", encoding="utf-8")
    settings, source = load_settings({}, file=file, options=options).settings, SettingsSource(file, options, {})

    async def start() -> None:
        async with open_alone(settings) if alone else open_yard(settings, source):
            raise AssertionError("not opened")

    gate = Gate(monkeypatch, "chmod", lambda path, _mode: os.path.basename(path) == LOCK_FILE)
    work = asyncio.ensure_future(start())
    try:
        await gate.reached()
        work.cancel()
    finally:
        gate.open()
    await asyncio.wait([work])
    assert work.cancelled()
    assert not open_below(data)
    InstanceLock.acquire(data).release()
