"""Failures at the token server, and of tokens, in the middle of a sync: with a real docker-registry that takes no other ones."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.fault_table import SAID, Ends
from tests.integration.fault_verdicts import check_wait, check_words, limits_for, state_of
from tests.integration.faulty import PASSWORD, USER, Door, build_case, build_small, faulty_yard
from tests.peers.fault_proxy import FaultProxy
from tests.peers.faults import (
    CutHead,
    Drip,
    Fault,
    FlippedByte,
    LostAnswer,
    NetworkGone,
    Portal,
    Redirect,
    Reset,
    Stall,
    Status,
    Truncated,
)
from tests.peers.registry import DockerRegistry
from tests.peers.steps import Step
from tests.peers.token_server import TokenServer
from yarddesk.sync.states import JobState

WAITS, NEEDS_YOU, ARRIVES = Ends.WAITS, Ends.NEEDS_YOU, Ends.ARRIVES

AT_THE_TOKEN_SERVER: list[tuple[Fault, Ends]] = [
    (Reset(), WAITS),
    (LostAnswer(), WAITS),
    (CutHead(), WAITS),
    (NetworkGone(), WAITS),
    (Stall("answer"), WAITS),
    (Stall("body", 40), WAITS),
    (Drip(), ARRIVES),
    (Truncated("matching"), WAITS),
    (Truncated("missing"), WAITS),
    (Truncated("kept"), WAITS),
    (FlippedByte(80), NEEDS_YOU),
    (Redirect(), WAITS),
    (Portal(), WAITS),
    (Status(401, said=SAID), NEEDS_YOU),
    (Status(403, said=SAID), NEEDS_YOU),
    (Status(404, said=SAID), NEEDS_YOU),
    (Status(429, said=SAID, retry_after="7"), WAITS),
    (Status(500, "plain", said=SAID), WAITS),
    (Status(502, "html"), WAITS),
    (Status(503, said=SAID, retry_after="11"), WAITS),
]


@pytest.fixture(scope="module")
def doors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    """The proxy stands before the registry and before its token server."""
    folder = tmp_path_factory.mktemp("token door")
    tokens = TokenServer(folder / "tokens", users={USER: PASSWORD})
    tokens.start()
    try:
        with FaultProxy(token_target=tokens.host) as proxy:
            realm = f"{proxy.url}/token"
            registry = DockerRegistry(folder / "registry", token=dataclasses.replace(tokens.auth, realm=realm))
            registry.start()
            proxy.target = registry.host
            try:
                yield Door(registry, proxy)
            finally:
                registry.stop()
    finally:
        tokens.stop()


@pytest.mark.parametrize(("fault", "ends"), AT_THE_TOKEN_SERVER, ids=lambda value: getattr(value, "title", None))
async def test_a_fault_at_the_token_server(tmp_path: Path, door: Door, fault: Fault, ends: Ends) -> None:
    repository = f"token/{fault.title}"
    image = build_small(repository)
    async with faulty_yard(tmp_path / "data", door.proxy.host, limits_for(fault)) as yard:
        injection = door.proxy.inject(Step.TOKEN, fault, times=float("inf"))
        await yard.push(image, repository)
        part = await yard.settled_by(injection)
        assert state_of(part) is ends, part
        if part is not None:
            check_wait(yard, part, fault)
            if not (isinstance(fault, Status) and fault.status == 404):
                check_words(part, Step.TOKEN, fault)
            assert PASSWORD not in part.reason
        door.proxy.heal()
        if isinstance(fault, NetworkGone):
            door.proxy.come_back()
        if ends is NEEDS_YOU:
            await yard.retry()
        await yard.arrived()
        assert door.holds(repository, "v1", image)
        assert [entry.outcome for entry in yard.outcomes()] == [JobState.DONE]
    assert [each for each in door.proxy.strays if "authorization" in each.headers] == []


async def test_a_realm_at_a_foreign_host_gets_neither_password_nor_request_with_one(tmp_path: Path, door: Door) -> None:
    image = build_small("foreign realm")
    challenge = f'Bearer realm="{door.proxy.canary}/token",service="x"'
    async with faulty_yard(tmp_path / "data", door.proxy.host) as yard:
        door.proxy.inject(Step.TAG_HEAD, Status(401, said=SAID, challenge=challenge), times=float("inf"))
        await yard.push(image, "token/realm")
        part = await yard.settled()
        assert part is not None
        assert part.state is JobState.WAITING
        assert door.proxy.canary in part.reason
        door.proxy.heal()
        await yard.arrived()
    assert door.proxy.strays == []
    assert door.holds("token/realm", "v1", image)


@pytest.mark.parametrize(
    "step",
    [
        Step.TAG_HEAD,
        Step.MANIFEST_HEAD,
        Step.BLOB_HEAD,
        Step.START,
        Step.PATCH,
        Step.CLOSE,
        Step.PUT_BLOB,
        Step.MANIFEST_PUT,
        Step.TAG_PUT,
        Step.READ_BACK,
    ],
)
async def test_a_token_that_is_over_at_any_step_is_renewed_and_nothing_begins_again(
    tmp_path: Path, door: Door, step: Step
) -> None:
    repository = f"renewed/{step.value.replace(' ', '-')}"
    image = build_case(repository)
    challenge = f'Bearer realm="{door.proxy.url}/token",service="test registry"'
    async with faulty_yard(tmp_path / "data", door.proxy.host) as yard:
        door.proxy.inject(step, Status(401, said=SAID, challenge=challenge))
        await yard.push(image, repository)
        assert await yard.settled() is None
        assert [(entry.outcome, entry.tries) for entry in yard.outcomes()] == [(JobState.DONE, 1)]
    assert door.holds(repository, "v1", image)
    uploads = door.passed(repository, Step.START)
    assert len(uploads) == len(image.blobs) + (step is Step.START)
    sent = sum(each.bytes_sent for each in door.passed(repository, Step.PATCH))
    large = max(len(blob.content) for blob in image.blobs)
    assert sent == large * (2 if step is Step.PATCH else 1)
