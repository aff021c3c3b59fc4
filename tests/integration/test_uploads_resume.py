"""Layers whose connection breaks on the way: they go on where the registry keeps what came, and begin again where it doesn't."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from tests.peers.fault_proxy import FaultProxy
from tests.peers.faults import CutRequest, LostAnswer, NetworkGone, Status
from tests.peers.registry import DockerRegistry
from tests.peers.steps import Step
from tests.peers.yarddesk import YarddeskProcess
from tests.support.registry_client import RegistryClient
from tests.support.upstreams import blob, opened_upstream, source_of
from yarddesk.content.upstream import UpstreamAway, UpstreamBroken
from yarddesk.upstream import ladder
from yarddesk.upstream.target import RegistryRepository

pytestmark = pytest.mark.xdist_group("uploads that resume")

SIZE = 20_000_000
LAYER = random.Random(11).randbytes(SIZE)
CUTS = pytest.mark.parametrize(
    "cut", [SIZE // 100, SIZE // 2, SIZE * 99 // 100, SIZE - 1], ids=["1 %", "50 %", "99 %", "last"]
)


@pytest.fixture(scope="module")
def docker_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerRegistry]:
    registry = DockerRegistry(tmp_path_factory.mktemp("registry"))
    registry.start()
    yield registry
    registry.stop()


@asynccontextmanager
async def behind(
    peer: YarddeskProcess | DockerRegistry, name: str
) -> AsyncIterator[tuple[FaultProxy, RegistryRepository]]:
    host = peer.registry if isinstance(peer, YarddeskProcess) else peer.host
    with FaultProxy(host) as proxy:
        async with opened_upstream(proxy.host, repository=name) as repository:
            yield proxy, repository


def sent(proxy: FaultProxy) -> int:
    return sum(each.bytes_sent for each in proxy.of(Step.PATCH, Step.PUT_BLOB))


def content_of(cut: int, salt: str) -> bytes:
    """Of its own for each test: what is there already would be no upload."""
    return f"{salt} {cut:012}".encode().ljust(64) + LAYER[64:]


def check(peer: RegistryClient, name: str, content: bytes) -> None:
    assert peer.blob(name, blob(content).digest) == content


@CUTS
async def test_a_cut_upload_goes_on_where_it_was(yarddesk: YarddeskProcess, cut: int) -> None:
    content = content_of(cut, "cut")
    async with behind(yarddesk, "resumed/app") as (proxy, repository):
        proxy.inject(Step.PATCH, CutRequest(cut, orderly=True))
        opened: list[int] = []
        await repository.push(blob(content), source_of(content, opened=opened))
        check(yarddesk, "resumed/app", content)
        assert len(proxy.of(Step.START)) == 1, "it's the same upload"
        assert sent(proxy) < 1.1 * SIZE
        if cut > SIZE // 10:
            assert opened[1] > cut - 4_000_000, "and what was hashed before is not read again"


@CUTS
async def test_what_a_reset_leaves_is_gone_on_with(yarddesk: YarddeskProcess, cut: int) -> None:
    content = content_of(cut, "reset")
    async with behind(yarddesk, "resumed/app") as (proxy, repository):
        proxy.inject(Step.PATCH, CutRequest(cut))
        await repository.push(blob(content), source_of(content))
        check(yarddesk, "resumed/app", content)
        # What the two sockets held when the reset came is lost to both sides.
        assert sent(proxy) < 1.5 * SIZE


async def test_many_cuts_are_borne_with_as_long_as_it_gets_on(yarddesk: YarddeskProcess) -> None:
    content = content_of(0, "many cuts")
    async with behind(yarddesk, "resumed/app") as (proxy, repository):
        proxy.inject(Step.PATCH, CutRequest(3_000_000, orderly=True), times=6)
        await repository.push(blob(content), source_of(content))
        check(yarddesk, "resumed/app", content)
        assert len(proxy.of(Step.START)) == 1
        assert sent(proxy) < 1.5 * SIZE


@pytest.mark.parametrize("step", [Step.PATCH, Step.CLOSE])
async def test_an_answer_that_is_lost_costs_nothing(yarddesk: YarddeskProcess, step: Step) -> None:
    content = content_of(1, f"lost answer of {step}")
    async with behind(yarddesk, "resumed/app") as (proxy, repository):
        proxy.inject(step, LostAnswer())
        await repository.push(blob(content), source_of(content))
        check(yarddesk, "resumed/app", content)
        assert sent(proxy) == SIZE


async def test_when_the_network_is_back_the_next_try_goes_on(yarddesk: YarddeskProcess) -> None:
    content = content_of(2, "network")
    async with behind(yarddesk, "resumed/app") as (proxy, repository):
        proxy.inject(Step.PATCH, CutRequest(SIZE // 2, orderly=True))
        proxy.inject(Step.STATUS, NetworkGone())
        with pytest.raises((UpstreamAway, UpstreamBroken)):
            await repository.push(blob(content), source_of(content))
        proxy.come_back()
        await repository.push(blob(content), source_of(content))
        check(yarddesk, "resumed/app", content)
        assert len(proxy.of(Step.START)) == 1
        assert sent(proxy) < 1.1 * SIZE


async def test_a_time_limit_of_a_gateway_makes_smaller_pieces(yarddesk: YarddeskProcess) -> None:
    content = content_of(3, "gateway")
    async with behind(yarddesk, "resumed/app") as (proxy, repository):
        proxy.inject(Step.PATCH, Status(504, "html"))
        await repository.push(blob(content), source_of(content))
        check(yarddesk, "resumed/app", content)
        assert [each.bytes_sent for each in proxy.of(Step.PATCH)][1:] == [SIZE // 2, SIZE // 2]


@CUTS
async def test_docker_registry_forgets_and_gets_it_anew(docker_registry: DockerRegistry, cut: int) -> None:
    content = content_of(cut, "cut")
    async with behind(docker_registry, "again/app") as (proxy, repository):
        proxy.inject(Step.PATCH, CutRequest(cut))
        await repository.push(blob(content), source_of(content))
        check(docker_registry, "again/app", content)
        assert len(proxy.of(Step.START)) == 2
        assert sent(proxy) <= cut + SIZE + 1_000_000


@pytest.mark.parametrize("step", [Step.PATCH, Step.CLOSE])
async def test_docker_registry_is_asked_before_a_layer_goes_twice(docker_registry: DockerRegistry, step: Step) -> None:
    content = content_of(1, f"lost answer of {step}")
    async with behind(docker_registry, "again/app") as (proxy, repository):
        proxy.inject(step, LostAnswer())
        await repository.push(blob(content), source_of(content))
        check(docker_registry, "again/app", content)
        assert sent(proxy) == (SIZE if step is Step.CLOSE else 2 * SIZE)


async def test_a_break_that_comes_every_time_is_left_to_the_worker(docker_registry: DockerRegistry) -> None:
    content = content_of(4, "for ever")
    async with behind(docker_registry, "again/app") as (proxy, repository):
        proxy.inject(Step.PATCH, CutRequest(SIZE // 2), times=float("inf"))
        with pytest.raises(UpstreamBroken):
            await repository.push(blob(content), source_of(content))
        assert len(proxy.of(Step.PATCH)) == 3
        proxy.heal()
        await repository.push(blob(content), source_of(content))
        check(docker_registry, "again/app", content)


@pytest.mark.parametrize("name", ["yarddesk", "docker_registry"])
async def test_a_large_layer_lets_others_have_their_turn(
    name: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    peer: YarddeskProcess | DockerRegistry = request.getfixturevalue(name)
    monkeypatch.setattr(ladder, "TURN_BYTES", SIZE // 5)
    content = content_of(5, "turns")
    turns: list[int] = []

    async def turn() -> None:
        turns.append(sent(proxy))
        # A connection that stood still for long is one that is gone.
        proxy.go_away()
        proxy.come_back()

    async with behind(peer, "turns/app") as (proxy, repository):
        await repository.push(blob(content), source_of(content), turn=turn)
        check(peer, "turns/app", content)
        assert turns == [SIZE // 5 * number for number in range(1, 5)]
        assert sent(proxy) == SIZE
