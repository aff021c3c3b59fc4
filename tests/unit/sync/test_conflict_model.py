"""Whatever happens in whatever order, we move no tag away from what somebody else put there unless settings or a person say so."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.support.fake_upstreams import FakeUpstream
from tests.support.images import build_image
from tests.unit.sync.test_conflicts import somebody_moves
from tests.unit.sync.yard import REPOSITORY, Yard, settle
from yarddesk.content.upstream import UpstreamAway
from yarddesk.oci.digest import Digest
from yarddesk.oci.name import Tag
from yarddesk.settings.model import Settings, SyncSettings
from yarddesk.sync.snapshot import ConflictChoice

V1 = Tag.parse("v1")
OURS = [build_image(f"ours {number}", (300,)) for number in range(3)]


class ConflictMachine(RuleBasedStateMachine):
    """`allowed`: what the tag may name when we move it: what we put or saw there, and what a person gave up."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="yd-conflicts-"))
        self.runner = asyncio.Runner()
        self.allowed: set[Digest | None] = {None}
        self.wrong: list[str] = []
        self.theirs = 0
        self.lose_answer = False

    @initialize(on_conflict=st.sampled_from(["ask", "keep"]))
    def start(self, on_conflict: str) -> None:
        self.upstream = FakeUpstream()
        self.put = self.upstream.store.put_tag
        self.yard = Yard(self.folder, upstreams=[self.upstream], sync=self.policy(on_conflict))
        self.run(self.yard.service.start())
        self.push(0)  # from now on it's known what the tag names there

    def policy(self, on_conflict: str) -> SyncSettings:
        return SyncSettings(interval=timedelta(seconds=3600), on_conflict=on_conflict)

    def run(self, work: Any) -> Any:
        return self.runner.run(work)

    async def moved_by_us(self, repository: Any, tag: Any, digest: Digest) -> None:
        """What the upstream does when we move the tag."""
        before = await self.upstream.tag_of("team/app", "v1")
        if before not in self.allowed:
            self.wrong.append(f"{before} was replaced by {digest}")
        self.allowed.add(digest)
        await self.put(repository, tag, digest)
        if self.lose_answer:
            self.lose_answer = False
            raise UpstreamAway("corp", "The answer was lost.", temporary=True)

    def watched(self) -> None:
        """From here on it's us who move the tag."""
        self.upstream.store.put_tag = self.moved_by_us  # type: ignore[method-assign]

    async def settled(self) -> None:
        self.watched()
        await settle()

        def at_rest() -> bool:
            states = [str(part.state) for job in self.yard.service.snapshot().jobs for part in job.parts]
            if "waiting" in states and not self.upstream.away:
                self.yard.clock.advance(301)
            return set(states) <= {"blocked", "waiting"} if self.upstream.away else set(states) <= {"blocked"}

        await self.yard.until(at_rest, "all is done or waits for somebody")
        self.upstream.store.put_tag = self.put  # type: ignore[method-assign]

    @rule(number=st.integers(0, 2))
    def push(self, number: int) -> None:
        async def push() -> None:
            self.watched()
            await self.yard.push(OURS[number])
            await self.settled()

        self.run(push())

    @rule()
    def somebody(self) -> None:
        self.theirs += 1
        self.run(somebody_moves(self.upstream, f"theirs {self.theirs}"))

    @rule()
    def a_pull_sees_it(self) -> None:
        async def pull() -> None:
            there = await self.upstream.tag_of("team/app", "v1")
            if there is not None and not self.yard.service.is_queued(REPOSITORY, V1):
                self.yard.service.saw(self.upstream, REPOSITORY, V1, there)
                self.allowed.add(there)

        self.run(pull())

    @rule(away=st.booleans())
    def upstream_goes_or_returns(self, away: bool) -> None:
        self.upstream.away = away
        if not away:
            self.watched()
            self.run(self.yard.service.retry())
        self.run(self.settled())

    @rule()
    def the_next_answer_is_lost(self) -> None:
        self.lose_answer = True

    @rule(choice=st.sampled_from([ConflictChoice.OVERWRITE, ConflictChoice.KEEP]))
    def decide(self, choice: ConflictChoice) -> None:
        job = self.yard.job()
        asked = [part.conflict for part in job.parts if part.conflict] if job else []
        if choice is ConflictChoice.OVERWRITE:
            self.allowed.update(asked)
        assert self.run(self.yard.service.decide("team/app:v1", choice)) == len(asked)
        self.run(self.settled())

    @rule()
    def restart(self) -> None:
        self.watched()
        self.run(self.yard.restart())
        self.run(self.settled())

    @rule(on_conflict=st.sampled_from(["ask", "keep"]))
    def other_settings(self, on_conflict: str) -> None:
        self.yard.sync = self.policy(on_conflict)
        self.run(self.yard.service.reload(self.yard.routes, Settings(self.folder, sync=self.policy(on_conflict))))
        self.run(self.settled())

    @invariant()
    def nothing_of_somebody_else_was_replaced(self) -> None:
        assert self.wrong == []

    def teardown(self) -> None:
        if hasattr(self, "yard"):
            self.run(self.yard.service.stop())
        self.runner.close()
        shutil.rmtree(self.folder)


ConflictMachine.TestCase.settings = settings(
    max_examples=30, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
)
TestConflicts = ConflictMachine.TestCase
