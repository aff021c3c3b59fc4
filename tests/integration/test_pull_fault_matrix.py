"""Each failure of an upstream at each step of a pull, cold and with an older image here, with one upstream and with another after it.

What a client sees is read from its socket: an answer of as many bytes as it announced is complete, whatever any library makes of it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.integration.fault_verdicts import limits_for
from tests.integration.faulty import PASSWORD, USER
from tests.peers.fault_proxy import FaultProxy
from tests.peers.faults import (
    CutAnswer,
    CutHead,
    Drip,
    Fault,
    FlippedByte,
    LostAnswer,
    Portal,
    Redirect,
    Reset,
    Stall,
    Status,
    Truncated,
    WrongDigest,
)
from tests.peers.registry import DockerRegistry
from tests.peers.steps import Step
from tests.support.clocks import HandClock
from tests.support.images import Content, Image, build_image
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
OLD, NEW = build_image("old", (300_000,)), build_image("new", (300_000,))
LAYER = NEW.layers[0]
SIZE = len(LAYER.content)
ALWAYS = float("inf")
WHOLE = Fault()

REFUSALS: list[Fault] = [
    Reset(),
    CutHead(),
    Portal(),
    Redirect(),
    Status(429, retry_after="30"),
    *(Status(status) for status in (401, 404, 500, 503)),
]
HEADS: list[Fault] = [*REFUSALS, Stall("answer"), WrongDigest()]
DOCUMENTS: list[Fault] = [
    *REFUSALS,
    LostAnswer(),
    CutAnswer(0),
    CutAnswer(200),
    Truncated("matching"),
    Truncated("missing"),
    FlippedByte(0),
    FlippedByte(300),
    WrongDigest(),
]
BLOBS: list[Fault] = [
    *REFUSALS,
    *(CutAnswer(after) for after in (0, SIZE // 2, SIZE - 1)),
    CutAnswer(SIZE // 2, orderly=True),
    Stall("answer"),
    Stall("body", SIZE // 2),
    *(FlippedByte(at) for at in (0, SIZE // 2, SIZE - 1)),
    Truncated("matching"),
    Truncated("missing"),
    Truncated("kept"),
    Drip(),
]


def called(fault: Fault) -> str:
    where = [str(value) for name in ("after", "at", "orderly") if (value := getattr(fault, name, ""))]
    return "-".join([fault.title, *where])


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
    """A registry that has both images, and the ways to it: the first through a proxy that breaks what a test says."""

    registry: DockerRegistry
    proxy: FaultProxy
    behind: FaultProxy

    def put(self, image: Image) -> None:
        self.registry.push(REPOSITORY, "v1", image)


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


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Upstreams]:
    registry = DockerRegistry(tmp_path_factory.mktemp("registry"), users={USER: PASSWORD})
    registry.start()
    try:
        with FaultProxy(registry.host) as proxy, FaultProxy(registry.host) as behind:
            yield Upstreams(registry, proxy, behind)
    finally:
        registry.stop()


@pytest.fixture
def upstreams(running: Upstreams) -> Iterator[Upstreams]:
    running.put(NEW)
    running.proxy.passed.clear()
    running.proxy.strays.clear()
    try:
        yield running
    finally:
        running.proxy.heal()
        running.proxy.go_away()  # what hangs in it ends
        running.proxy.come_back()
    assert not [stray for stray in running.proxy.strays if "authorization" in stray.headers]


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
        limits = limits_for(fault, 1.5) if upstream.name == "first" else None
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


def check_failed(seen: Seen, fault: Fault) -> None:
    """An error in words, that names the upstream; 404 only where it said so."""
    assert seen.status >= 400
    assert "first" in seen.words
    assert seen.status != 404
    if isinstance(fault, Status):
        assert seen.status == {401: 403, 429: 429}.get(fault.status, 502)
    if seen.status == 429:
        assert 0 < int(seen.headers["retry-after"]) <= 30


def is_absence(fault: Fault) -> bool:
    return isinstance(fault, Status) and fault.status == 404


@pytest.mark.parametrize("two", [False, True], ids=["one", "two"])
@pytest.mark.parametrize("fault", DOCUMENTS, ids=called)
async def test_a_tag_that_is_not_here(tmp_path: Path, upstreams: Upstreams, fault: Fault, two: bool) -> None:
    async with pulling(tmp_path / "data", upstreams, fault, two=two) as pull:
        injection = upstreams.proxy.inject(Step.TAG_GET, fault, times=ALWAYS)
        seen = await pull.manifest()
        assert injection.hits
        if two:
            assert (seen.status, seen.body, seen.complete) == (200, NEW.manifest.content, True)
        elif is_absence(fault):
            assert seen.status == 404
        else:
            check_failed(seen, fault)
        await pull.is_clean()
        upstreams.proxy.heal()
        await pull.time_goes_by()
        seen = await pull.manifest()
        assert (seen.body, seen.complete, "warning" in seen.headers) == (NEW.manifest.content, True, False)


@pytest.mark.parametrize("two", [False, True], ids=["one", "two"])
@pytest.mark.parametrize(
    ("step", "fault"),
    [*((Step.TAG_HEAD, fault) for fault in HEADS), *((Step.TAG_GET, fault) for fault in DOCUMENTS)],
    ids=lambda part: part.replace(" ", "-") if isinstance(part, Step) else called(part),
)
async def test_a_tag_that_moved_since(
    tmp_path: Path, upstreams: Upstreams, fault: Fault, step: Step, two: bool
) -> None:
    upstreams.put(OLD)
    async with pulling(tmp_path / "data", upstreams, fault, two=two) as pull:
        assert (await pull.manifest()).body == OLD.manifest.content
        upstreams.put(NEW)
        await pull.time_goes_by()
        injection = upstreams.proxy.inject(step, fault, times=ALWAYS)
        seen = await pull.manifest()
        assert injection.hits
        assert seen.complete
        if seen.status == 200:
            stale = "warning" in seen.headers
            assert seen.body == (OLD if stale else NEW).manifest.content
            assert stale or two or isinstance(fault, WrongDigest)
        else:
            assert is_absence(fault)
            assert not two
        await pull.is_clean()
        upstreams.proxy.heal()
        await pull.time_goes_by()
        seen = await pull.manifest()
        assert (seen.body, "warning" in seen.headers) == (NEW.manifest.content, False)


@pytest.mark.parametrize("two", [False, True], ids=["one", "two"])
@pytest.mark.parametrize("fault", DOCUMENTS, ids=called)
async def test_a_manifest_by_its_digest(tmp_path: Path, upstreams: Upstreams, fault: Fault, two: bool) -> None:
    async with pulling(tmp_path / "data", upstreams, fault, two=two) as pull:
        injection = upstreams.proxy.inject(Step.MANIFEST_GET, fault, times=ALWAYS)
        head = await pull.manifest(method="HEAD")  # as containerd begins
        assert head.headers["docker-content-digest"] == NEW.manifest.digest
        seen = await pull.manifest(NEW.manifest.digest)
        assert injection.hits
        if two or isinstance(fault, WrongDigest):
            assert (seen.status, seen.body, seen.complete) == (200, NEW.manifest.content, True)
        elif is_absence(fault):
            assert seen.status == 404
        else:
            check_failed(seen, fault)
        await pull.is_clean()
        upstreams.proxy.heal()
        await pull.time_goes_by(30)
        assert (await pull.manifest(NEW.manifest.digest)).body == NEW.manifest.content


PARTS: list[tuple[str, Callable[[bytes], bytes]]] = [
    ("", lambda whole: whole),
    ("Range: bytes=0-1023", lambda whole: whole[:1024]),
    ("Range: bytes=-1000", lambda whole: whole[-1000:]),
    ("Range: bytes=150000-", lambda whole: whole[150_000:]),
]


async def pull_parts(pull: Pulling, fault: Fault = WHOLE, *, must: bool) -> None:
    """Whatever is complete is right, or an error; where it must come, it comes at the second time: bytes that went out can't be
    called back."""
    for asked, part in PARTS[:2] if isinstance(fault, Stall) else PARTS:
        for tries in range(2 if must else 1):
            seen = await pull.blob(LAYER, *([asked] if asked else []))
            if seen.complete and seen.status in (200, 206):
                assert seen.body == part(LAYER.content)
                break
            assert not seen.complete or seen.status >= 400
            assert not must or not tries, f"it did not come: {seen.status} {seen.words}"


@pytest.mark.parametrize("two", [False, True], ids=["one", "two"])
@pytest.mark.parametrize("fault", BLOBS, ids=called)
async def test_a_blob(tmp_path: Path, upstreams: Upstreams, fault: Fault, two: bool) -> None:
    async with pulling(tmp_path / "data", upstreams, fault, two=two) as pull:
        assert (await pull.manifest()).status == 200
        injection = upstreams.proxy.inject(Step.BLOB_GET, fault, times=ALWAYS)
        await pull_parts(pull, fault, must=two)
        assert injection.hits
        await pull.is_clean()
        upstreams.proxy.heal()
        await pull.time_goes_by(700)
        await pull_parts(pull, must=True)
        await pull.is_clean()


@pytest.mark.parametrize("two", [False, True], ids=["one", "two"])
@pytest.mark.parametrize("fault", BLOBS, ids=called)
async def test_a_blob_that_goes_on_after_a_break(tmp_path: Path, upstreams: Upstreams, fault: Fault, two: bool) -> None:
    async with pulling(tmp_path / "data", upstreams, fault, two=two) as pull:
        assert (await pull.manifest()).status == 200
        first = upstreams.proxy.inject(Step.BLOB_GET, CutAnswer(SIZE // 2))
        then = upstreams.proxy.inject(Step.BLOB_GET, fault, times=ALWAYS)
        await pull_parts(pull, fault, must=two)
        assert (first.hits, then.hits > 0) == (1, True)
        await pull.is_clean()
        upstreams.proxy.heal()
        await pull.time_goes_by(700)
        await pull_parts(pull, must=True)
        await pull.is_clean()


@pytest.mark.parametrize("two", [False, True], ids=["one", "two"])
@pytest.mark.parametrize("fault", REFUSALS, ids=called)
async def test_the_size_of_a_blob_whose_manifest_was_not_seen(
    tmp_path: Path, upstreams: Upstreams, fault: Fault, two: bool
) -> None:
    async with pulling(tmp_path / "data", upstreams, fault, two=two) as pull:
        injection = upstreams.proxy.inject(Step.BLOB_HEAD, fault, times=ALWAYS)
        await pull_parts(pull, fault, must=two)
        head = await pull.get(f"blobs/{LAYER.digest}", method="HEAD")
        assert injection.hits
        assert head.headers["content-length"] == str(SIZE) if head.status == 200 else not two
        await pull.is_clean()
