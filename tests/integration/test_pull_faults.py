"""Each failure of a pull through the cache: who pulls gets the right bytes or an error, never other bytes that end as whole."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.integration.fault_verdicts import limits_for
from tests.integration.faulty import PASSWORD, USER, Door, build_case
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
from tests.support.images import Content
from tests.support.upstreams import GivenCredentials, credential, settings_for
from yarddesk.cache.pull_through import CachedPulls
from yarddesk.errors import YarddeskError
from yarddesk.events import EventBus
from yarddesk.oci.digest import Digest
from yarddesk.oci.name import RepositoryName, Tag
from yarddesk.settings.model import Settings
from yarddesk.storage.filesystem import FilesystemStore
from yarddesk.upstream.client import RegistryClient
from yarddesk.upstream.proxies import Proxies
from yarddesk.upstream.routes import UpstreamRoutes

REPOSITORY = RepositoryName.parse("team/app")
IMAGE = build_case("pulled")
LAYER = IMAGE.images[0].layers[0]

HEALS_ITSELF: list[Fault] = [
    Reset(),
    LostAnswer(),
    CutHead(),
    CutAnswer(0),
    CutAnswer(1_000_000),
    CutAnswer(1_000_000, orderly=True),
    Truncated("kept"),
    Stall("body", 1_000_000),
    Drip(),
]
NEVER_WHOLE: list[Fault] = [
    Truncated("matching"),
    Truncated("missing"),
    FlippedByte(0),
    FlippedByte(len(LAYER.content) - 1),
    Stall("answer"),
    Portal(),
    Redirect(),
    *(Status(status) for status in (401, 403, 404, 429, 500, 502, 503)),
]


@pytest.fixture(scope="module")
def doors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    registry = DockerRegistry(tmp_path_factory.mktemp("registry"), users={USER: PASSWORD})
    registry.start()
    try:
        registry.push(REPOSITORY, "v1", IMAGE)
        with FaultProxy(registry.host) as proxy:
            yield Door(registry, proxy)
    finally:
        registry.stop()


@pytest.fixture
def door(doors: Door) -> Iterator[Door]:
    with doors.cleared():
        yield doors


@asynccontextmanager
async def pulling(folder: Path, door: Door, fault: Fault) -> AsyncIterator[CachedPulls]:
    upstreams = (settings_for(door.proxy.host, push=False),)
    credentials = GivenCredentials({door.proxy.host: credential(USER, PASSWORD)})

    def client(settings: Any, store: Any) -> RegistryClient:
        return RegistryClient(settings, store, timeouts=limits_for(fault, 1.0), proxies=Proxies({}))

    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(FilesystemStore.open(folder))
        routes = UpstreamRoutes(upstreams, credentials, make_client=client)
        stack.push_async_callback(routes.aclose)
        settings = Settings(data_dir=folder, upstreams=upstreams)
        pulls = CachedPulls(
            store=store, routes=routes, settings=settings, events=EventBus(), is_queued=lambda *_: False
        )
        yield await stack.enter_async_context(pulls)


async def pull(pulls: CachedPulls, blob: Content) -> bytes:
    async with pulls.open_blob(REPOSITORY, Digest.parse(blob.digest)) as content:
        return b"".join([piece async for piece in content.read(0, content.size)])


@pytest.mark.parametrize("fault", HEALS_ITSELF, ids=lambda fault: fault.title)
async def test_a_pull_that_breaks_once_goes_on_where_it_was(tmp_path: Path, door: Door, fault: Fault) -> None:
    async with pulling(tmp_path / "data", door, fault) as pulls:
        assert await pulls.fetch_manifest(REPOSITORY, Tag.parse("v1"))
        injection = door.proxy.inject(Step.BLOB_GET, fault)
        assert await pull(pulls, LAYER) == LAYER.content
        assert injection.hits == 1
        received = sum(each.bytes_received for each in door.proxy.of(Step.BLOB_GET))
        # No more than what was on its way when it broke comes twice.
        assert received < len(LAYER.content) * 1.6
        door.registry.stop()
        try:
            assert await pull(pulls, LAYER) == LAYER.content
        finally:
            door.registry.start()


@pytest.mark.parametrize("fault", NEVER_WHOLE, ids=lambda fault: fault.title)
async def test_wrong_bytes_and_refusals_never_end_as_a_whole_layer(tmp_path: Path, door: Door, fault: Fault) -> None:
    folder = tmp_path / "data"
    async with pulling(folder, door, fault) as pulls:
        assert await pulls.fetch_manifest(REPOSITORY, Tag.parse("v1"))
        injection = door.proxy.inject(Step.BLOB_GET, fault, times=float("inf"))
        with pytest.raises(YarddeskError):
            await pull(pulls, LAYER)
        assert injection.hits
        assert not list((folder / "blobs").rglob(LAYER.digest.removeprefix("sha256:")))
        door.proxy.heal()
    # Restarted, so that what was remembered of the failure is not in the way.
    async with pulling(folder, door, fault) as pulls:
        assert await pull(pulls, LAYER) == LAYER.content
    assert [stray for stray in door.proxy.strays if "authorization" in stray.headers] == []


@pytest.mark.parametrize("fault", [FlippedByte(40), WrongDigest(), Truncated("matching"), Portal()], ids=str)
async def test_a_manifest_that_is_not_what_its_digest_says_is_never_served(
    tmp_path: Path, door: Door, fault: Fault
) -> None:
    digest = Digest.parse(IMAGE.images[0].manifest.digest)
    async with pulling(tmp_path / "data", door, fault) as pulls:
        door.proxy.inject(Step.MANIFEST_GET, fault, times=float("inf"))
        try:
            fetched = await pulls.fetch_manifest(REPOSITORY, digest)
        except YarddeskError:
            fetched = None
        assert fetched is None or fetched.manifest.content == IMAGE.images[0].manifest.content
        assert isinstance(fault, WrongDigest) or fetched is None
