"""The queue against a model of it: whatever is pushed, paused, cancelled, deleted, moved, refused or cut off, in whatever order,
and whenever the process dies, nothing that was pushed is lost and nothing is sent twice.

Time and threads are simulated, so that each run of one example is the same run. `YARDDESK_MODEL_EXAMPLES=2000` tries so many of
them, other ones each time.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Container, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.support.images import Graph, Image, build_image, index_of, manifest_of
from tests.support.simulation import Died
from tests.unit.sync.simulated_yard import CHANGES, FAILURES, SimulatedYard, WatchedUpstream, nobody_watches_folders
from yarddesk.errors import YarddeskError
from yarddesk.oci.digest import Digest
from yarddesk.oci.manifest import parse_manifest
from yarddesk.oci.name import RepositoryName, Tag, parse_reference
from yarddesk.sync.snapshot import ConflictChoice, JobSnapshot, UpstreamPart
from yarddesk.sync.states import JobState


def _on_base(seed: str, platform: str) -> Image:
    """Images that share a layer."""
    own = build_image(seed, (300,), platform=platform)
    layers = (*build_image("base", (400,)).layers, *own.layers)
    return Image(manifest_of(own.config, layers), own.config, layers, platform)


ONE, OTHER, ARM = _on_base("one", "linux/amd64"), _on_base("other", "linux/amd64"), _on_base("arm", "linux/arm64")
INDEX = index_of([ONE, ARM])
_NOTE = build_image("signature", (100,))
SIGNATURE = Image(
    manifest_of(_NOTE.config, _NOTE.layers, subject=ONE.manifest.descriptor), _NOTE.config, _NOTE.layers, "linux/amd64"
)
FOREIGN = build_image("somebody else's", (100,))
IMAGES: dict[str, Graph] = {"one": ONE, "other": OTHER, "index": INDEX, "arm": ARM, "signature": SIGNATURE}
GRAPHS: dict[str, Graph] = {graph.manifest.digest: graph for graph in IMAGES.values()}
REPOSITORIES = [RepositoryName.parse("team/app"), RepositoryName.parse("team/web")]
TAGS = [Tag.parse("v1"), Tag.parse("v2")]
UPSTREAMS = ["corp", "mirror"]
LONG_ENOUGH = 6000.0
"""Seconds after which everything has been tried again, whatever kept it."""

policies = st.sampled_from(["overwrite", "overwrite", "ask", "keep"])
names = st.sampled_from(["one", "other", "index"])
repositories, tags, upstream_names = st.sampled_from(REPOSITORIES), st.sampled_from(TAGS), st.sampled_from(UPSTREAMS)
deaths = st.none() | st.none() | st.integers(1, 40) | st.integers(1, 150)
"""After how many steps the process dies, if it does."""

Key = tuple[str, str]
"""A job's id, and an upstream's name."""


@dataclass
class Owed:
    """What must get to an upstream, and since when."""

    digest: str
    since: float
    crashes: int


@dataclass
class Doing:
    """Something that is done to the queue. `touches`: whose parts it may change; `removes`: also out of the queue.

    `effect`: what the model makes of it, once it's done and nothing came between.
    """

    work: Callable[[], Coroutine[Any, Any, Any]]
    touches: Callable[[Key], bool]
    effect: Callable[[Any], None] = lambda _: None
    removes: bool = False
    pushes: dict[str, str] = field(default_factory=dict)


class QueueMachine(RuleBasedStateMachine):
    """The model: what is owed to each upstream, and what keeps it from there. A pause's time is that of its end."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="yd-model-", dir=_memory()))
        self.owed: dict[Key, Owed] = {}
        self.paused: dict[str, float] = {}
        """By an upstream's name, a repository, a job's id; by an empty text for everything."""
        self.wrong: list[str] = []
        self.watching = nobody_watches_folders()
        self.watching.__enter__()

    @initialize(seed=st.integers(0, 2**16), policy=policies)
    def start(self, seed: int, policy: str) -> None:
        upstreams = [WatchedUpstream(name=name, registry=f"registry.{name}") for name in UPSTREAMS]
        for each in upstreams:
            each.watch = self.asked
        self.yard = SimulatedYard(self.folder, seed, upstreams, policy)

    # What goes on at the upstreams

    def asked(self, upstream: WatchedUpstream, what: str, repository: str, of: str) -> None:
        self.yard.loop.step()
        for paused in ("", upstream.name, repository, f"{repository}:{of}"):
            if self.is_paused(paused):
                self.wrong.append(f"{upstream.name} was asked {what} {repository} {of}, and {paused!r} is paused")

    def is_paused(self, what: str) -> bool:
        return self.paused.get(what, 0.0) > self.yard.loop.seconds

    def is_held(self, key: Key) -> bool:
        repository = _repository(key[0])
        return any(self.is_paused(each) for each in ("", key[1], repository, key[0]))

    # Doing things, whole or until the process dies, alone or two at once

    def do(self, doing: Doing, dies_after: int | None = None) -> None:
        try:
            result = self.yard.run(doing.work(), dies_after)
        except Died:
            self.yard.crash()
            self.look_again(doing)
        else:
            doing.effect(result)

    def look_again(self, *doings: Doing) -> None:
        """What these came to can't be told: the queue may be as it was before them, or after them, or in between."""
        self.yard.rest(0.5)
        queued = self.queued()
        touched = {key for key in [*queued, *self.owed] if any(each.touches(key) for each in doings)}
        may_go = {key for key in touched if any(each.removes and each.touches(key) for each in doings)}
        for key in touched:
            before, now = self.owed.pop(key, None), queued.get(key)
            named = self.named(key[0])
            since = before.since if before is not None else 0.0
            if now is not None:
                if self.is_here(now[0].repository, now[0].digest):
                    self.owe(key, str(now[0].digest), since)
            elif any(_took_along(each, key, queued) for each in doings) or key[1] not in self.yard.there:
                continue  # with its index, or the newer push goes elsewhere alone
            elif before is not None and named is not None and key not in may_go:
                # The marker of what a tag names was there before the tag.
                self.owe(key, named, since)
        for job_id in {key[0] for key in touched}:
            job, was = self.job(job_id), self.is_paused(job_id)
            if job is not None and was and not any(key[0] == job_id for key in may_go):
                assert job.paused, f"{job_id} is not paused any more"
            elif job is None or not job.paused:
                self.paused.pop(job_id, None)

    def named(self, job_id: str) -> str | None:
        """What is here under a job's reference."""
        repository, reference = _parsed(job_id)
        found = self.yard.store.resolve_cached(repository, reference)
        return None if found is None else str(found.digest)

    def owe(self, key: Key, digest: str, since: float | None = None) -> None:
        moment = self.yard.loop.seconds if since is None else since
        self.owed[key] = Owed(digest, moment, self.yard.crashes)

    def drop(self, wanted: Callable[[Key], bool]) -> None:
        for key in [key for key in self.owed if wanted(key)]:
            del self.owed[key]
        self.forget_pauses()

    def forget_pauses(self) -> None:
        """The pause of an image ends with its job."""
        jobs = {job.id for job in self.jobs()}
        for what in [what for what in self.paused if ("@" in what or ":" in what) and what not in jobs]:
            del self.paused[what]

    # What is pushed

    def pushing(self, repository: RepositoryName, tag: Tag | None, name: str) -> Doing:
        image = IMAGES[name]
        reference = f":{tag}" if tag is not None else f"@{image.manifest.digest}"
        digests = {f"{repository}@{each.digest}": each.digest for each in image.manifests[:-1]}
        digests[f"{repository}{reference}"] = image.manifest.digest
        begun, routed = self.yard.loop.seconds, list(self.yard.there)

        def effect(_: Any) -> None:
            for job_id, digest in digests.items():
                for upstream in routed:
                    self.owe((job_id, upstream), digest, begun)
            for child in list(digests)[:-1]:  # with their index they go, and with it they are cancelled
                self.drop(lambda key, child=child: key[0] == child)  # type: ignore[misc]
            for upstream in UPSTREAMS:
                if upstream not in routed:
                    self.owed.pop((f"{repository}{reference}", upstream), None)

        work = lambda: self.yard.push(image, repository, tag)  # noqa: E731
        return Doing(work, lambda key: key[0] in digests, effect, pushes=digests)

    @rule(name=names, repository=repositories, tag=tags, dies_after=deaths)
    def push(self, name: str, repository: RepositoryName, tag: Tag, dies_after: int | None) -> None:
        self.do(self.pushing(repository, tag, name), dies_after)

    @rule(name=st.sampled_from(["arm", "one", "signature"]), repository=repositories, dies_after=deaths)
    def push_by_digest(self, name: str, repository: RepositoryName, dies_after: int | None) -> None:
        self.do(self.pushing(repository, None, name), dies_after)

    # What a person does

    def cancelling(self, target: str | None) -> Doing:
        unknown = target in UPSTREAMS and target not in self.yard.there
        touches = lambda key: not unknown and _meant(target, key)  # noqa: E731

        def effect(met: int) -> None:
            self.drop(touches)
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

    def both(self, first: Doing, second: Doing, dies_after: int | None) -> None:
        async def both() -> None:
            await asyncio.gather(first.work(), second.work())

        try:
            self.yard.run(both(), dies_after)
        except Died:
            self.yard.crash()
        self.look_again(first, second)

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
            if of is None or what == of or (_repository(what) == of and what != of):
                del self.paused[what]
        self.yard.run(self.yard.service.resume(of))

    @rule(repository=repositories, tag=tags)
    def resume_one(self, repository: RepositoryName, tag: Tag) -> None:
        self.paused.pop(f"{repository}:{tag}", None)
        self.yard.run(self.yard.service.resume(f"{repository}:{tag}"))

    @rule(of=st.none() | repositories | upstream_names)
    def retry(self, of: str | None) -> None:
        self.yard.run(self.yard.service.retry(of))

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
            self.do(Doing(work, touches, lambda _: self.drop(touches), removes=True), dies_after)

    @rule(repository=repositories, name=st.sampled_from(sorted(IMAGES)), dies_after=deaths)
    def delete_manifest(self, repository: RepositoryName, name: str, dies_after: int | None) -> None:
        digest = Digest.parse(IMAGES[name].manifest.digest)
        if self.yard.store.resolve_cached(repository, digest) is not None:
            touches = lambda key: _repository(key[0]) == repository and self.digest_of(key) == digest  # noqa: E731
            work = lambda: self.yard.delete(repository, digest)  # noqa: E731
            self.do(Doing(work, touches, lambda _: self.drop(touches), removes=True), dies_after)

    @rule(repository=repositories, tag=tags)
    def delete_marker(self, repository: RepositoryName, tag: Tag) -> None:
        path, job_id = self.folder / "pending" / repository / f"{tag}.json", f"{repository}:{tag}"
        if path.exists():
            path.unlink()
            self.yard.rest(25.0)
            assert self.job(job_id) is None
            self.drop(lambda key: key[0] == job_id)

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
            self.drop(lambda key: key[0] == job_id)
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

    def must_arrive(self, key: Key) -> bool:
        upstream, owed = self.yard.upstreams[key[1]], self.owed[key]
        repository, reference = _parsed(key[0])
        foreign = self.yard.policy != "overwrite" and upstream.names(repository, reference) == FOREIGN.manifest.digest
        here = all(self.is_here(repository, each.digest) for each in GRAPHS[owed.digest].manifests)
        in_the_way = upstream.failing is not None or key[1] not in self.yard.there or self.is_held(key)
        return here and not foreign and not in_the_way

    def is_here(self, repository: RepositoryName, digest: str) -> bool:
        return self.yard.store.resolve_cached(repository, Digest.parse(digest)) is not None

    def digest_of(self, key: Key) -> str | None:
        """Which manifest a part is about."""
        if key in self.owed:
            return self.owed[key].digest
        job = self.job(key[0])
        return None if job is None else str(job.digest)

    def settle_what_arrived(self) -> None:
        queued = self.queued()
        for key, owed in list(self.owed.items()):
            if key not in queued and self.is_fulfilled(key, owed):
                del self.owed[key]
        self.forget_pauses()

    def is_fulfilled(self, key: Key, owed: Owed) -> bool:
        """Whether it was brought there, whole."""
        repository, reference = _parsed(key[0])
        upstream = self.yard.upstreams[key[1]]
        content = GRAPHS[owed.digest].manifest
        manifest = parse_manifest(content.content, content.media_type)
        if not self.yard.run(upstream.has_all(repository, manifest)):
            return False
        return isinstance(reference, Digest) or upstream.has_named(repository, reference, owed.digest, owed.since)

    @invariant()
    def all_is_well(self) -> None:
        if hasattr(self, "yard"):
            self.yard.rest(0.2)
            self.nothing_is_lost()
            self.nothing_is_there_that_nobody_pushed()
            self.nothing_is_sent_twice()
            self.states_and_words_agree()
            self.markers_say_what_is_queued()
            assert self.wrong == []  # nothing was asked that is paused

    def nothing_is_lost(self) -> None:
        queued = self.queued()
        for key, owed in list(self.owed.items()):
            repository = RepositoryName.parse(_repository(key[0]))
            if key not in queued and (not self.is_here(repository, owed.digest) or self.is_kept(key)):
                del self.owed[key]
            elif key in queued:
                assert str(queued[key][0].digest) == owed.digest, (key, owed, queued[key])
            elif not self.is_carried(key):
                assert self.is_fulfilled(key, owed), f"{key} {owed} is lost"
                self.check_history(key, owed)

    def is_carried(self, key: Key) -> bool:
        """Whether an index that is queued takes it along."""
        return _is_platform(key) and any(
            str(job.digest) == INDEX.manifest.digest
            and job.repository == _repository(key[0])
            and part.upstream == key[1]
            for job, part in self.queued().values()
        )

    def is_kept(self, key: Key) -> bool:
        """Whether it gave way to what somebody else put there, as the settings had it."""
        line = self.yard.service.latest(*_parsed(key[0]), key[1])
        return line is not None and line.outcome is JobState.CANCELLED and line.reason.startswith("Kept what ")

    def check_history(self, key: Key, owed: Owed) -> None:
        repository, reference = _parsed(key[0])
        if isinstance(reference, Digest) or owed.crashes != self.yard.crashes:
            return
        line = self.yard.service.latest(repository, reference, key[1])
        assert line is not None, f"{key} ended, and the history doesn't know"
        assert (line.outcome, line.digest) == (JobState.DONE, owed.digest), (key, owed, line)

    def nothing_is_there_that_nobody_pushed(self) -> None:
        for key, (job, _) in self.queued().items():
            if key not in self.owed and _is_platform(key):
                self.owe(key, job.digest)  # its index left without it, and somebody had pushed it by itself, too
            assert key in self.owed or not self.is_here(job.repository, job.digest), key

    def nothing_is_sent_twice(self) -> None:
        for upstream in self.yard.upstreams.values():
            twice = {key: count for key, count in upstream.taken.items() if count > 1}
            assert not twice, (upstream.name, twice)

    def states_and_words_agree(self) -> None:
        for job, part in self.queued().values():
            _check_words(job, part)
            if self.is_held((job.id, part.upstream)):
                assert part.state in (JobState.PAUSED, JobState.BLOCKED), (job.id, part)
            else:
                assert part.state is not JobState.PAUSED or self.has_just_ended(), (job.id, part)

    def has_just_ended(self) -> bool:
        return any(end <= self.yard.loop.seconds < end + 1 for end in self.paused.values())

    def markers_say_what_is_queued(self) -> None:
        found = {}
        for path in (self.folder / "pending").rglob("*.json"):
            document = json.loads(path.read_bytes())
            found[f"{document['repository']}:{document['reference']}".replace(":sha256:", "@sha256:")] = document
        jobs = {job.id: job for job in self.jobs()}
        assert found.keys() == jobs.keys()
        for job_id, document in found.items():
            job = jobs[job_id]
            assert (document["digest"], document["generation"]) == (job.digest, job.generation)
            assert document["upstreams"].keys() == {part.upstream for part in job.parts}

    def jobs(self) -> tuple[JobSnapshot, ...]:
        return self.yard.service.snapshot().jobs

    def job(self, job_id: str) -> JobSnapshot | None:
        return next((job for job in self.jobs() if job.id == job_id), None)

    def queued(self) -> dict[Key, tuple[JobSnapshot, UpstreamPart]]:
        """Every part that isn't over."""
        return {
            (job.id, part.upstream): (job, part) for job in self.jobs() for part in job.parts if not part.state.is_over
        }

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


def _is_platform(key: Key) -> bool:
    """Whether it's one that the index takes along, by its digest."""
    return key[0].partition("@")[2] in {each.digest for each in INDEX.manifests[:-1]}


def _took_along(pushing: Doing, key: Key, queued: Container[Key]) -> bool:
    """Whether it's the child of an index that took its place in the queue."""
    job_ids = list(pushing.pushes)
    return key[0] in job_ids[:-1] and (job_ids[-1], key[1]) in queued


def _check_words(job: JobSnapshot, part: UpstreamPart) -> None:
    said = (job.id, part)
    if part.state in (JobState.WAITING, JobState.BLOCKED):
        assert part.reason, said
    if part.state is JobState.WAITING:
        assert part.next_attempt is not None, said
    else:
        assert part.next_attempt is None, said
    if part.state is JobState.QUEUED:
        assert not part.reason, said
    if part.needs_credentials or part.conflict:
        assert part.state is JobState.BLOCKED, said


def _parsed(job_id: str) -> tuple[RepositoryName, Tag | Digest]:
    repository = _repository(job_id)
    return RepositoryName.parse(repository), parse_reference(job_id[len(repository) + 1 :])


def _repository(job_id: str) -> str:
    return job_id.partition("@")[0].partition(":")[0]


def _meant(target: str | None, key: Key) -> bool:
    return target is None or target in (key[0], key[1], _repository(key[0]))


def _memory() -> str | None:
    """Where files cost no disk, if there is such a place."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


EXPLORED = int(os.environ.get("YARDDESK_MODEL_EXAMPLES", "0"))
"""Set to look further than `make test` does."""

QueueMachine.TestCase.settings = settings(
    max_examples=EXPLORED or 60,
    stateful_step_count=30,
    derandomize=not EXPLORED,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)
TestQueue = QueueMachine.TestCase
