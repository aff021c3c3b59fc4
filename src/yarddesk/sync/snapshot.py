"""What the window, the tray, the commands and `/api/v1` see of the queue: immutable values, cheap to make."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final, Protocol

from yarddesk.oci.digest import Digest
from yarddesk.oci.name import ImageReference, Reference, RepositoryName, Tag
from yarddesk.progress import TransferProgress
from yarddesk.sync.states import JobState


@dataclass(frozen=True, slots=True)
class SendPlan:
    """Bytes of an image that an upstream has, that another repository there has and may be mounted, and that must go out."""

    there: int
    mountable: int
    to_send: int


@dataclass(frozen=True, slots=True)
class UpstreamPart:
    """One upstream's part of a job. `reason` is in words for people; `needs_credentials` asks for “Sign in”, `needs_settings` for
    another `auth` in the settings, which say how to sign in there.

    `plan` is None until its last try, or a look ahead of its first one, has asked what is there. `size` is the image's, of all
    that belongs to it, None until it was looked at.
    `conflict`: what somebody else moved the tag to there, while a person is to decide about it.
    """

    upstream: str
    registry: str
    state: JobState
    reason: str = ""
    tries: int = 0
    next_attempt: datetime | None = None
    progress: TransferProgress | None = None
    needs_credentials: bool = False
    needs_settings: bool = False
    conflict: Digest | None = None
    plan: SendPlan | None = None
    size: int | None = None

    @property
    def bytes_done(self) -> int:
        return self.progress.bytes_done if self.progress else 0

    @property
    def bytes_total(self) -> int | None:
        """None until the image was looked at."""
        return self.progress.bytes_total if self.progress else self.size

    @property
    def bytes_left(self) -> int:
        """As far as is known."""
        if self.progress is None and self.plan is not None:
            return self.plan.to_send
        return max(0, (self.bytes_total or 0) - self.bytes_done)


@dataclass(frozen=True, slots=True)
class JobSnapshot:
    """One image that waits for, or is on its way to, its upstreams. `priority`: above 0 for what a person moved up.

    `paused` is of the image itself, `repository_paused` of all that is and will be pushed to its repository.
    """

    id: str
    repository: RepositoryName
    reference: Reference
    digest: Digest
    generation: int
    created: datetime
    parts: tuple[UpstreamPart, ...]
    paused: bool = False
    repository_paused: bool = False
    priority: int = 0

    @property
    def name(self) -> str:
        return str(ImageReference(self.repository, self.reference))


@dataclass(frozen=True, slots=True)
class Tally:
    """Many images in sums. `active`: those for which work goes on right now. `stuck`: how many need a person.

    `asking`: the registries that want a sign-in for these, in the images' order; `awaited`: those that are waited for.
    `is_timed`: some part is tried again at a set time.
    """

    counts: Mapping[JobState, int]
    bytes_left: int
    active: tuple[JobSnapshot, ...]
    stuck: int
    asking: tuple[str, ...]
    awaited: frozenset[str]
    is_timed: bool


def add_up(jobs: Sequence[JobSnapshot]) -> Tally:
    """One pass. Images that wait alike share their parts, and are added up together: a queue of 10,000 in a millisecond or two."""
    alike = Counter([id(job.parts) for job in jobs])
    lots = {id(job.parts): job.parts for job in jobs}
    counts: Counter[JobState] = Counter()
    asking: dict[str, None] = {}
    awaited, active = set(), set()
    bytes_left = stuck = 0
    is_timed = False
    for key, parts in lots.items():
        times = alike[key]
        stuck += times if any(part.state in _STUCK for part in parts) else 0
        for part in parts:
            state = part.state
            counts[state] += times
            is_timed = is_timed or part.next_attempt is not None
            if state in _STUCK:
                if part.needs_credentials:
                    asking[part.registry] = None
            elif state is JobState.WAITING:
                awaited.add(part.registry)
            elif state.is_active:
                active.add(key)
            if not state.is_over:
                bytes_left += times * part.bytes_left
    going = tuple(job for job in jobs if id(job.parts) in active) if active else ()
    return Tally(counts, bytes_left, going, stuck, tuple(asking), frozenset(awaited), is_timed)


_STUCK: Final = frozenset({JobState.BLOCKED, JobState.FAILED})


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """A job's part that ended. Sizes in bytes, `seconds` from the first attempt's start; `replaced` is the digest the tag named before.

    `place` is where its repository was at that upstream (Upstream.place_of), whatever its name means now; empty: not known.
    `error`: why the last of its tries that failed did; empty where none did.
    With a `hook` (`command` or `webhook`) it arrived long since, and it's that this could not be told of it, for good.
    """

    repository: RepositoryName
    reference: Reference
    digest: Digest
    upstream: str
    registry: str
    outcome: JobState
    at: datetime
    seconds: float = 0.0
    bytes_sent: int = 0
    bytes_saved: int = 0
    tries: int = 1
    reason: str = ""
    replaced: Digest | None = None
    hook: str = ""
    place: str = ""
    error: str = ""

    @property
    def name(self) -> str:
        return str(ImageReference(self.repository, self.reference))


@dataclass(frozen=True, slots=True)
class UpstreamHealth:
    """`state`: `ok`, `away`, `trouble`, `needs_you` or `unknown` (not asked yet). `paused`: by a person.

    `needs_credentials`: a sign-in is what it needs. `needs_settings`: the settings say how to sign in, and wrongly.
    """

    upstream: str
    registry: str
    state: str = "unknown"
    reason: str = ""
    paused: bool = False
    needs_credentials: bool = False
    needs_settings: bool = False


@dataclass(frozen=True, order=True, slots=True)
class SetAsideMarker:
    """A file of the queue's folder (its path there) that can't be used, and why. What its place names is queued again."""

    file: str
    reason: str


@dataclass(frozen=True, slots=True)
class SyncSnapshot:
    """The queue as it stands: first what was moved up, then what has waited longest.

    `revision` changes whenever anything in it does: same revision, same snapshot.
    """

    revision: int
    paused: bool
    paused_until: datetime | None
    jobs: tuple[JobSnapshot, ...]
    recent: tuple[HistoryEntry, ...]
    upstreams: tuple[UpstreamHealth, ...]
    bytes_per_second: float = 0.0
    paused_repositories: Mapping[RepositoryName, datetime | None] = field(default_factory=dict)
    set_aside: tuple[SetAsideMarker, ...] = ()

    _tally: Tally | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def tally(self) -> Tally:
        """All images in sums; added up once, by whoever asks first."""
        if self._tally is None:
            object.__setattr__(self, "_tally", add_up(self.jobs))
        assert self._tally is not None
        return self._tally

    @property
    def counts(self) -> Mapping[JobState, int]:
        """Parts by state; states without any are left out."""
        return self.tally.counts

    @property
    def bytes_left(self) -> int:
        """Of the parts whose size is known."""
        return self.tally.bytes_left


class OverallState(StrEnum):
    """The one glance: what the tray shows."""

    IDLE = "idle"
    SYNCING = "syncing"
    PAUSED = "paused"
    OFFLINE = "offline"
    NEEDS_YOU = "needs_you"


def overall_state(snapshot: SyncSnapshot) -> OverallState:
    """Worst first: what needs a person, then a pause, then work going on, then upstreams that are away."""
    states = snapshot.counts
    if states.get(JobState.BLOCKED) or states.get(JobState.FAILED):
        return OverallState.NEEDS_YOU
    if snapshot.paused:
        return OverallState.PAUSED
    if any(state.is_active for state in states):
        return OverallState.SYNCING
    if states.get(JobState.WAITING):
        return OverallState.OFFLINE
    if states.get(JobState.PAUSED) and not states.get(JobState.QUEUED):
        return OverallState.PAUSED
    return OverallState.SYNCING if states.get(JobState.QUEUED) else OverallState.IDLE


class ConflictChoice(StrEnum):
    """What a person can decide about a tag that somebody else moved upstream. TAG: sync under another tag, theirs stays."""

    OVERWRITE = "overwrite"
    KEEP = "keep"
    TAG = "tag"


class SyncController(Protocol):
    """What a person, a command or the window can do. Durable before it takes effect; each returns how many jobs it met.

    A pause of a repository or an upstream is of what comes later, too: it, and its end, count 1 where nothing is queued yet.

    `target` is None (everything), an upstream's name, a job's id, a repository or a REFERENCE as ImageReference reads it.
    """

    async def pause(self, target: str | None = None, *, for_seconds: float | None = None) -> int: ...

    async def resume(self, target: str | None = None) -> int: ...

    async def cancel(self, target: str | None = None) -> int: ...

    async def retry(self, target: str | None = None) -> int:
        """Try now what waits, is blocked or failed. What is kept back doesn't count: NothingToTry if that is all."""
        ...

    async def move_up(self, target: str) -> int:
        """Try it before all others, as soon as there is room; what is on its way already isn't stopped for it."""
        ...

    def kept_back(self, target: str | None = None) -> str:
        """How much of it a pause or the settings keep from being tried, which, and how to go on; empty where nothing does."""
        ...

    async def decide(
        self,
        target: str,
        choice: ConflictChoice,
        *,
        upstream: str | None = None,
        tag: Tag | None = None,
        generation: int | None = None,
    ) -> int:
        """About a tag that somebody else moved, at one upstream or all that ask; TAG needs the other tag.

        `generation`: that of the job that the person saw; raises YarddeskError where it was pushed again meanwhile.
        """
        ...

    def snapshot(self) -> SyncSnapshot: ...

    def history(self, limit: int = 100) -> Sequence[HistoryEntry]:
        """Newest first."""
        ...
