"""The queue against a model of it: whatever is pushed, paused, cancelled, deleted, moved, refused or cut off, in whatever order,
and whenever the process dies, nothing that was pushed is lost and nothing is sent twice.

Time and threads are simulated, so that each run of one example is the same run. `YARDDESK_MODEL_EXAMPLES=2000` tries so many of
them, other ones each time.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.support.simulation import Died
from tests.unit.sync.queue_model import (
    FOREIGN,
    IMAGES,
    LONG_ENOUGH,
    REPOSITORIES,
    TAGS,
    UPSTREAMS,
    Doing,
    QueueModel,
    is_meant,
    is_platform,
    repository_of,
)
from tests.unit.sync.simulated_yard import CHANGES, FAILURES, SimulatedYard, WatchedUpstream
from yarddesk.errors import YarddeskError
from yarddesk.oci.digest import Digest
from yarddesk.oci.manifest import parse_manifest
from yarddesk.oci.name import RepositoryName, Tag
from yarddesk.sync.errors import NothingToTry
from yarddesk.sync.snapshot import ConflictChoice

policies = st.sampled_from(["overwrite", "overwrite", "ask", "keep"])
names = st.sampled_from(["one", "other", "index"])
repositories, tags, upstream_names = st.sampled_from(REPOSITORIES), st.sampled_from(TAGS), st.sampled_from(UPSTREAMS)
deaths = st.none() | st.none() | st.integers(1, 40) | st.integers(1, 150)
"""After how many steps the process dies, if it does."""


class QueueMachine(QueueModel, RuleBasedStateMachine):
    """What can happen, in whatever order."""

    @initialize(seed=st.integers(0, 2**16), policy=policies)
    def start(self, seed: int, policy: str) -> None:
        upstreams = [WatchedUpstream(name=name, registry=f"registry.{name}") for name in UPSTREAMS]
        for each in upstreams:
            each.watch = self.asked
        self.yard = SimulatedYard(self.folder, seed, upstreams, policy)

    @rule(name=names, repository=repositories, tag=tags, dies_after=deaths)
    def push(self, name: str, repository: RepositoryName, tag: Tag, dies_after: int | None) -> None:
        self.do(self.pushing(repository, tag, name), dies_after)

    @rule(name=st.sampled_from(["arm", "one", "signature"]), repository=repositories, dies_after=deaths)
    def push_by_digest(self, name: str, repository: RepositoryName, dies_after: int | None) -> None:
        self.do(self.pushing(repository, None, name), dies_after)

    # What a person does

    def cancelling(self, target: str | None) -> Doing:
        unknown = target in UPSTREAMS and target not in self.yard.there
        touches = lambda key: not unknown and is_meant(target, key)  # noqa: E731

        def effect(met: int) -> None:
            self.ended(touches)
            assert not [key for key in self.queued() if touches(key)]

        return Doing(lambda: self.yard.service.cancel(target), touches, effect, removes=True)

    @rule(repository=repositories, tag=tags, dies_after=deaths)
    def cancel_one(self, repository: RepositoryName, tag: Tag, dies_after: int | None) -> None:
        self.do(self.cancelling(f"{repository}:{tag}"), dies_after)

    @rule(of=st.none() | repositories | upstream_names, dies_after=deaths)
    def cancel_more(self, of: str | None, dies_after: int | None) -> None:
        self.do(self.cancelling(of), dies_after)

    @rule(first=repositories, second=repositories, tag=tags, of=st.none() | upstream_names, dies_after=deaths)
    def push_and_cancel_at_once(
        self, first: RepositoryName, second: RepositoryName, tag: Tag, of: str | None, dies_after: int | None
    ) -> None:
        pushing, cancelling = self.pushing(first, tag, "index"), self.cancelling(of or f"{second}:{tag}")
        self.both(pushing, cancelling, dies_after)

    @rule(repository=repositories, tag=tags, images=st.tuples(names, names), dies_after=deaths)
    def push_twice_at_once(
        self, repository: RepositoryName, tag: Tag, images: tuple[str, str], dies_after: int | None
    ) -> None:
        first, second = (self.pushing(repository, tag, name) for name in images)
        self.both(first, second, dies_after)

    @rule(of=st.none() | repositories | upstream_names, seconds=st.none() | st.floats(1, 200))
    def pause(self, of: str | None, seconds: float | None) -> None:
        ends = self.yard.loop.seconds + (seconds if seconds is not None else float("inf"))
        met = self.yard.run(self.yard.service.pause(of, for_seconds=seconds))
        if met or of is None:
            self.paused[of or ""] = ends

    @rule(repository=repositories, tag=tags, seconds=st.none() | st.floats(1, 200))
    def pause_one(self, repository: RepositoryName, tag: Tag, seconds: float | None) -> None:
        ends = self.yard.loop.seconds + (seconds if seconds is not None else float("inf"))
        if self.yard.run(self.yard.service.pause(f"{repository}:{tag}", for_seconds=seconds)):
            self.paused[f"{repository}:{tag}"] = ends

    @rule(of=st.none() | repositories | upstream_names)
    def resume(self, of: str | None) -> None:
        for what in list(self.paused) if of not in UPSTREAMS or of in self.yard.there else ():
            if of is None or what == of or (repository_of(what) == of and what != of):
                del self.paused[what]
        self.yard.run(self.yard.service.resume(of))

    @rule(repository=repositories, tag=tags)
    def resume_one(self, repository: RepositoryName, tag: Tag) -> None:
        self.paused.pop(f"{repository}:{tag}", None)
        self.yard.run(self.yard.service.resume(f"{repository}:{tag}"))

    @rule(of=st.none() | repositories | upstream_names)
    def retry(self, of: str | None) -> None:
        known = of in self.yard.there
        meant = [
            key for key, (job, _) in self.queued().items() if of in (None, job.repository) or (known and of == key[1])
        ]
        going = [key for key in meant if key[1] in self.yard.there and not self.is_held(key)]
        try:
            self.yard.run(self.yard.service.retry(of))
        except NothingToTry:
            assert meant
            assert not going
        else:
            assert going or not meant or self.has_just_ended()

    @rule(repository=repositories, tag=st.none() | tags)
    def move_up(self, repository: RepositoryName, tag: Tag | None) -> None:
        met = self.yard.run(self.yard.service.move_up(f"{repository}:{tag}" if tag else str(repository)))
        first = self.jobs()[:met]
        assert all(job.priority for job in first)
        assert len({job.priority for job in first}) <= 1

    @rule(
        repository=repositories,
        tag=tags,
        choice=st.sampled_from(list(ConflictChoice)),
        other=tags,
    )
    def decide(self, repository: RepositoryName, tag: Tag, choice: ConflictChoice, other: Tag) -> None:
        job_id, other_id = f"{repository}:{tag}", f"{repository}:{other}"
        asking = [key for key, (_, part) in self.queued().items() if key[0] == job_id and part.conflict]
        try:
            met = self.yard.run(self.yard.service.decide(job_id, choice, tag=other))
        except YarddeskError:
            assert choice is ConflictChoice.TAG
            return
        assert met == bool(asking)
        for key in asking if choice is not ConflictChoice.OVERWRITE else ():
            owed = self.owed.pop(key)
            if choice is ConflictChoice.TAG:
                self.owe((other_id, key[1]), owed.digest)
        self.forget_pauses()

    @rule(repository=repositories, tag=tags, dies_after=deaths)
    def delete_tag(self, repository: RepositoryName, tag: Tag, dies_after: int | None) -> None:
        if self.yard.store.resolve_cached(repository, tag) is not None:
            touches = lambda key: key[0] == f"{repository}:{tag}"  # noqa: E731
            work = lambda: self.yard.delete(repository, tag)  # noqa: E731
            self.do(Doing(work, touches, lambda _: self.ended(touches), removes=True), dies_after)

    @rule(repository=repositories, name=st.sampled_from(sorted(IMAGES)), dies_after=deaths)
    def delete_manifest(self, repository: RepositoryName, name: str, dies_after: int | None) -> None:
        digest = Digest.parse(IMAGES[name].manifest.digest)
        if self.yard.store.resolve_cached(repository, digest) is not None:
            touches = lambda key: repository_of(key[0]) == repository and self.digest_of(key) == digest  # noqa: E731
            work = lambda: self.yard.delete(repository, digest)  # noqa: E731
            self.do(Doing(work, touches, lambda _: self.ended(touches), removes=True), dies_after)

    @rule(repository=repositories, tag=tags)
    def delete_marker(self, repository: RepositoryName, tag: Tag) -> None:
        path, job_id = self.folder / "pending" / repository / f"{tag}.json", f"{repository}:{tag}"
        if path.exists():
            path.unlink()
            self.yard.rest(25.0)
            assert self.job(job_id) is None
            self.ended(lambda key: key[0] == job_id)

    @rule(repository=repositories, tag=tags)
    def damage_marker(self, repository: RepositoryName, tag: Tag) -> None:
        """It's set aside with the next start, and what its tag names is queued for all of its route."""
        path, job_id = self.folder / "pending" / repository / f"{tag}.json", f"{repository}:{tag}"
        if path.exists():
            self.yard.run(self.yard.service.stop())
            if not path.exists():  # it arrived at the last moment
                return self.yard.restart()
            path.write_bytes(b"{")
            self.yard.restart()
            # What an index takes along, and is wanted by itself, stood there alone.
            self.drop(lambda key: key[0] == job_id or (is_platform(key) and key not in self.queued()))
            self.paused.pop(job_id, None)
            for upstream in self.yard.there if (named := self.named(job_id)) else ():
                self.owe((job_id, upstream), str(named))
            assert any(tag in aside.file for aside in self.yard.service.snapshot().set_aside)
        return None

    @rule(there=st.sampled_from([["corp", "mirror"], ["corp"], ["mirror"]]), policy=policies)
    def other_settings(self, there: list[str], policy: str) -> None:
        self.yard.there, self.yard.policy = there, policy
        for job in self.jobs():
            lost = [part.upstream for part in job.parts if part.upstream not in there and not part.state.is_over]
            come = [name for name in there if name not in [part.upstream for part in job.parts]]
            if lost and come:
                self.drop(lambda key: key[0] == job.id and key[1] in lost)  # noqa: B023
                self.owe((job.id, come[0]), job.digest)
        self.yard.run(self.yard.reload())

    # What happens to it

    @rule(repository=repositories, name=st.sampled_from(sorted(IMAGES)))
    def content_vanishes(self, repository: RepositoryName, name: str) -> None:
        """Nobody is told."""
        self.yard.store._manifests.get(repository, {}).pop(Digest.parse(IMAGES[name].manifest.digest), None)

    @rule(upstream=upstream_names, repository=repositories, tag=tags)
    def somebody_moves_the_tag(self, upstream: str, repository: RepositoryName, tag: Tag) -> None:
        there = self.yard.upstreams[upstream]
        manifest = parse_manifest(FOREIGN.manifest.content, FOREIGN.manifest.media_type)
        self.yard.run(there.store.put_manifest(repository, manifest))
        self.yard.run(there.store.put_tag(repository, tag, manifest.digest))

    @rule(steps=st.integers(1, 60), again_after=st.none() | st.integers(1, 60))
    def crash(self, steps: int, again_after: int | None) -> None:
        """Whatever is under way; and once more, while the next process starts."""
        with contextlib.suppress(Died):
            self.yard.run(asyncio.sleep(60), steps)
        self.yard.crash(again_after)

    @rule()
    def restart(self) -> None:
        self.yard.restart()

    @rule(seconds=st.floats(0, 2) | st.floats(0, 400))
    def time_goes_by(self, seconds: float) -> None:
        self.yard.rest(seconds)

    @rule(
        name=upstream_names,
        kind=st.sampled_from(sorted(FAILURES)),
        at=st.sampled_from([(), *((each,) for each in CHANGES)]),
    )
    def upstream_fails(self, name: str, kind: str, at: tuple[str, ...]) -> None:
        upstream = self.yard.upstreams[name]
        upstream.failing, upstream.away = (kind, at), kind == "away" and not at

    @rule(name=upstream_names)
    def upstream_is_well(self, name: str) -> None:
        upstream = self.yard.upstreams[name]
        upstream.failing, upstream.away = None, False

    @rule(
        name=upstream_names,
        kind=st.sampled_from(sorted(FAILURES)),
        where=st.sampled_from(["question", "answer"]),
        what=st.sampled_from([*CHANGES, "mount", "resolve", "exists"]),
    )
    def upstream_fails_once(self, name: str, kind: str, where: str, what: str) -> None:
        self.yard.upstreams[name].once = (kind, where, what)

    # What it must come to

    @rule()
    def what_nothing_keeps_back_arrives(self) -> None:
        waited = 0.0
        while any(self.must_arrive(key) for key in self.owed) and waited < LONG_ENOUGH:
            step = 2.0 if waited < 20 else 100.0
            self.yard.rest(step)
            waited += step
            self.settle_what_arrived()
        late = [key for key in self.owed if self.must_arrive(key)]
        assert not late, (late, self.jobs())

    def let_everything_go(self) -> None:
        """In the end nothing keeps anything back."""
        for upstream in self.yard.upstreams.values():
            upstream.failing, upstream.away = None, False
        self.other_settings(UPSTREAMS, "overwrite")
        self.resume(None)

    def teardown(self) -> None:
        try:
            if hasattr(self, "yard"):
                self.let_everything_go()
                self.what_nothing_keeps_back_arrives()
                self.yard.close()
        finally:
            if hasattr(self, "yard"):
                self.yard.loop.die()
            self.watching.__exit__(None, None, None)
            shutil.rmtree(self.folder)

    @invariant()
    def holds(self) -> None:
        if hasattr(self, "yard"):
            self.yard.rest(0.2)
            self.all_is_well()


EXPLORED = int(os.environ.get("YARDDESK_MODEL_EXAMPLES", "0"))
"""Set to look further than `make test` does."""

QueueMachine.TestCase.settings = settings(
    max_examples=EXPLORED or 100,
    stateful_step_count=30,
    derandomize=not EXPLORED,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)
TestQueue = QueueMachine.TestCase
