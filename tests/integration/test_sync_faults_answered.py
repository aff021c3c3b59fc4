"""The failures at what is only asked where something else was answered in a certain way: the GET in the place of a HEAD that was
refused or told too little, the words for one that was refused, and the end of an upload that nobody needs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.fault_table import ANSWERED, FAULTS, SAID, Case, Ends, impossible
from tests.integration.fault_verdicts import check_wait, check_words, limits_for, state_of
from tests.integration.faulty import Door, FaultyYard, build_small, faulty_yard
from tests.peers.fault_proxy import Injection
from tests.peers.faults import Bare, FlippedByte, NetworkGone, Status
from tests.peers.registry import DockerRegistry
from tests.peers.steps import Step
from tests.support.images import Image
from tests.support.waiting import until_async
from yarddesk.sync.snapshot import UpstreamPart
from yarddesk.sync.states import JobState

CASES = [Case(step, fault) for step in ANSWERED for fault in FAULTS if not impossible(step, fault)]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.title)
async def test_a_fault_while_it_lasts_and_after_it(tmp_path: Path, door: Door, case: Case) -> None:
    repository = f"answered/{case.title}"
    image = build_small(repository)
    tag = image.manifest.digest if case.step is Step.MANIFEST_GET else "v1"
    async with faulty_yard(tmp_path / "data", door.proxy.host, limits_for(case.fault)) as yard:
        injection = await led_to(yard, door, repository, image, case)
        await yard.push(image, repository, "" if tag != "v1" else tag)
        part = await settled(yard, injection, case, tag)
        assert state_of(part) in case.ends, part
        if part is not None:
            check(yard, part, case)
            assert case.step is Step.MANIFEST_GET or door.registry.tagged(repository, "v1") != image.manifest.digest
        door.proxy.heal()
        if isinstance(case.fault, NetworkGone):
            door.proxy.come_back()
        if state_of(part) is Ends.NEEDS_YOU:
            assert yard.outcomes(tag) == []
            await yard.retry()
        await yard.arrived()
        assert [entry.outcome for entry in yard.outcomes(tag)] == [JobState.DONE]
    assert door.registry.kept(image.manifest.digest) == image.manifest.content
    assert all(door.registry.has_linked(repository, blob.digest) for blob in image.blobs)
    assert tag != "v1" or door.registry.tagged(repository, "v1") == image.manifest.digest
    assert [stray.headers for stray in door.proxy.strays if "authorization" in stray.headers] == []
    if case.step is not Step.CANCEL:
        assert door.registry.uploads_left(repository) == []


@pytest.mark.parametrize("step", [Step.TAG_GET, Step.MANIFEST_GET])
async def test_a_manifest_that_is_another_one_on_arrival_is_not_taken_for_what_is_there(
    tmp_path: Path, door: Door, step: Step
) -> None:
    repository = f"answered/changed-{step.value.replace(' ', '-')}"
    image = build_small(repository)
    tag = image.manifest.digest if step is Step.MANIFEST_GET else "v1"
    async with faulty_yard(tmp_path / "data", door.proxy.host) as yard:
        # Still a manifest.
        at = image.manifest.content.index(b"a note")
        injection = await led_to(yard, door, repository, image, Case(step, FlippedByte(at)))
        await yard.push(image, repository, "" if tag != "v1" else tag)
        part = await yard.settled_by(injection, tag)
        assert part is not None
        assert part.state is JobState.WAITING
        assert "are other ones" in part.reason
        door.proxy.heal()
        await yard.arrived()
        assert [entry.outcome for entry in yard.outcomes(tag)] == [JobState.DONE]


async def led_to(yard: FaultyYard, door: Door, repository: str, image: Image, case: Case) -> Injection:
    """The step is taken, and meets its fault."""
    proxy, registry, always = door.proxy, door.registry, float("inf")
    assert isinstance(registry, DockerRegistry)
    match case.step:
        case Step.TAG_GET:
            registry.push(repository, "v1", build_small(repository, config="older"))
            proxy.inject(Step.TAG_HEAD, Bare(), times=always)
        case Step.MANIFEST_GET:
            proxy.inject(Step.MANIFEST_HEAD, Status(405), times=always)
            # The first of them asks what is there before, the second is the read-back.
            return proxy.inject(case.step, case.fault, at=2, times=always)
        case Step.BLOB_GET:
            proxy.inject(Step.BLOB_HEAD, Status(403), times=always)
        case _:
            await yard.push(image, f"{repository}-base", "v0")
            await yard.arrived()
            registry.forget_blobs(f"{repository}-base")
    return proxy.inject(case.step, case.fault, times=always)


async def settled(yard: FaultyYard, injection: Injection, case: Case, tag: str) -> UpstreamPart | None:
    if case.step is Step.CANCEL:
        await until_async(lambda: injection.hits, 30, "an upload in place of a mount is ended")
        return await yard.settled(tag)
    return await yard.settled_by(injection, tag)


def check(yard: FaultyYard, part: UpstreamPart, case: Case) -> None:
    """What is said of the HEAD where that was refused, whatever becomes of the question for its words."""
    if case.step is not Step.BLOB_GET:
        check_words(part, case.step, case.fault)
        check_wait(yard, part, case.fault)
        return
    assert part.needs_credentials
    assert part.registry in part.reason or part.upstream in part.reason
    assert (isinstance(case.fault, Status) and case.fault.status == 403 and SAID in part.reason) or "403" in part.reason
