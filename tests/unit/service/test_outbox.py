"""What is to be told outlives the process, in order, and never grows without bound."""

from __future__ import annotations

import asyncio
import errno
from pathlib import Path

import pytest

from yarddesk.service.outbox import Outbox


async def reopened(data: Path) -> Outbox:
    outbox = Outbox(data, "kind")
    await outbox.load()
    return outbox


def folder_of(data: Path) -> Path:
    return data / "arrivals" / "kind"


async def drained(outbox: Outbox) -> list[object]:
    told = []
    while len(outbox):
        number, document = await outbox.first()
        told.append(document["n"])
        await outbox.remove(number)
    return told


async def test_what_was_added_is_there_after_a_restart_in_order_and_goes_when_it_is_told(tmp_path: Path) -> None:
    outbox = await reopened(tmp_path)
    for n in range(12):
        await outbox.add({"n": n})
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in folder_of(tmp_path).iterdir())
    again = await reopened(tmp_path)
    assert await drained(again) == list(range(12))
    await again.add({"n": 12})
    assert await drained(await reopened(tmp_path)) == [12]
    assert not len(await reopened(tmp_path))


async def test_who_waits_for_the_first_gets_it_when_it_comes(tmp_path: Path) -> None:
    outbox = await reopened(tmp_path)
    waiting = asyncio.create_task(outbox.first())
    await asyncio.sleep(0)
    assert not waiting.done()
    await outbox.add({"n": 1})
    assert (await waiting)[1] == {"n": 1}


async def test_beyond_the_bound_the_oldest_go(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    outbox = Outbox(tmp_path, "kind", 3)
    for n in range(5):
        await outbox.add({"n": n})
    assert "dropped" in caplog.text
    assert await drained(await reopened(tmp_path)) == [2, 3, 4]


async def test_damaged_files_are_dropped_with_a_line_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await (await reopened(tmp_path)).add({"n": 1})
    for name, content in (("000000000007.json", b"{"), ("000000000008.json", b"[]"), ("x", b"{}"), (".tmp-1", b"")):
        (folder_of(tmp_path) / name).write_bytes(content)
    assert await drained(await reopened(tmp_path)) == [1]
    assert caplog.text.count("is dropped") == 4
    assert not list(folder_of(tmp_path).iterdir())


async def test_without_room_on_the_disk_it_is_told_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr("yarddesk.service.outbox.replace_file", full)
    outbox = await reopened(tmp_path)
    await outbox.add({"n": 1})
    assert await drained(outbox) == [1]
    assert "could not be written" in caplog.text
