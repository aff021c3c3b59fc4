"""The instance that runs on the data folder, and what only it knows: how the queue and its upstreams stand."""

import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from yarddesk import __version__
from yarddesk.control.client import ControlClient, ControlError, NoCertificate
from yarddesk.control.instance import Instance, NoInstance, find_instance
from yarddesk.service.doctor.finding import Finding, State, broken, of_error, ok, warning
from yarddesk.settings.model import Settings
from yarddesk.storage.durable import storage_error
from yarddesk.storage.layout import PENDING
from yarddesk.storage.lock import holder_seen
from yarddesk.sync.marker_files import look_through
from yarddesk.sync.states import JobState

_INSTANCE: Final = "instance"
_QUEUE: Final = "queue"
_ANSWER_SECONDS: Final = 6.0
_MOST_REASONS: Final = 10
_STUCK: Final = (JobState.BLOCKED, JobState.FAILED)
_LOOK_AT_IT: Final = "`yarddesk queue` shows it; `yarddesk retry REFERENCE` tries again once that is put right."


@dataclass(frozen=True, slots=True)
class Running:
    """An instance, and its own documents (see control.documents); without `answers` it is there, and they are empty."""

    instance: Instance
    status: Mapping[str, Any]
    queue: Mapping[str, Any]
    history: Mapping[str, Any]
    metrics: str
    answers: bool = True


def ask_instance(settings: Settings) -> tuple[Running | None, Finding]:
    """Who runs on the data folder, if anybody. Blocking."""
    subject = str(settings.data_dir)
    try:
        instance = find_instance(settings.data_dir)
        with ControlClient(settings.data_dir, settings.server.certfile, timeout_seconds=_ANSWER_SECONDS) as client:
            status, queue, history = client.get("status"), client.get("queue"), client.get("history", limit=1000)
            running = Running(instance, status, queue, history, client.metrics())
    except NoInstance:
        return None, _nobody(settings)
    except ControlError as error:
        if sys.platform == "linux" and holder_seen(settings.data_dir) is None:
            # One that was killed left its address, where another program listens by now: nobody is to end that.
            return None, _nobody(settings)
        return Running(instance, {}, {}, {}, "", answers=False), _silent(instance, subject, error)
    except OSError as error:
        hint = "Run this as the user that runs yarddesk."
        return None, broken(_INSTANCE, subject, f"Who runs there can't be told: {error.strerror or error}.", hint)
    message = f"yarddesk {instance.version} runs, pid {instance.pid}, and answers at {instance.url}."
    if instance.version == __version__:
        return running, ok(_INSTANCE, subject, message)
    return running, warning(
        _INSTANCE, subject, f"{message} This command is of yarddesk {__version__}.", "Start yarddesk again."
    )


def _silent(instance: Instance, subject: str, error: ControlError) -> Finding:
    who = f"yarddesk {instance.version} (pid {instance.pid}) holds the data folder, and"
    if isinstance(error, NoCertificate):
        return broken(_INSTANCE, subject, f"{who} can't be asked at {instance.url}: {error.title}", error.hint)
    hint = f"Its log may say why. Where it stays so, end pid {instance.pid}, and start it again."
    return broken(_INSTANCE, subject, f"{who} does not answer at {instance.url}: {error.title}", hint)


def _nobody(settings: Settings) -> Finding:
    holder = holder_seen(settings.data_dir)
    if holder is None:
        return ok(_INSTANCE, str(settings.data_dir), "No yarddesk runs on this data folder.")
    return warning(
        _INSTANCE,
        str(settings.data_dir),
        f"pid {holder} holds the data folder and answers no requests: a yarddesk that is starting, or a command at work.",
        "Look again once it is through.",
    )


def check_queue(running: Running | None, settings: Settings, now: datetime) -> Iterator[Finding]:
    """How it stands, by the running instance, else by what lies on disk. Blocking."""
    if running is None:
        yield from _queue_on_disk(settings, now)
    elif running.answers:
        yield from _pauses(running.status)
        yield from _set_aside(
            settings, [(marker["file"], marker["reason"]) for marker in running.status.get("set_aside", ())]
        )
        yield from _stuck(running.queue["jobs"])
        yield from _upstreams(running.status["upstreams"])


def _queue_on_disk(settings: Settings, now: datetime) -> Iterator[Finding]:
    try:
        count, aside = look_through(settings.data_dir / PENDING, now)
    except OSError as error:
        folder = str(settings.data_dir)
        yield of_error(
            State.BROKEN, _QUEUE, folder, storage_error(error, folder), "Run this as the user that runs yarddesk."
        )
        return
    waiting = "1 image waits" if count == 1 else f"{count:,} images wait"
    yield ok(_QUEUE, "", f"{waiting} for the next start." if count else "Nothing waits.")
    yield from _set_aside(settings, [(marker.file, marker.reason) for marker in aside])


def _set_aside(settings: Settings, markers: Sequence[tuple[str, str]]) -> Iterator[Finding]:
    for file, reason in markers:
        hint = "Remove it once the image is upstream, or push the image again."
        yield warning(_QUEUE, str(settings.data_dir / PENDING / file), f"The file can't be used: {reason}", hint)


def _pauses(status: Mapping[str, Any]) -> Iterator[Finding]:
    if status["paused"]:
        yield warning(_QUEUE, "", "Everything is paused.", "`yarddesk resume` goes on.")
    for paused in status.get("paused_repositories", ()):
        name = paused["repository"]
        yield warning(_QUEUE, name, f"{name} is paused.", f"`yarddesk resume {name}` goes on.")
    for upstream in status["upstreams"]:
        if upstream.get("paused"):
            name = upstream["name"]
            yield warning(_QUEUE, name, f"What goes to {name} is paused.", f"`yarddesk resume {name}` goes on.")


def _stuck(jobs: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    """What waits for a person, a finding for each reason."""
    images: defaultdict[tuple[str, str, str], list[str]] = defaultdict(list)
    for job in jobs:
        for part in job["upstreams"]:
            if part["state"] in _STUCK:
                images[part["name"], part["state"], part["reason"]].append(job["id"])
    for number, ((upstream, state, reason), names) in enumerate(images.items()):
        if number == _MOST_REASONS:
            yield broken(_QUEUE, "", f"There are {len(images) - number} more reasons why images wait.", _LOOK_AT_IT)
            return
        more = f" and {len(names) - 1:,} more" if len(names) > 1 else ""
        yield broken(_QUEUE, names[0], f"{names[0]}{more}, {state} on the way to {upstream}: {reason}", _LOOK_AT_IT)
    if not images:
        waiting = f"{len(jobs):,} on the way" if jobs else "nothing waits"
        yield ok(_QUEUE, "", f"No image needs a person; {waiting}.")


def _upstreams(upstreams: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    """What the instance says of those that don't do as they should, which may be another thing than we find ourselves."""
    for upstream in upstreams:
        name, pulls = upstream["name"], upstream["pulls"]
        if upstream["state"] not in ("ok", "unknown"):
            state = upstream["state"].replace("_", " ")
            yield warning(_INSTANCE, name, f"It takes {name} for “{state}”: {upstream['reason']}", _COMPARE)
        elif pulls["state"] != "ok":
            yield warning(_INSTANCE, name, f"Pulls don't ask {name}: {pulls['reason']}", _COMPARE)


_COMPARE: Final = (
    "Where it is reached below, the instance finds out by itself; a sign-in or a proxy may be set here alone."
)
