"""A registry over real sockets, on each kind of store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest

from tests.support.lonely_registry import Pushes, lonely_registry
from yarddesk.content.store import Store
from yarddesk.registry.server import EmbeddedServer
from yarddesk.storage.filesystem import FilesystemStore
from yarddesk.storage.memory import MemoryStore


@pytest.fixture(params=["memory", "filesystem"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    async with AsyncExitStack() as stack:
        if request.param == "memory":
            yield MemoryStore()
        else:
            yield await stack.enter_async_context(FilesystemStore.open(tmp_path / "data"))


@pytest.fixture
def pushes() -> Pushes:
    return Pushes()


@pytest.fixture
async def server(store: Store, pushes: Pushes) -> AsyncIterator[EmbeddedServer]:
    async with EmbeddedServer(lonely_registry(store, pushes), port=0) as running:
        yield running


@pytest.fixture
async def client(server: EmbeddedServer) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=server.address, trust_env=False, verify=False, timeout=20) as http:
        yield http
