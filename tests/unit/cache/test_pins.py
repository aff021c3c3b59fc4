"""Pins that are changed at once, or by somebody who goes away meanwhile: what is said of them is what is on the disk."""

from __future__ import annotations

import asyncio
import errno
import os
from pathlib import Path

import pytest

from tests.support.descriptors import open_below
from tests.unit.storage.gate import Gate
from yarddesk.cache.pins import PINS_FILE, Pins
from yarddesk.content.errors import StorageError
from yarddesk.oci.name import ImageReference

PINS = [ImageReference.parse(f"team/app:{number}") for number in range(20)]


async def on_disk(folder: Path) -> list[ImageReference]:
    pins = Pins(folder)
    await pins.load()
    return pins.all()


async def test_many_that_are_set_at_once_are_all_there_and_so_it_is_when_they_go(tmp_path: Path) -> None:
    pins = Pins(tmp_path)
    assert await asyncio.gather(*(pins.add(pin) for pin in PINS)) == [True] * 20
    assert await on_disk(tmp_path) == pins.all() == sorted(PINS, key=str)
    assert await asyncio.gather(*(pins.remove(pin) for pin in PINS[1:])) == [True] * 19
    assert await on_disk(tmp_path) == pins.all() == PINS[:1]


@pytest.mark.parametrize("stays", [True, False])
async def test_a_change_that_is_cancelled_while_it_is_written_holds_and_others_wait_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stays: bool
) -> None:
    pins, (first, second, *_) = Pins(tmp_path), PINS
    change = pins.add if stays else pins.remove
    if not stays:
        await pins.add(first)
        await pins.add(second)
    with monkeypatch.context() as patch:
        gate = Gate(patch, "replace", lambda _source, target: target.endswith(PINS_FILE))
        left = asyncio.ensure_future(change(first))
        try:
            await gate.reached()
            left.cancel()
            other = asyncio.ensure_future(change(second))
            await asyncio.sleep(0)
        finally:
            gate.open()
        await asyncio.wait([left])
        assert left.cancelled()
        assert await other
    assert await on_disk(tmp_path) == pins.all() == ([first, second] if stays else [])


async def test_pins_that_can_not_be_read_are_not_said_to_be_none(tmp_path: Path) -> None:
    (tmp_path / PINS_FILE).write_text("no list")
    pins = Pins(tmp_path)
    await pins.load()
    for change in (pins.add, pins.remove):
        with pytest.raises(StorageError, match="can't be read"):
            await change(PINS[0])
    with pytest.raises(StorageError, match="can't be read"):
        pins.all()
    assert (tmp_path / PINS_FILE).read_text() == "no list"


@pytest.mark.parametrize("what", ["open", "replace"])
async def test_a_change_that_can_not_be_written_is_none_in_memory_and_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    pins, call = Pins(tmp_path), getattr(os, what)
    await pins.add(PINS[0])

    def refused(path: str, *arguments: int) -> object:
        if what == "open" and path != str(tmp_path):  # the folder is what there is no descriptor left for
            return call(path, *arguments)
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(os, what, refused)
        with pytest.raises(StorageError):
            await pins.remove(PINS[0])
    assert await on_disk(tmp_path) == pins.all() == PINS[:1]
    assert not open_below(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [PINS_FILE]
