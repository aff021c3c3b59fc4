"""Every implementation of the Store protocol, one after the other."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from yarddesk.content.store import Store
from yarddesk.storage.filesystem import FilesystemStore
from yarddesk.storage.memory import MemoryStore


@pytest.fixture(params=["memory", "filesystem"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    """An empty store."""
    if request.param == "memory":
        yield MemoryStore()
    else:
        async with FilesystemStore.open(tmp_path / "data") as filesystem_store:
            yield filesystem_store
