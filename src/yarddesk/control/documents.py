"""The JSON documents of the control API, from snapshots. Times are RFC 3339 in UTC, sizes bytes; keys are only ever added."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any, Final

from yarddesk import __version__
from yarddesk.content.clock import rfc3339
from yarddesk.content.pull_through import PullHealth
from yarddesk.control.event_log import Happened
from yarddesk.control.surface import ControlSurface
from yarddesk.events import Event
from yarddesk.oci.digest import Digest
from yarddesk.sync.snapshot import HistoryEntry, JobSnapshot, SyncSnapshot, UpstreamHealth, UpstreamPart, overall_state

_INNER_CAPITAL: Final = re.compile(r"(?<!^)(?=[A-Z])")


def timestamp(moment: datetime | None) -> str | None:
    return rfc3339(moment, "milliseconds") if moment else None


def status_document(
    snapshot: SyncSnapshot, url: str, cache: Mapping[str, int], pull_health: Callable[[str], PullHealth]
) -> dict[str, Any]:
    return {
        "url": url,
        "version": __version__,
        "state": str(overall_state(snapshot)),
        "paused": snapshot.paused,
        "paused_until": timestamp(snapshot.paused_until),
        "paused_repositories": [
            {"repository": name, "until": timestamp(until)} for name, until in snapshot.paused_repositories.items()
        ],
        "set_aside": [{"file": marker.file, "reason": marker.reason} for marker in snapshot.set_aside],
        "jobs": {str(state): count for state, count in snapshot.counts.items()},
        "bytes_left": snapshot.bytes_left,
        "bytes_per_second": round(snapshot.bytes_per_second),
        "cache": dict(cache),
        "upstreams": [_upstream(upstream, pull_health(upstream.upstream)) for upstream in snapshot.upstreams],
    }


def _upstream(upstream: UpstreamHealth, pulls: PullHealth) -> dict[str, Any]:
    state, reason = pulls.beside(upstream.state, upstream.reason)
    return {
        "name": upstream.upstream,
        "registry": upstream.registry,
        "state": state,
        "reason": reason,
        "paused": upstream.paused,
        "pulls": _pulls(pulls),
    }


def cache_document(surface: ControlSurface) -> dict[str, int]:
    """`used` of `max` is what can be had again, `stored` all that is here; `max` 0 is no bound."""
    return {"used": surface.used_bytes(), "max": surface.max_bytes, "stored": surface.stored_bytes()}


def _pulls(health: PullHealth) -> dict[str, Any]:
    quota = health.quota
    return {
        "state": health.state,
        "reason": health.reason,
        "quota": {"limit": quota.limit, "remaining": quota.remaining, "window_seconds": quota.window_seconds}
        if quota is not None
        else None,
    }


def queue_document(snapshot: SyncSnapshot) -> dict[str, Any]:
    return {"jobs": [_job(job) for job in snapshot.jobs]}


def _job(job: JobSnapshot) -> dict[str, Any]:
    return {
        "id": job.id,
        "repository": job.repository,
        "reference": job.reference,
        "digest": job.digest,
        "generation": job.generation,
        "created": timestamp(job.created),
        "paused": job.paused or job.repository_paused,
        "priority": job.priority,
        "upstreams": [_part(part) for part in job.parts],
    }


def _part(part: UpstreamPart) -> dict[str, Any]:
    return {
        "name": part.upstream,
        "registry": part.registry,
        "state": str(part.state),
        "reason": part.reason,
        "bytes_done": part.bytes_done,
        "bytes_total": part.bytes_total,
        "bytes_there": part.plan.there if part.plan else None,
        "bytes_mountable": part.plan.mountable if part.plan else None,
        "bytes_to_send": part.plan.to_send if part.plan else None,
        "bytes_per_second": round(part.progress.bytes_per_second) if part.progress else 0,
        "tries": part.tries,
        "next_attempt": timestamp(part.next_attempt),
        "conflict": {"there": part.conflict} if part.conflict is not None else None,
    }


def history_document(entries: Sequence[HistoryEntry]) -> dict[str, Any]:
    return {
        "entries": [
            {
                "repository": entry.repository,
                "reference": entry.reference,
                "digest": entry.digest,
                "upstream": entry.upstream,
                "registry": entry.registry,
                "outcome": str(entry.outcome),
                "at": timestamp(entry.at),
                "seconds": round(entry.seconds, 3),
                "bytes_sent": entry.bytes_sent,
                "bytes_saved": entry.bytes_saved,
                "tries": entry.tries,
                "reason": entry.reason,
                "error": entry.error or None,
                "replaced": str(entry.replaced) if isinstance(entry.replaced, Digest) else None,
                "hook": entry.hook or None,
            }
            for entry in entries
        ]
    }


def events_document(happened: Happened) -> dict[str, Any]:
    return {
        "events": [_event(event) for event in happened.events],
        "last": happened.last,
        "missed": happened.missed,
    }


def _event(event: Event) -> dict[str, Any]:
    """Its fields, after its type: `job_state_changed` for a JobStateChanged."""
    values = {field.name: getattr(event, field.name) for field in fields(event)}
    document = {"type": _INNER_CAPITAL.sub("_", type(event).__name__).lower(), **values}
    return document | {"at": timestamp(event.at)}
