"""Each failure at each step of a sync, with a real docker-registry behind a proxy that makes them: nothing is lost, nothing is
sent twice without need, the state and its words are right, no credential gets to a foreign host, and it arrives in the end."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.integration.fault_table import (
    ANSWERED,
    CASES,
    FAULTS,
    SAID,
    STEPS,
    TOLD_BY,
    WORDLESS,
    Case,
    Ends,
    impossible,
)
from tests.integration.fault_verdicts import check_wait, check_words, limits_for, state_of
from tests.integration.faulty import Door, FaultyYard, build_case, build_small, faulty_yard
from tests.peers.faults import Fault, FlippedByte, Held, LostAnswer, NetworkGone, Reply, Reset, Status
from tests.peers.http_wire import Head
from tests.peers.steps import Step
from tests.support.images import Graph
from tests.support.waiting import until_async
from yarddesk.sync.states import JobState


def test_what_is_impossible_is_so_for_a_reason() -> None:
    assert len(CASES) > len(STEPS) * len(FAULTS) / 2
    for step in (*STEPS, *ANSWERED):
        reasons = {impossible(step, fault) for fault in FAULTS}
        assert "" in reasons
        assert not impossible(step, Status(500))
        assert not impossible(step, Reset())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.title)
async def test_a_fault_while_it_lasts_and_after_it(tmp_path: Path, door: Door, case: Case) -> None:
    repository = f"faults/{case.title}"
    async with faulty_yard(tmp_path / "data", door.proxy.host, limits_for(case.fault)) as yard:
        image = await prepared(yard, repository, case.step)
        injection = door.proxy.inject(case.step, case.fault, times=float("inf"))
        if case.step in TOLD_BY and isinstance(case.fault, Status) and case.fault.status not in WORDLESS:
            door.proxy.inject(TOLD_BY[case.step], case.fault, times=float("inf"))
        await yard.push(image, repository)
        part = await yard.settled_by(injection)
        ends = state_of(part)
        assert ends in case.ends, part
        if part is not None:
            check_words(part, case.step, case.fault)
            check_wait(yard, part, case.fault)
            # A tag names an image there only once all of it is there.
            assert case.step in (Step.TAG_PUT, Step.READ_BACK) or not door.registry.tagged(repository, "v1")
        door.proxy.heal()
        if isinstance(case.fault, NetworkGone):
            door.proxy.come_back()
        if ends is Ends.NEEDS_YOU:
            assert yard.outcomes() == []
            await yard.retry()
        await yard.arrived()
        assert door.holds(repository, "v1", image)
        assert await yard.holds(image, repository)
        assert [entry.outcome for entry in yard.outcomes()] == [JobState.DONE]
    check_doubles(door, repository, case)
    assert [stray.headers for stray in door.proxy.strays if "authorization" in stray.headers] == []
    if isinstance(case.fault, Status):
        assert door.registry.uploads_left(repository) == []


@pytest.mark.parametrize("step", [Step.MANIFEST_PUT, Step.TAG_PUT])
async def test_a_manifest_that_is_another_one_on_arrival_is_not_taken_for_ours(
    tmp_path: Path, door: Door, step: Step
) -> None:
    repository = f"changed/{step.value.replace(' ', '-')}"
    image = build_small(repository)
    async with faulty_yard(tmp_path / "data", door.proxy.host) as yard:
        # Still a manifest, and one that any registry takes: by tag it even does.
        at = image.manifest.content.index(b"a note")
        door.proxy.inject(step, FlippedByte(at, of="request"), times=2)
        await yard.push(image, repository)
        part = await yard.settled()
        assert part is not None
        assert part.state is JobState.WAITING
        assert "than was sent" in part.reason or "than were sent" in part.reason
        door.proxy.heal()
        await yard.arrived()
        assert door.holds(repository, "v1", image)
        assert [entry.outcome for entry in yard.outcomes()] == [JobState.DONE]


@pytest.mark.parametrize("at", [1, 2, 3])
@pytest.mark.parametrize("fault", [LostAnswer(), Status(500, said=SAID)], ids=lambda fault: fault.title)
async def test_platforms_and_their_index_go_up_in_order_whichever_of_them_fails(
    tmp_path: Path, door: Door, at: int, fault: Fault
) -> None:
    repository = f"order/{at}-{fault.title}"
    image = build_case(repository)
    async with faulty_yard(tmp_path / "data", door.proxy.host) as yard:
        injection = door.proxy.inject(Step.MANIFEST_PUT, fault, at=at, times=2)
        await yard.push(image, repository)
        part = await yard.settled()
        assert injection.hits
        # A lost answer of each platform is made good by asking again.
        assert part is not None or isinstance(fault, LostAnswer)
        if part is not None:
            check_words(part, Step.MANIFEST_PUT, fault)
            assert not door.registry.tagged(repository, "v1")
        door.proxy.heal()
        await yard.arrived()
    assert door.holds(repository, "v1", image)
    puts = [each.path.rpartition("/")[2] for each in door.passed(repository, Step.MANIFEST_PUT) if each.status == 201]
    *platforms, index = [puts.index(each.digest) for each in image.manifests]
    assert max(platforms) < index


@pytest.mark.parametrize(
    "step",
    [Step.TAG_HEAD, Step.MANIFEST_HEAD, Step.BLOB_HEAD, Step.START, Step.MANIFEST_PUT, Step.TAG_PUT, Step.READ_BACK],
)
@pytest.mark.parametrize("fault", [Reset(), LostAnswer()], ids=lambda fault: fault.title)
async def test_one_break_of_a_request_that_can_be_repeated_is_not_even_noticed(
    tmp_path: Path, door: Door, step: Step, fault: Fault
) -> None:
    repository = f"once/{step.value.replace(' ', '-')}-{fault.title}"
    image = build_small(repository)
    async with faulty_yard(tmp_path / "data", door.proxy.host) as yard:
        door.proxy.inject(step, fault)
        await yard.push(image, repository)
        assert await yard.settled() is None
        assert [(entry.outcome, entry.tries) for entry in yard.outcomes()] == [(JobState.DONE, 1)]
    assert door.holds(repository, "v1", image)


@dataclass(frozen=True)
class RefusedMount(Fault):
    """The mount begins an upload instead, as registries do that can't mount, and that one is said to be at a foreign host."""

    async def reply(self, request: Head, canary: str) -> Reply | None:
        return Reply(Head("HTTP/1.1 202 Accepted", [("Location", f"{canary}/v2/stolen/blobs/uploads/1?_state=x")]))


async def test_an_upload_in_place_of_a_mount_is_not_ended_at_a_foreign_host_with_credentials(
    tmp_path: Path, door: Door
) -> None:
    repository = "mounts/foreign"
    async with faulty_yard(tmp_path / "data", door.proxy.host) as yard:
        image = await prepared(yard, repository, Step.MOUNT)
        injection = door.proxy.inject(Step.MOUNT, RefusedMount(), times=float("inf"))
        await yard.push(image, repository)
        assert await yard.settled() is None
        assert injection.hits
    assert [stray.headers for stray in door.proxy.strays if "authorization" in stray.headers] == []
    assert door.holds(repository, "v1", image)


async def test_what_a_platform_sends_while_its_index_comes_is_not_sent_again(tmp_path: Path, door: Door) -> None:
    """The index asks for a layer that its platform's own job is about to finish; the answer, “no”, comes when it's there."""
    repository, proxy = "platforms/late", door.proxy
    image = build_case(repository)
    layer, patch, heads = image.images[0].layers[0], Held(), Held()

    def answers(*steps: Step) -> list[int]:
        return [each.status for each in door.passed(repository, *steps) if layer.digest[7:] in each.path]

    async with faulty_yard(tmp_path / "data", door.proxy.host) as yard:
        proxy.inject(Step.PATCH, patch)
        await yard.push(image, repository, only=image.manifests[:1])
        await until_async(lambda: door.passed(repository, Step.PATCH), what="the layer is on its way")
        proxy.inject(Step.BLOB_HEAD, heads, times=float("inf"))
        await yard.push(image, repository, only=image.manifests[1:])
        await until_async(lambda: answers(Step.BLOB_HEAD) == [404, 404], what="the index asked for the layer")
        patch.until.set()
        await until_async(lambda: answers(Step.CLOSE) == [201], what="the layer is there")
        heads.until.set()
        await yard.arrived()
    taken = Counter(each.path.rpartition("digest=")[2] for each in door.passed(repository, Step.CLOSE, Step.PUT_BLOB))
    assert sorted(taken.values()) == [1] * len(image.blobs), taken
    assert door.holds(repository, "v1", image)


async def prepared(yard: FaultyYard, repository: str, step: Step) -> Graph:
    """The image to push; what must be upstream before, for the step to be taken, is."""
    if step in (Step.PATCH, Step.CLOSE):
        return build_case(repository)
    if step is Step.MANIFEST_PUT:
        return build_small(repository)
    if step is Step.MOUNT:
        await yard.push(build_small(repository), f"{repository}-base", "v0")
        await yard.arrived()
    if step is Step.BLOB_PROBE:
        await yard.push(build_small(repository, config="older"), repository, "v0")
        await yard.arrived()
    return build_small(repository)


def check_doubles(door: Door, repository: str, case: Case) -> None:
    """Each blob was taken once; twice only where the registry denied to have it."""
    taken = Counter(
        each.path.rpartition("digest=")[2]
        for each in door.passed(repository, Step.CLOSE, Step.PUT_BLOB)
        if each.status == 201
    )
    denied = case.step in (Step.MANIFEST_PUT, Step.TAG_PUT, Step.READ_BACK, Step.BLOB_PROBE)
    assert max(taken.values(), default=0) <= (3 if denied else 1), taken
    if not denied:
        tags = [each for each in door.passed(repository, Step.TAG_PUT) if each.status == 201 and "/v1" in each.path]
        assert len(tags) == 1
