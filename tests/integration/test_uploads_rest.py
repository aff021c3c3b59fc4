"""What a pause stops in the middle of a layer goes on where it was, as far as the registry keeps what came; a cancel ends it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.integration.faulty import FaultyYard, faulty_yard
from tests.peers.fault_proxy import FaultProxy
from tests.peers.registry import DockerRegistry
from tests.peers.steps import Step
from tests.peers.yarddesk import YarddeskProcess
from tests.support.images import Image, build_image
from tests.support.waiting import until_async
from yarddesk.settings.model import SyncSettings
from yarddesk.sync.snapshot import UpstreamPart

pytestmark = pytest.mark.xdist_group("uploads that rest")

SIZE = 5_000_000
BANDWIDTH = SyncSettings(bandwidth=4_000_000)
"""Nothing goes out but when the test lets time go by."""

TARGETS = pytest.mark.parametrize(
    "target", [None, "corp", "team/app:v1", "team/app"], ids=["all", "upstream", "image", "repository"]
)


@asynccontextmanager
async def halfway(
    folder: Path, registry: YarddeskProcess | DockerRegistry, image: Image
) -> AsyncIterator[tuple[FaultProxy, FaultyYard]]:
    """The image's one large layer is on its way, and stands still."""
    host = registry.registry if isinstance(registry, YarddeskProcess) else registry.host
    with FaultProxy(host) as proxy:
        async with faulty_yard(folder, proxy.host, sync=BANDWIDTH) as yard:
            await yard.push(image, "team/app")

            def is_on_its_way() -> bool:
                yard.clock.advance(0.05)
                return part_of(yard).bytes_done > 1_500_000

            await until_async(is_on_its_way, what="the layer is on its way")
            if isinstance(registry, YarddeskProcess):
                await until_async(lambda: kept_bytes(registry) > 1_000_000, what="and there")
            yield proxy, yard


def kept_bytes(registry: YarddeskProcess) -> int:
    return sum(file.stat().st_size for file in (registry.data_dir / "uploads").rglob("*") if file.is_file())


def part_of(yard: FaultyYard) -> UpstreamPart:
    [job] = yard.sync.snapshot().jobs
    return job.parts[0]


async def let_it_arrive(yard: FaultyYard) -> None:
    def is_there() -> bool:
        yard.clock.advance(0.5)
        return not yard.sync.snapshot().jobs

    await until_async(is_there, 20, "it arrives")


def layer_bytes(proxy: FaultProxy) -> int:
    return sum(each.bytes_sent for each in proxy.of(Step.PATCH))


@TARGETS
async def test_what_was_paused_goes_on_where_it_was(
    tmp_path: Path, yarddesk: YarddeskProcess, target: str | None
) -> None:
    image = build_image(f"paused {target}", [SIZE])
    async with halfway(tmp_path, yarddesk, image) as (proxy, yard):
        await yard.sync.pause(target)
        assert part_of(yard).state == "paused"
        await yard.sync.resume(target)
        await let_it_arrive(yard)
        assert len(proxy.of(Step.START)) == 2, "one for the layer, one for the configuration"
        assert layer_bytes(proxy) < 1.1 * SIZE
        assert proxy.of(Step.STATUS)
        assert not proxy.of(Step.CANCEL)
        [entry] = yard.sync.history()
        assert entry.bytes_sent == sum(len(blob.content) for blob in image.blobs)
    assert yarddesk.blob("team/app", image.layers[0].digest) == image.layers[0].content


async def test_what_was_paused_and_then_cancelled_leaves_nothing_there(
    tmp_path: Path, yarddesk: YarddeskProcess
) -> None:
    async with halfway(tmp_path, yarddesk, build_image("cancelled", [SIZE])) as (proxy, yard):
        await yard.sync.pause()
        assert list((yarddesk.data_dir / "uploads").iterdir())
        assert not proxy.of(Step.CANCEL)
        await yard.sync.cancel("team/app:v1")
        await until_async(lambda: proxy.of(Step.CANCEL), what="the session is ended")
        await until_async(lambda: not list((yarddesk.data_dir / "uploads").iterdir()), what="and what it held is gone")


async def test_when_the_network_was_away_it_goes_on_where_it_was(tmp_path: Path, yarddesk: YarddeskProcess) -> None:
    image = build_image("away", [SIZE])
    async with halfway(tmp_path, yarddesk, image) as (proxy, yard):
        proxy.go_away()

        def is_away() -> bool:
            yard.clock.advance(0.5)
            return part_of(yard).state == "waiting"

        await until_async(is_away, 20, "it waits for its upstream")
        assert [health.state for health in yard.sync.snapshot().upstreams] == ["away"]
        proxy.come_back()
        await let_it_arrive(yard)
        assert len(proxy.of(Step.START)) == 2, "one for the layer, one for the configuration"
        assert layer_bytes(proxy) < 1.5 * SIZE, "what the sockets held is lost to both sides"
        assert proxy.of(Step.STATUS)
    assert yarddesk.blob("team/app", image.layers[0].digest) == image.layers[0].content


async def test_a_newer_push_ends_what_it_does_not_need(tmp_path: Path, yarddesk: YarddeskProcess) -> None:
    async with halfway(tmp_path, yarddesk, build_image("older", [SIZE])) as (proxy, yard):
        await yard.sync.pause()
        await yard.push(build_image("newer", [1000]), "team/app")
        await let_it_arrive(yard)
        await until_async(lambda: proxy.of(Step.CANCEL), what="the session is ended")


async def test_where_the_registry_kept_nothing_it_begins_again(tmp_path: Path, docker_registry: DockerRegistry) -> None:
    image = build_image("forgotten", [SIZE])
    async with halfway(tmp_path, docker_registry, image) as (proxy, yard):
        await yard.sync.pause()
        await yard.sync.resume()
        await let_it_arrive(yard)
        assert len(proxy.of(Step.START)) == 3
        assert docker_registry.holds("team/app", "v1", image)
