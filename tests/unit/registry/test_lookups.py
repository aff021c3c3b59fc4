"""A name server that does not answer is no matter of what lies on the disk, or goes there."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.images import OCI_INDEX, Content
from tests.support.lonely_registry import Pushes
from tests.support.upstreams import GivenCredentials, settings_for
from tests.support.waiting import until_async
from tests.unit.registry.pushing import manifest_without_blobs, push_blob, put_manifest
from yarddesk.cache.pull_through import CachedPulls
from yarddesk.events import EventBus
from yarddesk.registry.app import RegistryApp
from yarddesk.registry.guard import Guard
from yarddesk.registry.server import EmbeddedServer
from yarddesk.settings.model import Settings
from yarddesk.storage.filesystem import FilesystemStore
from yarddesk.upstream.routes import UpstreamRoutes

LOOKUP_THREADS = 2
PULLS = 12


class DeadNameServer:
    """Looks up nothing until it is released, and then finds nothing."""

    def __init__(self) -> None:
        self.asked = 0
        self.released = threading.Event()

    def getaddrinfo(self, *_: Any, **__: Any) -> list[Any]:
        self.asked += 1
        self.released.wait(60)
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Iterator[DeadNameServer]:
    server = DeadNameServer()
    monkeypatch.setattr(socket, "getaddrinfo", server.getaddrinfo)
    yield server
    server.released.set()


@pytest.fixture
async def client(tmp_path: Path, names: DeadNameServer) -> AsyncIterator[httpx.AsyncClient]:
    """A registry whose upstream has a name that nobody can look up now."""
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(LOOKUP_THREADS))
    routes = UpstreamRoutes([settings_for("away.invalid", push=False)], GivenCredentials())
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(FilesystemStore.open(tmp_path))
        stack.push_async_callback(routes.aclose)
        pulls = CachedPulls(
            store=store,
            routes=routes,
            settings=Settings(data_dir=tmp_path),
            events=EventBus(),
            is_queued=lambda _repository, _reference: False,
        )
        await stack.enter_async_context(pulls)
        app = Guard(RegistryApp(store, pulls, Pushes()))
        server = await stack.enter_async_context(EmbeddedServer(app, port=0))
        yield await stack.enter_async_context(
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}", trust_env=False, timeout=20)
        )


async def test_local_pulls_and_pushes_do_not_wait_for_names_to_be_looked_up(
    client: httpx.AsyncClient, names: DeadNameServer
) -> None:
    content = b"layer" * 300_000
    digest = await push_blob(client, "here", content)
    pulls = [asyncio.create_task(client.get(f"/v2/p{number}/x/manifests/v1")) for number in range(PULLS)]
    await until_async(lambda: names.asked == LOOKUP_THREADS)
    async with asyncio.timeout(1):
        assert (await client.get(f"/v2/here/blobs/{digest}")).content == content
    async with asyncio.timeout(1):
        assert (await put_manifest(client, "here", "v1", large_manifest())).status_code == 201
    async with asyncio.timeout(1):
        assert (await client.get(f"/v2/here/manifests/{large_manifest().digest}")).content == large_manifest().content
    assert not any(pull.done() for pull in pulls)
    names.released.set()
    assert {answer.status_code for answer in await asyncio.gather(*pulls)} == {502}


def large_manifest() -> Content:
    """One that is parsed in a thread."""
    document = json.loads(manifest_without_blobs().content)
    return Content(OCI_INDEX, json.dumps(document | {"annotations": {"much": "x" * 600_000}}).encode())
