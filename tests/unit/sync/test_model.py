"""The queue against a model of it: whatever is pushed, paused, cancelled, deleted, restarted or lost, nothing pushed is lost."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.support.fake_upstreams import FakeUpstream
from tests.support.images import build_image
from tests.unit.sync.yard import Yard, settle

IMAGES = {name: build_image(name, [50]) for name in ("a", "b", "c")}
TAGS = st.sampled_from(["v1", "v2", "v3"])


class QueueMachine(RuleBasedStateMachine):
    """The model: what each tag must become upstream, and what keeps it from it."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="yd-model-"))
        self.runner = asyncio.Runner()
        self.pending: dict[str, str] = {}
        self.paused_jobs: set[str] = set()
        self.paused = False
        self.repository_paused = False
        self.away = False
        self.pushed: dict[str, set[str]] = {"v1": set(), "v2": set(), "v3": set()}
        self.arrived: dict[str, str] = {}

    @initialize()
    def start(self) -> None:
        self.upstream = FakeUpstream()
        self.yard = Yard(self.folder, upstreams=[self.upstream])
        self.run(self.yard.service.start())

    def run(self, work: Any) -> Any:
        return self.runner.run(work)

    def goes(self, tag: str) -> bool:
        return not (self.paused or self.repository_paused or self.away or tag in self.paused_jobs)

    @rule(tag=TAGS, image=st.sampled_from(sorted(IMAGES)))
    def push(self, tag: str, image: str) -> None:
        manifest = self.run(self.yard.push(IMAGES[image], tag))
        self.pending[tag] = manifest.digest
        self.pushed[tag].add(manifest.digest)

    @rule()
    def pause_all(self) -> None:
        self.run(self.yard.service.pause())
        self.paused = True

    @rule()
    def resume_all(self) -> None:
        self.run(self.yard.service.resume())
        self.paused = self.repository_paused = False
        self.paused_jobs.clear()

    @rule()
    def pause_repository(self) -> None:
        self.settled()
        met = self.run(self.yard.service.pause("team/app"))
        self.repository_paused = any(self.pushed.values())
        assert met == (max(1, len(self.pending)) if self.repository_paused else 0)

    @rule()
    def resume_repository(self) -> None:
        self.run(self.yard.service.resume("team/app"))
        self.repository_paused = False
        self.paused_jobs.clear()

    @rule(tag=TAGS)
    def resume_one(self, tag: str) -> None:
        self.run(self.yard.service.resume(f"team/app:{tag}"))
        self.paused_jobs.discard(tag)

    @rule(tag=TAGS)
    def move_up(self, tag: str) -> None:
        self.settled()
        met = self.run(self.yard.service.move_up(f"team/app:{tag}"))
        assert met == (tag in self.pending)
        if met:
            assert self.yard.service.snapshot().jobs[0].id == f"team/app:{tag}"

    @rule()
    def retry(self) -> None:
        self.run(self.yard.service.retry())

    @rule(tag=TAGS)
    def pause_one(self, tag: str) -> None:
        self.settled()
        met = self.run(self.yard.service.pause(f"team/app:{tag}"))
        assert met == (tag in self.pending)
        if met:
            self.paused_jobs.add(tag)

    @rule(tag=TAGS)
    def cancel(self, tag: str) -> None:
        self.settled()
        assert self.run(self.yard.service.cancel(f"team/app:{tag}")) == (tag in self.pending)
        self.pending.pop(tag, None)
        self.paused_jobs.discard(tag)

    @rule(tag=TAGS)
    def delete_marker(self, tag: str) -> None:
        self.settled()
        if tag in self.pending:
            self.yard.marker(tag).unlink()
            self.run(self.yard.service._watch.scan())
            del self.pending[tag]
            self.paused_jobs.discard(tag)

    @rule()
    def upstream_goes(self) -> None:
        self.settled()
        self.away = self.upstream.away = True

    @rule()
    def upstream_returns(self) -> None:
        self.away = self.upstream.away = False
        self.yard.clock.advance(400)

    @rule()
    def restart(self) -> None:
        self.run(self.yard.restart())

    @rule()
    def crash(self) -> None:
        """Nothing is written any more, whatever was under way; another process starts over the folder."""

        async def crash() -> None:
            service = self.yard.service
            assert service._runner is not None
            service._watch.stop()
            service._runner.cancel()
            await asyncio.wait([service._runner])
            await service._queue.journal.close()
            service._runner = None
            await self.yard.restart()

        self.run(crash())

    @rule(seconds=st.floats(0, 400))
    def time_goes_by(self, seconds: float) -> None:
        self.yard.clock.advance(seconds)

    @rule()
    def settled(self) -> None:
        """What nothing keeps from its upstream arrives there, and what something keeps stays queued."""

        def arrived() -> bool:
            if {tag for tag in self.pending if self.goes(tag)}.isdisjoint(self.tags()):
                return True
            self.yard.clock.advance(301)  # what waits for a time gets it
            return False

        async def wait() -> None:
            await settle()
            await self.yard.until(arrived, f"{self.pending} arrive")

        self.run(wait())
        # What was about to be done when it was paused may be done; nothing else leaves the queue without having arrived.
        for tag in set(self.pending) - self.tags():
            assert self.run(self.upstream.tag_of("team/app", tag)) == self.pending.pop(tag)
            self.paused_jobs.discard(tag)
        assert self.tags() == set(self.pending)
        assert {path.stem for path in (self.folder / "pending").rglob("*.json")} == set(self.pending)

    def tags(self) -> set[str]:
        return {str(job.reference) for job in self.yard.service.snapshot().jobs}

    @invariant()
    def upstream_names_only_what_was_pushed(self) -> None:
        if hasattr(self, "yard"):
            for tag, digests in self.pushed.items():
                assert self.run(self.upstream.tag_of("team/app", tag)) in {None, *digests}

    @invariant()
    def what_is_paused_is_shown_so(self) -> None:
        if hasattr(self, "yard"):
            snapshot = self.yard.service.snapshot()
            assert bool(snapshot.paused_repositories) == self.repository_paused
            for job in snapshot.jobs:
                if self.paused or self.repository_paused or job.reference in self.paused_jobs:
                    assert {str(part.state) for part in job.parts} <= {"paused", "committing", "done", "blocked"}

    @invariant()
    def what_is_pending_is_queued(self) -> None:
        if hasattr(self, "yard"):
            for job in self.yard.service.snapshot().jobs:
                assert self.pending[str(job.reference)] == job.digest

    def teardown(self) -> None:
        if hasattr(self, "yard"):
            self.settled()
            self.run(self.yard.service.stop())
        self.runner.close()
        shutil.rmtree(self.folder)


QueueMachine.TestCase.settings = settings(
    max_examples=60, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
TestQueue = QueueMachine.TestCase
