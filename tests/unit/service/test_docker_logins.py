"""A change of Docker's config.json, noticed."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from tests.support.waiting import until_async
from yarddesk.errors import YarddeskError
from yarddesk.service.docker_logins import DockerLogins


@asynccontextmanager
async def watched(file: Path, waiting: Callable[[], list[str]]) -> AsyncIterator[list[str]]:
    """The registries that were tried again."""
    told: list[str] = []

    async def changed(registry: str) -> None:
        told.append(registry)
        if registry == "fails.corp":
            raise YarddeskError("The disk is full.")

    looks = 0

    def state_of() -> list[str]:
        nonlocal looks
        looks += 1
        return waiting()

    stop = asyncio.Event()
    task = asyncio.create_task(DockerLogins(file, state_of, changed, look_seconds=0.01).watch(stop))
    try:
        yield told
    finally:
        stop.set()
        await asyncio.wait_for(task, 5)
        assert looks <= len(told) + 3, "the queue is not looked at while the file stays as it is"


def write(file: Path, registry: str) -> None:
    """As Docker does: another file takes its place."""
    new = file.with_suffix(".new")
    new.write_text(json.dumps({"auths": {registry: {"auth": "Y2k6c2VjcmV0"}}}), encoding="utf-8")
    os.replace(new, file)


async def test_who_waits_for_credentials_is_tried_when_the_file_comes_changes_or_goes(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    async with watched(file, lambda: ["b.corp", "a.corp", "a.corp"]) as told:
        for change in (lambda: write(file, "a.corp"), lambda: write(file, "a.corp"), file.unlink):
            told.clear()
            change()
            await until_async(lambda: told == ["a.corp", "b.corp"])


async def test_one_that_can_not_be_tried_holds_up_no_other(tmp_path: Path) -> None:
    async with watched(tmp_path / "config.json", lambda: ["fails.corp", "other.corp"]) as told:
        write(tmp_path / "config.json", "x")
        await until_async(lambda: told == ["fails.corp", "other.corp"])
        write(tmp_path / "config.json", "y")
        await until_async(lambda: len(told) == 4)


async def test_nobody_who_waits_is_nobody_who_is_told(tmp_path: Path) -> None:
    waiting: list[str] = []
    looked = asyncio.Event()

    def ask() -> list[str]:
        looked.set()
        return waiting

    async with watched(tmp_path / "config.json", ask) as told:
        write(tmp_path / "config.json", "x")
        await asyncio.wait_for(looked.wait(), 5)
        assert told == []
