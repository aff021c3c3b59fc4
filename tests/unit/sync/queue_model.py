"""The model of the queue: what is owed to each upstream, what keeps it from there, and what must hold whatever happens."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Callable, Container, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.images import Graph, Image, build_image, index_of, manifest_of
from tests.support.simulation import Died
from tests.unit.sync.simulated_yard import SimulatedYard, WatchedUpstream, nobody_watches_folders
from yarddesk.oci.digest import Digest
from yarddesk.oci.manifest import parse_manifest
from yarddesk.oci.name import RepositoryName, Tag, format_reference, parse_reference
from yarddesk.sync.history import KEPT as HISTORY_KEPT
from yarddesk.sync.snapshot import HistoryEntry, JobSnapshot, UpstreamPart
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
_LOOKS = 5
LONG_ENOUGH = 6000.0
"""Seconds after which everything has been tried again, whatever kept it."""


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


class QueueModel:
    """A pause's time is that of its end."""

    yard: SimulatedYard

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="yd-model-", dir=_memory()))
        self.owed: dict[Key, Owed] = {}
        self.paused: dict[str, float] = {}
        """By an upstream's name, a repository, a job's id; by an empty text for everything."""
        self.wrong: list[str] = []
        self.watching = nobody_watches_folders()
        self.watching.__enter__()

    # What goes on at the upstreams

    def asked(self, upstream: WatchedUpstream, what: str, repository: str, of: str) -> None:
        self.yard.loop.step()
        for paused in ("", upstream.name, repository, f"{repository}:{of}"):
            if self.is_paused(paused):
                self.wrong.append(f"{upstream.name} was asked {what} {repository} {of}, and {paused!r} is paused")

    def is_paused(self, what: str) -> bool:
        return self.paused.get(what, 0.0) > self.yard.loop.seconds

    def is_held(self, key: Key) -> bool:
        repository = repository_of(key[0])
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
                self.owed[key].crashes = -1  # it may have arrived, and its line got lost with the process
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

    def ended(self, wanted: Callable[[Key], bool]) -> None:
        """Somebody took these out of the queue: the history says so, or that they arrived just before."""
        for key in [key for key in self.owed if wanted(key)]:
            owed, (_, reference) = self.owed[key], _parsed(key[0])
            if isinstance(reference, Tag) and owed.crashes == self.yard.crashes:
                line = self.latest(key)
                assert line is not None, f"{key} ended, and the history doesn't know"
                assert line.outcome in (JobState.CANCELLED, JobState.DONE), line
                assert line.digest == owed.digest, line
        self.drop(wanted)

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

    def both(self, first: Doing, second: Doing, dies_after: int | None) -> None:
        async def both() -> None:
            await asyncio.gather(first.work(), second.work())

        try:
            self.yard.run(both(), dies_after)
        except Died:
            self.yard.crash()
        self.look_again(first, second)

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

    def all_is_well(self) -> None:
        self.nothing_is_lost()
        self.nothing_is_there_that_nobody_pushed()
        self.nothing_is_sent_twice()
        self.states_and_words_agree()
        self.markers_say_what_is_queued()
        assert self.wrong == [], self.wrong

    def nothing_is_lost(self) -> None:
        queued = self.queued()
        for key, owed in list(self.owed.items()):
            repository = RepositoryName.parse(repository_of(key[0]))
            if key not in queued and (not self.is_here(repository, owed.digest) or self.is_kept(key)):
                del self.owed[key]
            elif key in queued:
                assert str(queued[key][0].digest) == owed.digest, (key, owed, queued[key])
            elif not self.is_carried(key):
                assert self.is_fulfilled(key, owed), f"{key} {owed} is lost"
                self.check_history(key, owed)

    def is_carried(self, key: Key) -> bool:
        """Whether an index that is queued takes it along."""
        return is_platform(key) and any(
            str(job.digest) == INDEX.manifest.digest
            and job.repository == repository_of(key[0])
            and part.upstream == key[1]
            for job, part in self.queued().values()
        )

    def latest(self, key: Key) -> HistoryEntry | None:
        """The last line of the history about it."""
        about = (*_parsed(key[0]), key[1])
        lines = self.yard.service.history(HISTORY_KEPT)
        return next((line for line in lines if (line.repository, line.reference, line.upstream) == about), None)

    def is_kept(self, key: Key) -> bool:
        """Whether it gave way to what somebody else put there, as the settings had it."""
        line = self.latest(key)
        return line is not None and line.outcome is JobState.CANCELLED and line.reason.startswith("Kept what ")

    def check_history(self, key: Key, owed: Owed) -> None:
        _, reference = _parsed(key[0])
        if isinstance(reference, Digest) or owed.crashes != self.yard.crashes:
            return
        line = self.latest(key)
        assert line is not None, f"{key} ended, and the history doesn't know"
        assert (line.outcome, line.digest) == (JobState.DONE, owed.digest), (key, owed, line)

    def nothing_is_there_that_nobody_pushed(self) -> None:
        for key, (job, _) in self.queued().items():
            if key not in self.owed and is_platform(key):
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
        for _ in range(_LOOKS):
            found = self.markers()
            jobs = {job.id: job for job in self.jobs()}
            if found.keys() == jobs.keys():
                break
            self.yard.rest(0.1)  # it's taken out of the queue just now, which is two things
        assert found.keys() == jobs.keys()
        for job_id, document in found.items():
            job = jobs[job_id]
            assert (document["digest"], document["generation"]) == (job.digest, job.generation)
            assert document["upstreams"].keys() == {part.upstream for part in job.parts}

    def markers(self) -> dict[str, dict[str, Any]]:
        documents = [json.loads(path.read_bytes()) for path in (self.folder / "pending").rglob("*.json")]
        return {format_reference(each["repository"], parse_reference(each["reference"])): each for each in documents}

    def jobs(self) -> tuple[JobSnapshot, ...]:
        return self.yard.service.snapshot().jobs

    def job(self, job_id: str) -> JobSnapshot | None:
        return next((job for job in self.jobs() if job.id == job_id), None)

    def queued(self) -> dict[Key, tuple[JobSnapshot, UpstreamPart]]:
        """Every part that isn't over."""
        return {
            (job.id, part.upstream): (job, part) for job in self.jobs() for part in job.parts if not part.state.is_over
        }


def is_platform(key: Key) -> bool:
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
    repository = repository_of(job_id)
    return RepositoryName.parse(repository), parse_reference(job_id[len(repository) + 1 :])


def repository_of(job_id: str) -> str:
    return job_id.partition("@")[0].partition(":")[0]


def is_meant(target: str | None, key: Key) -> bool:
    return target is None or target in (key[0], key[1], repository_of(key[0]))


def _memory() -> str | None:
    """Where files cost no disk, if there is such a place."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None
