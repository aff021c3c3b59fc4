"""A network that wants people to log in first, between the sync worker and a real docker-registry."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from tests.integration.faulty import Door, FaultyYard, build_small, faulty_yard
from tests.peers.faults import Fault, Portal
from tests.peers.faults import Reply as AnswerOf
from tests.peers.http_wire import Head
from tests.peers.steps import Step
from tests.support.scripted import Reply, scripted
from tests.support.waiting import until_async
from yarddesk.sync.states import JobState


def was_asked(yard: FaultyYard, door: Door, times: int) -> bool:
    if not is_probing(yard):  # time that ran away from the answers would make a try due
        yard.clock.advance(0.5)
    return len(door.proxy.passed) >= times


def is_probing(yard: FaultyYard) -> bool:
    return any(probed.probes for probed in yard.sync._reach._probed.values())


@dataclass(frozen=True)
class ToLogin(Fault):
    """A redirect to a page at another host."""

    host: str

    async def reply(self, request: Head, canary: str) -> AnswerOf | None:
        return AnswerOf(Head("HTTP/1.1 302 Found", [("Location", f"http://{self.host}/login")]))


@pytest.mark.parametrize("redirects", [False, True])
async def test_a_login_page_is_waited_for_and_all_goes_on_within_a_second_of_its_end(
    tmp_path: Path, door: Door, redirects: bool
) -> None:
    repository = "portal/redirect" if redirects else "portal/page"
    image = build_small(repository)
    page = Reply(200, {"Content-Type": "text/html"}, b"<html>Welcome to the hotel</html>")
    async with scripted(lambda _: page) as login, faulty_yard(tmp_path / "data", door.proxy.host) as yard:
        fault = ToLogin(login.host) if redirects else Portal()
        for step in Step:
            door.proxy.inject(step, fault, times=float("inf"))
        await yard.push(image, repository)
        part = await yard.settled()
        assert part is not None
        assert part.state is JobState.WAITING
        assert part.reason.startswith(f"A login page answers in the place of {door.proxy.host}.")
        [health] = yard.sync.snapshot().upstreams
        assert health.state == "away"
        asked = len(door.proxy.passed)
        await until_async(partial(was_asked, yard, door, asked + 20), 30, "it's asked again and again")
        part = await yard.settled()
        assert part is not None
        assert part.tries == 0
        assert {each.path for each in door.proxy.passed[asked:]} == {"/v2/"}
        assert bool(login.asked) == redirects
        assert not any("authorization" in each.headers for each in login.asked)
        door.proxy.heal()
        await until_async(lambda: not is_probing(yard), 30, "the last probe that saw the page is over")
        yard.clock.advance(1)
        await until_async(lambda: not yard.sync.snapshot().jobs, 30, "it goes on")
        assert door.holds(repository, "v1", image)
        assert [(entry.outcome, entry.tries) for entry in yard.outcomes()] == [(JobState.DONE, 1)]


async def test_a_page_in_the_middle_of_a_transfer_is_the_registrys_trouble(tmp_path: Path, door: Door) -> None:
    image = build_small("in the middle")
    async with faulty_yard(tmp_path / "data", door.proxy.host) as yard:
        door.proxy.inject(Step.PUT_BLOB, Portal(), times=float("inf"))
        await yard.push(image, "portal/middle")
        part = await yard.settled()
        assert part is not None
        assert part.state is JobState.WAITING
        assert "does not answer as a registry does" in part.reason
        assert part.tries == 1
        assert [each.state for each in yard.sync.snapshot().upstreams] != ["away"]
        door.proxy.heal()
        await yard.arrived()
        assert door.holds("portal/middle", "v1", image)
