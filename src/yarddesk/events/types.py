"""The events: frozen, small; the bus gives each its sequence number and time."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

from yarddesk.oci.digest import Digest
from yarddesk.oci.name import Reference, RepositoryName, Tag

Bound = Literal["max_size", "min_free"]
"""What room is made for, as `cache` in the settings calls it: the cache's own bound, or the disk's last bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """`sequence` grows by one from event to event of one bus; a gap means: look at the whole again."""

    sequence: int = 0
    at: datetime = field(default_factory=lambda: datetime.now(UTC))


@dataclass(frozen=True, slots=True, kw_only=True)
class JobAdded(Event):
    job_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStateChanged(Event):
    """One upstream's part of a job went from one state to another (values of JobState)."""

    job_id: str
    upstream: str
    old: str
    new: str
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartPlanned(Event):
    """It's known what an upstream has of a job's image, what can be mounted there, and what must go out; in bytes."""

    job_id: str
    upstream: str
    there: int
    mountable: int
    to_send: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TryBegun(Event):
    """One upstream's part of a job is tried, for the `number`th time."""

    job_id: str
    upstream: str
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TryFailed(Event):
    """A try came to nothing; `kind` is a value of sync's FailureKind, `reason` in words."""

    job_id: str
    upstream: str
    kind: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PartEnded(Event):
    """One upstream's part of a job is over, as the history has it. `outcome` is `done`, `cancelled` or `failed`."""

    job_id: str
    upstream: str
    outcome: str
    seconds: float
    bytes_sent: int
    bytes_saved: int
    tries: int
    reason: str = ""
    replaced: Digest | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobMoved(Event):
    """Somebody moved a job up: it's tried before the others."""

    job_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRemoved(Event):
    """`outcome` is `done`, `cancelled`, `gone`, or `superseded`: it goes on as part of the index that carries it."""

    job_id: str
    outcome: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSynced(Event):
    """An image arrived at an upstream, and was read back there; `replaced` is what its tag named there before."""

    repository: RepositoryName
    reference: Reference
    digest: Digest
    upstream: str
    replaced: Digest | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TagConflict(Event):
    """Somebody else moved an image's tag upstream, to `there`: that stays (`kept`), or a person decides what becomes of it."""

    job_id: str
    upstream: str
    there: Digest
    kept: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkerSetAside(Event):
    """A file of the queue's folder (its path there) can't be used; told of at each start while it lies there."""

    file: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HookFailed(Event):
    """Who is to be told of arrivals (`what`: `command` or `webhook`) could not be; `image` arrived all the same.

    `over`: it's not tried again, and the history has it.
    """

    what: str
    image: str
    reason: str
    over: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PauseChanged(Event):
    """Paused, or going on: everything, or what of the others is set: an upstream, a repository, a job."""

    paused: bool
    upstream: str = ""
    repository: RepositoryName | None = None
    job_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestStored(Event):
    """A manifest was pushed (`origin` "push") or came through an upstream ("pull")."""

    repository: RepositoryName
    digest: Digest
    tags: tuple[Tag, ...]
    origin: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageChanged(Event):
    """The bytes that are stored became more or less."""

    used_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageEvicted(Event):
    """An image that can be had again went, with its tags, to make room: `size` bytes."""

    repository: RepositoryName
    digest: Digest
    tags: tuple[Tag, ...]
    size: int
    bound: Bound


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobsEvicted(Event):
    """Blobs that came through an upstream, and that no manifest here names, went to make room: `size` bytes."""

    size: int
    bound: Bound


@dataclass(frozen=True, slots=True, kw_only=True)
class ContentDamaged(Event):
    """A blob (without a repository) or a repository's manifest didn't hash to its name.

    `kept_as` is its file in the data folder's quarantine; empty where it could not be moved there. It's not served any more.
    """

    digest: Digest
    repository: RepositoryName | None = None
    kept_as: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContentMended(Event):
    """What was damaged was fetched anew from an upstream."""

    digest: Digest
    repository: RepositoryName
    upstream: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamStateChanged(Event):
    """`state` is `ok`, `away`, `trouble` or `needs_you`; `reason` in words."""

    upstream: str
    state: str
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PullHealthChanged(Event):
    """Pulls had their first answer of an upstream or ask it again (`ok`), or leave it alone for a while: `away`, `trouble` or
    `waits` (it asked to wait)."""

    upstream: str
    state: str
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CredentialRequired(Event):
    """An upstream asks for a user and password that we don't have, or refused those that we have."""

    upstream: str
    registry: str
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingsChanged(Event):
    """The settings in force are others now."""
