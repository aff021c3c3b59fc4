"""Markers: one queued sync as a small JSON document that people can read (`ls pending/`), and what it says in memory."""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from yarddesk.content.clock import rfc3339
from yarddesk.errors import YarddeskError
from yarddesk.oci.digest import Digest
from yarddesk.oci.name import Reference, RepositoryName, format_reference, parse_reference
from yarddesk.progress import LayerState, ProgressMeter
from yarddesk.sync.schedule import Order
from yarddesk.sync.snapshot import JobSnapshot, SendPlan
from yarddesk.sync.states import JobState, step

SCHEMA: Final = 1
ALSO_WANTED: Final = "also_wanted"
"""Key of an index's marker: manifests that it takes along and that were pushed by themselves while it was queued."""

MAX_MARKER_BYTES: Final = 1024 * 1024

_RESTING = frozenset({JobState.WAITING, JobState.BLOCKED, JobState.DONE, JobState.CANCELLED, JobState.FAILED})
_JOB_KEYS = frozenset(
    {"schema", "repository", "reference", "digest", "media_type", "generation", "created", "upstreams"}
    | {"paused", "paused_until", "priority", "subject", "carries"}
)
_PART_KEYS = frozenset(
    {
        "state",
        "tries",
        "next_attempt",
        "reason",
        "needs_credentials",
        "missing",
        "replaced",
        "conflict",
        "away",
        "error",
        "began",
        "bytes_sent",
    }
)


class DamagedMarker(YarddeskError):
    """A file in `pending/` that is no marker, or one of a version that this one doesn't know."""


@dataclass(frozen=True, slots=True)
class Conflict:
    """Somebody else moved the tag upstream, to `there`; `overwrite`: a person said to overwrite that."""

    there: Digest
    overwrite: bool = False


class Look(NamedTuple):
    """What a part was blocked by."""

    reason: str
    needs_credentials: bool


@dataclass(slots=True)
class Part:
    """One upstream's part of a job. Below `extra` is what a marker doesn't keep.

    `replaced` is what the tag named there when we (were about to) let it name this. `error`: why its last try that failed did.
    `away`: it waits for nothing but its upstream's return. `asked`: somebody or something says that it's worth a try now;
    `look`: what it was blocked by, while it's only looked whether that still holds.
    `began`: the first attempt's start, `bytes_sent`: of all attempts before the last; both go on over a restart.
    `meter` is the last attempt's; `started`: the first attempt's start since yarddesk's (monotonic), `since`: `began` by that clock.
    `looks`: how often it was looked, in vain, whether what blocks it still holds; `arrived`: those that came in during this attempt.
    `uncounted`: its last attempt was ended from outside, and the marker doesn't say yet what that one sent.
    """

    upstream: str
    state: JobState = JobState.QUEUED
    tries: int = 0
    next_attempt: datetime | None = None
    reason: str = ""
    needs_credentials: bool = False
    missing: tuple[Digest, ...] = ()
    replaced: Digest | None = None
    conflict: Conflict | None = None
    away: bool = False
    error: str = ""
    began: datetime | None = None
    bytes_sent: int = 0
    extra: dict[str, Any] = field(default_factory=dict)
    asked: bool = False
    look: Look | None = None
    meter: ProgressMeter | None = None
    plan: SendPlan | None = None
    started: float | None = None
    since: float | None = None
    looks: int = 0
    arrived: frozenset[Digest] = frozenset()
    uncounted: bool = False

    @property
    def asks(self) -> bool:
        """Whether a person is to decide about a tag that was moved."""
        return self.state is JobState.BLOCKED and self.conflict is not None and not self.conflict.overwrite

    @property
    def bytes_sent_in_all(self) -> int:
        return self.bytes_sent + (self.meter.snapshot().bytes_sent if self.meter else 0)

    @property
    def bytes_kept(self) -> int:
        """`bytes_sent_in_all` without what is halfway through: another start begins that again."""
        layers = self.meter.snapshot().layers if self.meter else ()
        return self.bytes_sent_in_all - sum(layer.done for layer in layers if layer.state is LayerState.SENDING)

    def move(self, new: JobState) -> JobState:
        """Take a step of the table, and give the state before it. Raises IllegalStep."""
        old, self.state = self.state, step(self.state, new)
        return old


@dataclass(slots=True, eq=False)
class Job:
    """One generation of an image's sync: a push of the same reference makes another object with the next generation.

    `subject`: what it's about. `carries`: the manifests of an index that carries no other index (of others that isn't kept, but
    read at the start). `replaces`: what was queued when this push came. `priority`: 0, or above it for what a person moved up.
    `size`: the bytes of all that belongs to the image; None where nobody has looked.
    """

    repository: RepositoryName
    reference: Reference
    digest: Digest
    media_type: str
    generation: int
    created: datetime
    parts: dict[str, Part]
    paused: bool = False
    paused_until: datetime | None = None
    priority: int = 0
    subject: Digest | None = None
    carries: tuple[Digest, ...] = ()
    extra: dict[str, Any] = field(default_factory=dict)
    replaces: Digest | None = None
    size: int | None = None
    sequence: int = 0
    view: JobSnapshot | None = None
    id: str = field(init=False)

    def __post_init__(self) -> None:
        self.id = format_reference(self.repository, self.reference)

    @property
    def order(self) -> Order:
        """Its place among those that wait."""
        return (-self.priority, self.sequence)

    @property
    def is_over(self) -> bool:
        return all(part.state.is_over for part in self.parts.values())

    @property
    def open_parts(self) -> list[Part]:
        return [part for part in self.parts.values() if not part.state.is_over]


@dataclass(frozen=True, slots=True)
class Marker:
    """What a file said. `digest` is empty for Switchyard's, which has none; `upstreams` None: those of the route."""

    repository: RepositoryName
    reference: Reference
    digest: Digest | None
    media_type: str
    generation: int
    created: datetime
    upstreams: Mapping[str, Part] | None
    tries: int = 0
    paused: bool = False
    paused_until: datetime | None = None
    priority: int = 0
    subject: Digest | None = None
    carries: tuple[Digest, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)


def job_of(marker: Marker, digest: Digest, media_type: str, parts: Mapping[str, Part], generation: int) -> Job:
    """The job that a marker is about, with what is known better by now."""
    return Job(
        repository=marker.repository,
        reference=marker.reference,
        digest=digest,
        media_type=media_type,
        generation=generation,
        created=marker.created,
        parts=dict(parts),
        paused=marker.paused,
        paused_until=marker.paused_until,
        priority=marker.priority,
        subject=marker.subject if digest == marker.digest else None,
        carries=marker.carries if digest == marker.digest else (),
        extra=dict(marker.extra),
    )


def encode_marker(job: Job) -> bytes:
    """The document for a job: the states it would go on from after a restart."""
    document = dict(job.extra)
    document |= {
        "schema": SCHEMA,
        "repository": job.repository,
        "reference": job.reference,
        "digest": job.digest,
        "media_type": job.media_type,
        "generation": job.generation,
        "created": _text(job.created),
        "upstreams": {name: _part_document(part, job.paused) for name, part in job.parts.items()},
    }
    if job.paused:
        document |= {"paused": True, "paused_until": _text(job.paused_until)}
    if job.priority:
        document["priority"] = job.priority
    if job.subject is not None:
        document["subject"] = job.subject
    if job.carries:
        document["carries"] = list(job.carries)
    return json.dumps(document, indent=2, ensure_ascii=False).encode() + b"\n"


def decode_marker(content: bytes, now: datetime) -> Marker:
    """Read a marker of ours or of Switchyard's. Raises DamagedMarker."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DamagedMarker("It is not valid JSON.", str(error)[:200]) from error
    if not isinstance(document, dict):
        raise DamagedMarker("It is not a JSON object.")
    try:
        if "schema" not in document and "name" in document:
            return _from_switchyard(document, now)
        return _from_ours(document)
    except YarddeskError as error:
        raise DamagedMarker(error.title, error.message) from error
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise DamagedMarker("A key is missing or of the wrong kind.", repr(error)[:200]) from error


def _part_document(part: Part, paused: bool) -> dict[str, Any]:
    state = part.state if part.state in _RESTING else JobState.QUEUED
    if paused and state in (JobState.QUEUED, JobState.WAITING):
        state = JobState.PAUSED
    document = dict(part.extra)
    document |= {
        "state": str(state),
        "tries": part.tries,
        "next_attempt": _text(part.next_attempt),
        "reason": part.reason,
    }
    if part.needs_credentials:
        document["needs_credentials"] = True
    if part.away:
        document["away"] = True
    if part.error:
        document["error"] = part.error
    if part.began is not None:
        document |= {"began": _text(part.began), "bytes_sent": part.bytes_kept}
    if part.missing:
        document["missing"] = list(part.missing)
    if part.replaced is not None:
        document["replaced"] = part.replaced
    if part.conflict is not None:
        document["conflict"] = {"there": part.conflict.there}
        if part.conflict.overwrite:
            document["conflict"]["decided"] = "overwrite"
    return document


def _from_ours(document: dict[str, Any]) -> Marker:
    if document["schema"] != SCHEMA:
        raise DamagedMarker(f"It is of version {document['schema']!r}, which this yarddesk doesn't know.")
    upstreams = document.get("upstreams")
    if upstreams is not None and not isinstance(upstreams, dict):
        raise DamagedMarker("Its upstreams are not an object.")
    parts = None if upstreams is None else {name: _part(name, entry) for name, entry in upstreams.items()}
    states = [] if upstreams is None else [entry.get("state") for entry in upstreams.values()]
    return Marker(
        repository=RepositoryName.parse(document["repository"]),
        reference=parse_reference(document["reference"]),
        digest=Digest.parse(document["digest"]),
        media_type=sys.intern(str(document.get("media_type") or "")),
        generation=max(1, int(document.get("generation", 1))),
        created=_moment(document["created"]),
        upstreams=parts,
        paused=bool(document.get("paused")) or JobState.PAUSED in states,
        paused_until=_moment(document["paused_until"]) if document.get("paused_until") else None,
        priority=max(0, int(document.get("priority") or 0)),
        subject=Digest.parse(document["subject"]) if document.get("subject") else None,
        carries=tuple(Digest.parse(digest) for digest in document.get("carries") or ()),
        extra={key: value for key, value in document.items() if key not in _JOB_KEYS},
    )


def _part(name: str, entry: dict[str, Any]) -> Part:
    state = JobState(entry.get("state", "queued"))
    return Part(
        upstream=name,
        state=state if state in _RESTING else JobState.QUEUED,
        tries=max(0, int(entry.get("tries") or 0)),
        next_attempt=_moment(entry["next_attempt"]) if entry.get("next_attempt") else None,
        reason=sys.intern(str(entry.get("reason") or "")),  # of thousands that wait most say the same
        error=sys.intern(str(entry.get("error") or "")),
        began=_moment(entry["began"]) if entry.get("began") else None,
        bytes_sent=max(0, int(entry.get("bytes_sent") or 0)),
        needs_credentials=bool(entry.get("needs_credentials")),
        away=bool(entry.get("away")),
        missing=tuple(Digest.parse(digest) for digest in entry.get("missing") or ()),
        replaced=Digest.parse(entry["replaced"]) if entry.get("replaced") else None,
        conflict=_conflict(entry["conflict"]) if entry.get("conflict") else None,
        extra={key: value for key, value in entry.items() if key not in _PART_KEYS},
    )


def _conflict(document: dict[str, Any]) -> Conflict:
    return Conflict(Digest.parse(document["there"]), document.get("decided") == "overwrite")


def _from_switchyard(document: dict[str, Any], now: datetime) -> Marker:
    reference = parse_reference(document["reference"])
    created = document.get("created")
    return Marker(
        repository=RepositoryName.parse(document["name"]),
        reference=reference,
        digest=reference if isinstance(reference, Digest) else None,
        media_type="",
        generation=1,
        created=now if created is None else _moment(created),
        upstreams=None,
        tries=max(0, int(document.get("retries") or 0)),
    )


def _moment(value: object) -> datetime:
    """RFC 3339, or seconds since 1970 as Switchyard has it."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return datetime.fromtimestamp(value, UTC)
    if not isinstance(value, str):
        raise DamagedMarker(f"{value!r} is no time.")
    moment = datetime.fromisoformat(value)
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def _text(moment: datetime | None) -> str | None:
    return rfc3339(moment) if moment else None
