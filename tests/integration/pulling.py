"""A registry that pulls through upstreams which a test breaks, and a client that says exactly what it got."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from tests.integration.fault_verdicts import limits_for
from tests.integration.faulty import PASSWORD, USER
from tests.peers.fault_proxy import FaultProxy
from tests.peers.faults import Fault
from tests.peers.registry import DockerRegistry
from tests.support.clocks import HandClock
from tests.support.images import Content, Image
from tests.support.lonely_registry import Pushes
from tests.support.raw_http import RawAnswer, request
from tests.support.upstreams import GivenCredentials, credential, settings_for
from tests.support.waiting import until_async
from yarddesk.cache.pull_through import CachedPulls
from yarddesk.events import EventBus
from yarddesk.oci.digest import Digest
from yarddesk.oci.name import RepositoryName
from yarddesk.registry.app import RegistryApp
from yarddesk.registry.guard import Guard
from yarddesk.registry.server import EmbeddedServer
from yarddesk.settings.model import Settings
from yarddesk.storage.filesystem import FilesystemStore
from yarddesk.upstream.client import RegistryClient
from yarddesk.upstream.proxies import Proxies
from yarddesk.upstream.routes import UpstreamRoutes

REPOSITORY = RepositoryName.parse("team/app")


@dataclass(frozen=True)
class Seen:
    """What a client got. complete: as many bytes as were announced."""

    status: int
    headers: dict[str, str]
    body: bytes
    complete: bool

    @property
    def words(self) -> str:
        return json.loads(self.body)["errors"][0]["message"] if self.complete else ""


@dataclass
class Upstreams:
    """A registry that has the images, and the ways to it: the first through a proxy that breaks what a test says."""

    registry: DockerRegistry
    proxy: FaultProxy
    behind: FaultProxy

    def put(self, image: Image, tag: str = "v1") -> None:
        self.registry.push(REPOSITORY, tag, image)


@dataclass
class Pulling:
    port: int
    folder: Path
    clock: HandClock
    pulls: CachedPulls

    async def get(self, path: str, *headers: str, method: str = "GET") -> Seen:
        """One request; time goes by for whoever waits for the clock meanwhile."""
        sent = request(
            f"/v2/{REPOSITORY}/{path}".encode(), *(each.encode() for each in headers), method=method.encode()
        )
        task = asyncio.create_task(_exchange(self.port, sent))
        while not task.done():
            await asyncio.wait([task], timeout=0.01)
            self.clock.advance(min(self.clock.next_alarm or 0.0, 1.0))
        answer = RawAnswer.parse(await task)
        if answer is None:
            return Seen(0, {}, b"", complete=False)  # not even that came before the connection was cut
        announced = int(answer.headers.get("content-length", "-1"))
        body = b"" if method == "HEAD" else answer.rest
        return Seen(answer.status, answer.headers, body, method == "HEAD" or len(body) == announced)

    async def blob(self, content: Content, *headers: str) -> Seen:
        return await self.get(f"blobs/{content.digest}", *headers)

    async def manifest(self, reference: str = "v1", method: str = "GET") -> Seen:
        return await self.get(f"manifests/{reference}", method=method)

    async def time_goes_by(self, seconds: float = 301) -> None:
        """Past the tags' lifetime, and until no upstream is left alone any more."""
        for name in ("first", "second"):
            while self.pulls.health(name).state != "ok":
                self.clock.advance(self.clock.next_alarm or 1.0)
                await asyncio.sleep(0.001)
        self.clock.advance(seconds)

    async def is_clean(self) -> None:
        """All that is kept is what its name says, and nothing half is left."""
        for algorithm in ("sha256", "sha512"):
            for file in (self.folder / "blobs" / algorithm).rglob("*"):
                if file.is_file():
                    assert Digest.parse(f"{algorithm}:{file.name}").matches(file.read_bytes())
        for file in (self.folder / "manifests").rglob("_sha256/*"):
            if not file.suffix:
                assert Digest.parse(f"sha256:{file.name}").matches(file.read_bytes())
        await until_async(lambda: not any((self.folder / "uploads").iterdir()), what="uploads/ is empty")


async def _exchange(port: int, sent: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    received = bytearray()
    try:
        writer.write(sent)
        while piece := await reader.read(65536):
            received += piece
    except ConnectionError:
        pass  # what came before is what the client has
    finally:
        writer.close()
    return bytes(received)


@asynccontextmanager
async def pulling(folder: Path, upstreams: Upstreams, fault: Fault, *, two: bool) -> AsyncIterator[Pulling]:
    hosts = [upstreams.proxy.host, *([upstreams.behind.host] if two else [])]
    named = zip(hosts, ("first", "second"), strict=False)
    settings = Settings(
        data_dir=folder,
        upstreams=tuple(settings_for(host, push=False, name=name) for host, name in named),
        check_timeout=timedelta(seconds=30),
    )
    credentials = GivenCredentials({host: credential(USER, PASSWORD) for host in hosts})

    def client(upstream: Any, store: Any) -> RegistryClient:
        limits = limits_for(fault, 1.0) if upstream.name == "first" else None
        return RegistryClient(upstream, store, timeouts=limits, proxies=Proxies({}))

    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(FilesystemStore.open(folder))
        routes = UpstreamRoutes(
            settings.upstreams, credentials, check_timeout=settings.check_timeout, make_client=client
        )
        stack.push_async_callback(routes.aclose)
        clock = HandClock()
        pulls = CachedPulls(
            store=store,
            routes=routes,
            settings=settings,
            events=EventBus(),
            is_queued=lambda *_: False,
            clock=clock,
        )
        await stack.enter_async_context(pulls)
        server = EmbeddedServer(Guard(RegistryApp(store, pulls, Pushes())), port=0)
        await stack.enter_async_context(server)
        yield Pulling(int(server.address.rpartition(":")[2]), folder, clock, pulls)
