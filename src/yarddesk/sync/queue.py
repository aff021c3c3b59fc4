"""The queue as everybody in this room sees it: jobs, pauses, gates, and the one way in which any of it changes and is heard of."""

import asyncio
import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from random import Random
from typing import Final, NamedTuple

from yarddesk.content.clock import Clock
from yarddesk.content.listener import ArrivalListener
from yarddesk.content.store import Store
from yarddesk.content.upstream import Routes, place_at
from yarddesk.events import EventBus, JobRemoved, JobStateChanged, PartEnded, PartPlanned, UpstreamStateChanged
from yarddesk.oci.digest import Digest
from yarddesk.oci.name import Reference, RepositoryName, Tag, format_reference, is_about
from yarddesk.settings.model import TagFilter
from yarddesk.sync.conflicts import OnConflict
from yarddesk.sync.history import History
from yarddesk.sync.journal import Journal
from yarddesk.sync.marker import Job, Part
from yarddesk.sync.pauses import Pauses
from yarddesk.sync.schedule import Gate, PartKey, Schedule
from yarddesk.sync.seen import SeenTags
from yarddesk.sync.snapshot import HistoryEntry, SendPlan
from yarddesk.sync.states import JobState

_log = logging.getLogger(__name__)


class Shown(NamedTuple):
    """A part as people see it: pauses and gates reach it without being written into it."""

    state: JobState
    reason: str
    next_attempt: datetime | None
    needs_credentials: bool


@dataclass(slots=True)
class Queue:
    """What the parts of this room share. `arrivals` is told of what arrived; `filters`: whose tags are synced to which upstream.
    `signed_in_by_settings`: the upstreams for which another sign-in than the settings' changes nothing.

    `changes` grows with every change; `world` with those that concern many jobs. `timer` is set when a timed pause begins,
    `wake` when there may be something to try, `taken` whenever what is due was taken from the schedule, `changed` with every
    change. `held_back`: by a job, what is about its image and goes after it.
    """

    store: Store
    routes: Routes
    journal: Journal
    schedule: Schedule
    pauses: Pauses
    history: History
    seen: SeenTags
    events: EventBus
    clock: Clock
    random: Random
    timer: asyncio.Event = field(default_factory=asyncio.Event)
    taken: asyncio.Event = field(default_factory=asyncio.Event)
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    changes: int = 0
    world: int = 0
    carried: dict[tuple[RepositoryName, Digest], set[str]] = field(default_factory=dict)
    carries: dict[str, frozenset[Digest]] = field(default_factory=dict)
    held_back: dict[str, set[PartKey]] = field(default_factory=dict)
    timed_jobs: dict[str, datetime] = field(default_factory=dict)
    arrivals: ArrivalListener | None = None
    filters: Mapping[str, TagFilter] = field(default_factory=dict)
    signed_in_by_settings: frozenset[str] = frozenset()
    on_conflict: OnConflict = OnConflict.OVERWRITE

    def registry_of(self, upstream: str) -> str:
        """Its host as people know it; its name where it's no longer among the settings."""
        found = self.routes.upstream(upstream)
        return found.registry if found else upstream

    def upstreams_of(self, repository: RepositoryName, reference: Reference) -> list[str]:
        """The names of those that it's to be synced to, as the settings are now."""
        return [
            upstream.name
            for upstream in self.routes.push_upstreams(repository)
            if not isinstance(reference, Tag) or _passes(reference, self.filters.get(upstream.name, TagFilter()))
        ]

    def has_route(self, job: Job, part: Part) -> bool:
        """Whether the settings, as they are now, let the part go where it was to go."""
        return part.upstream in self.upstreams_of(job.repository, job.reference)

    def is_paused(self, job: Job, part: Part) -> bool:
        return self.is_held(job) or self.pauses.everything or part.upstream in self.pauses.upstreams

    def is_held(self, job: Job) -> bool:
        """Whether it's paused as an image, or with its repository: then the schedule doesn't have it."""
        return job.paused or job.repository in self.pauses.repositories

    def shown(self, job: Job, part: Part) -> Shown:
        """Pure of what is in memory."""
        state = part.state
        if part.look is not None and state.is_active and state is not JobState.CANCELLING:
            return Shown(JobState.BLOCKED, part.look.reason, None, part.look.needs_credentials)
        if state is not JobState.QUEUED and state is not JobState.WAITING:
            return Shown(state, part.reason, None, part.needs_credentials)
        if self.is_paused(job, part):
            return Shown(JobState.PAUSED, part.reason, None, False)
        gate = self.schedule.gate(part.upstream)
        if gate.is_open:
            if part.away:
                return Shown(JobState.QUEUED, "", None, False)
            return Shown(state, part.reason, part.next_attempt, part.needs_credentials)
        if gate.state == "needs_you":
            return Shown(JobState.BLOCKED, gate.reason, None, gate.needs_credentials)
        reason = part.reason if state is JobState.WAITING and part.reason else gate.reason
        return Shown(JobState.WAITING, reason, _later(part.next_attempt, gate.next_attempt), False)

    @contextmanager
    def changing(self, job: Job, parts: Iterable[Part] | None = None) -> Iterator[None]:
        """Whatever changes of these parts (all by default) within is heard of when it's left."""
        watched = list(job.parts.values() if parts is None else parts)
        before = [self.shown(job, part).state for part in watched]
        try:
            yield
        finally:
            self.touch(job)
            for part, old in zip(watched, before, strict=True):
                new = self.shown(job, part)
                if new.state is not old:
                    self.tell(job, part, old, new)

    def tell(self, job: Job, part: Part, old: JobState, new: Shown) -> None:
        self.events.publish(
            JobStateChanged(job_id=job.id, upstream=part.upstream, old=str(old), new=str(new.state), reason=new.reason)
        )

    def touch(self, job: Job) -> None:
        job.view = None
        self.changes += 1
        self.changed.set()
        self._let_go(job.id)

    def touch_world(self) -> None:
        self.world += 1
        self.changes += 1
        self.changed.set()

    def planned(self, job: Job, part: Part, plan: SendPlan) -> None:
        """It's known, or known anew, what of the image an upstream has and what must be sent."""
        if part.plan == plan:
            return
        part.plan = plan
        self.touch(job)
        self.events.publish(
            PartPlanned(
                job_id=job.id,
                upstream=part.upstream,
                there=plan.there,
                mountable=plan.mountable,
                to_send=plan.to_send,
            )
        )

    def key(self, job: Job, part: Part) -> PartKey:
        return PartKey(job.id, part.upstream)

    def enqueue(self, job: Job, part: Part) -> None:
        """Let the schedule have a part that is queued or waits, unless its image or repository is paused."""
        if self.is_held(job):
            return
        at = None
        if part.state is JobState.WAITING and part.next_attempt is not None and not part.away:
            at = self.clock.monotonic() + (part.next_attempt - self.clock.now()).total_seconds()
        self.schedule.add(self.key(job, part), job.order, at)

    def requeue(self, job: Job, part: Part) -> None:
        """Try it as soon as there is room, whatever it was that it waited for."""
        with self.changing(job, [part]):
            part.move(JobState.QUEUED)
            part.next_attempt = None
            part.reason = ""
            part.needs_credentials = part.away = False
            part.missing = ()
            part.asked, part.looks = True, 0
        self.enqueue(job, part)

    def goes_by_itself(self, repository: RepositoryName, upstream: str, digest: Digest) -> bool:
        """Whether a manifest has a job of its own, and so a state of its own, on its way to the same upstream."""
        job = self.journal.get(format_reference(repository, digest))
        return job is not None and any(part.upstream == upstream for part in job.open_parts)

    def goes_before(self, job: Job, part: Part) -> Job | None:
        """The job of the image that this one is about, while it's on its way to the same upstream: registries get that first."""
        if job.subject is None:
            return None
        # An index that is itself about something is left out: the two could wait for each other.
        carriers = [index for index in self.carriers(job.repository, job.subject) if index.subject is None]
        for first in (*self.journal.of_digest(job.repository, job.subject), *carriers):
            other = first.parts.get(part.upstream)
            if other is not None and first is not job and not first.paused and other.state in _ON_ITS_WAY:
                return first
        return None

    def hold_back(self, key: PartKey, first: Job) -> None:
        """Let the schedule have it again when that job has changed."""
        self.held_back.setdefault(first.id, set()).add(key)

    def _let_go(self, job_id: str) -> None:
        for key in self.held_back.pop(job_id, ()):
            job = self.journal.get(key.job_id)
            part = job.parts.get(key.upstream) if job is not None else None
            if job is None or part is None or part.state.is_over:
                continue
            if (first := self.goes_before(job, part)) is not None:
                self.hold_back(key, first)
            else:
                self.enqueue(job, part)
                self.wake.set()

    def carry(self, job: Job, digests: Iterable[Digest]) -> None:
        """A queued index takes these manifests along (and no longer what it took before)."""
        self._forget_carried(job)
        carries = self.carries[job.id] = frozenset(digests)
        for digest in carries:
            self.carried.setdefault((job.repository, digest), set()).add(job.id)

    def carriers(self, repository: RepositoryName, digest: Digest) -> list[Job]:
        """The queued indexes that take a manifest along."""
        ids = self.carried.get((repository, digest), ())
        return [job for job_id in ids if (job := self.journal.get(job_id)) is not None]

    def _forget_carried(self, job: Job) -> None:
        for digest in self.carries.pop(job.id, ()):
            ids = self.carried[job.repository, digest]
            ids.discard(job.id)
            if not ids:
                del self.carried[job.repository, digest]

    def left(self, job: Job, outcome: str) -> None:
        """The job is out of the queue (`done`, `cancelled`, `gone` or `superseded`)."""
        is_out = self.journal.get(job.id) is None
        if is_out:  # else it was pushed again meanwhile, and all of this is the newer job's
            for part in job.parts.values():
                self.schedule.drop(self.key(job, part))
            self.timed_jobs.pop(job.id, None)
            self._forget_carried(job)
        self.changes += 1
        self.changed.set()
        self._let_go(job.id)
        if is_out:
            self.events.publish(JobRemoved(job_id=job.id, outcome=outcome))

    async def out_or_saved(self, job: Job) -> None:
        """A part of the job ended: out of the queue with it if that was the last, else on with the rest. Raises StorageError."""
        if not job.is_over:
            await self.journal.save(job)
        elif await self.journal.remove(job):
            cancelled = any(part.state is JobState.CANCELLED for part in job.parts.values())
            self.left(job, "cancelled" if cancelled else "done")

    def ended(self, *entries: HistoryEntry) -> None:
        """These parts are over: it's known and told from now on, and on disk with the history's next write."""
        self.history.keep(*entries)
        for entry in entries:
            self.events.publish(
                PartEnded(
                    job_id=format_reference(entry.repository, entry.reference),
                    upstream=entry.upstream,
                    outcome=str(entry.outcome),
                    seconds=entry.seconds,
                    bytes_sent=entry.bytes_sent,
                    bytes_saved=entry.bytes_saved,
                    tries=entry.tries,
                    reason=entry.reason,
                    replaced=entry.replaced,
                )
            )

    def gate_changed(self, upstream: str, gate: Gate) -> None:
        self.touch_world()
        self.events.publish(UpstreamStateChanged(upstream=upstream, state=gate.state, reason=gate.reason))

    def entry(self, job: Job, part: Part, outcome: JobState, reason: str = "") -> HistoryEntry:
        """The line of the history for a part that ended now."""
        progress = part.meter.snapshot() if part.meter else None
        upstream = self.routes.upstream(part.upstream)
        return HistoryEntry(
            repository=job.repository,
            reference=job.reference,
            digest=job.digest,
            upstream=part.upstream,
            registry=self.registry_of(part.upstream),
            outcome=outcome,
            at=self.clock.now(),
            seconds=self.clock.monotonic() - part.since if part.since is not None else 0.0,
            bytes_sent=part.bytes_sent_in_all,
            # What an earlier attempt sent is there by now as well: that was saved nobody.
            bytes_saved=max(0, progress.bytes_saved - part.bytes_sent) if progress else 0,
            tries=part.tries,
            reason=reason,
            replaced=part.replaced,
            place=place_at(upstream, job.repository) if upstream is not None else "",
            error=part.error,
        )


_ON_ITS_WAY: Final = frozenset(
    {JobState.QUEUED, JobState.WAITING, JobState.PREPARING, JobState.TRANSFERRING, JobState.COMMITTING}
)


PUSH_FAILED: Final = "Its push failed."
"""Why what was queued for a push leaves."""


def no_route(upstream: str) -> str:
    """Why a part stays though its upstream is there."""
    return f"{upstream} takes no pushes of this image any more: the settings changed."


def _passes(tag: Tag, wanted: TagFilter) -> bool:
    if is_about(tag):
        # Signatures go where their images go, unless somebody says otherwise of just these.
        return not any(pattern.startswith("sha") and fnmatchcase(tag, pattern) for pattern in wanted.exclude)
    included = not wanted.include or any(fnmatchcase(tag, pattern) for pattern in wanted.include)
    return included and not any(fnmatchcase(tag, pattern) for pattern in wanted.exclude)


def _later(one: datetime | None, other: datetime | None) -> datetime | None:
    if one is None or other is None:
        return one or other
    return max(one, other)


def seconds_from(now: datetime, seconds: float) -> datetime:
    """That moment, to the millisecond."""
    return now + timedelta(milliseconds=round(seconds * 1000))


PartsOf = Mapping[Job, list[Part]]
"""Some jobs, and which of their parts are meant."""
