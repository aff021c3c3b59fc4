"""A world of upstreams and a yard in it, where nobody is about to name what was sent or asked for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.bounded_yard import BoundedYard, World, bounded_yard, nobody_waits


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    nobody_waits(monkeypatch)
    return World(tmp_path)


@pytest.fixture
async def yard(world: World) -> AsyncIterator[BoundedYard]:
    async with bounded_yard(world.folder, world.queue, world.routes) as yard:
        yield yard
