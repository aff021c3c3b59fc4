"""`sync.on_synced`: a command and a webhook that are told when an image has arrived.

In order, one at a time each, at least once: what is to be told is on disk before the image leaves the queue, and goes when it was
told. Whatever comes of it, it's no image's state.
"""

import asyncio
import json
import logging
import os
import re
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Final, Protocol, Self

from yarddesk.content.clock import Clock, SystemClock, rfc3339
from yarddesk.content.credentials import Secret
from yarddesk.content.listener import Arrival
from yarddesk.errors import YarddeskError
from yarddesk.events import EventBus, HookFailed
from yarddesk.oci.digest import Digest
from yarddesk.oci.name import ImageReference, RepositoryName, parse_reference
from yarddesk.service.commands import CommandRun
from yarddesk.service.outbox import Document, Outbox
from yarddesk.settings.model import OnSyncedSettings
from yarddesk.settings.values import command_words
from yarddesk.sync.snapshot import HistoryEntry
from yarddesk.sync.states import JobState
from yarddesk.upstream import webhook
from yarddesk.upstream.words import clean

_log = logging.getLogger(__name__)

_COMMAND_SECONDS: Final = 60.0
_FIRST_AGAIN_SECONDS: Final = 5.0
_LONGEST_AGAIN_SECONDS: Final = 300.0
_BETWEEN_PIECES: Final = re.compile(r"[^\w.~+-]+")
_LEAST_PIECE: Final = 6
_TOLD_WITHIN: Final = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why it could not be told, in words; `again`: it's worth another try."""

    reason: str
    again: bool


Tell = Callable[[Secret, Document], Awaitable[Failure | None]]
Remember = Callable[[HistoryEntry], Awaitable[None]]


class Untold(Protocol):
    """Hears of what `hook` could not be told; `over`: for good."""

    async def __call__(self, hook: str, document: Document, reason: str, *, over: bool) -> None: ...


class Hooks:
    """A content.listener.ArrivalListener. Use it as `async with`, around the sync service."""

    def __init__(
        self,
        data_dir: Path,
        settings: OnSyncedSettings,
        events: EventBus,
        *,
        environ: Mapping[str, str] | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._events = events
        self._clock = clock = clock or SystemClock()
        self._environ = os.environ if environ is None else environ
        self._threads = ThreadPoolExecutor(1, "on-synced")
        self.remember: Remember | None = None
        """Keeps in the history what could not be told, for good."""
        self._command = _Line("command", Outbox(data_dir, "command"), self._run, self._untold, clock)
        self._webhook = _Line("webhook", Outbox(data_dir, "webhook"), _post, self._untold, clock)
        self._tasks: list[asyncio.Task[None]] = []
        self.follow(settings)

    async def __aenter__(self) -> Self:
        for line in (self._command, self._webhook):
            await line.outbox.load()
            self._tasks.append(asyncio.create_task(line.run(), name=f"on-synced {line.name}"))
            self._tasks[-1].add_done_callback(_report)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        self._threads.shutdown(wait=False)

    def follow(self, settings: OnSyncedSettings) -> None:
        """These settings are in force: for what waits, too."""
        self._command.become(settings.command)
        self._webhook.become(settings.webhook)

    async def image_arrived(self, arrival: Arrival) -> None:
        document = _document(arrival)
        for line in (self._command, self._webhook):
            if line.setting:
                for dropped in await line.outbox.add(document):
                    await self._untold(line.name, dropped, "Too many others waited to be told after it.", over=True)

    async def _run(self, setting: Secret, document: Document) -> Failure | None:
        words = command_words(setting.reveal())
        run = CommandRun(words, json.dumps(document, ensure_ascii=False).encode() + b"\n", self._surroundings(document))
        done = asyncio.get_running_loop().run_in_executor(self._threads, run.run, _COMMAND_SECONDS)
        try:
            status = await asyncio.shield(done)
        except OSError as error:
            return Failure(f"{words[0]} could not be started: {error.strerror or type(error).__name__}.", again=False)
        except asyncio.CancelledError:
            run.end()
            await asyncio.wait([done])
            raise
        if status == 0:
            return None
        said = clean(run.output.decode(errors="replace"), _secrets(words[1:]))
        how = f"ended with status {status}" if status is not None else f"took more than {_COMMAND_SECONDS:g} s"
        return Failure(f"{words[0]} {how}{f': {said}' if said else '.'}", again=False)

    async def _untold(self, hook: str, document: Document, reason: str, *, over: bool) -> None:
        """Say that something could not be told; where it's `over`, durably."""
        entry = _entry(hook, document, reason, self._clock.now())
        if over and entry is not None and self.remember is not None:
            await self.remember(entry)
        image = str(document.get("image", ""))
        self._events.publish(HookFailed(what=hook, image=image, reason=reason, over=over))

    def _surroundings(self, document: Document) -> dict[str, str]:
        """Our own settings may hold secrets, and would be taken for the command's if it is yarddesk."""
        environ = {name: value for name, value in self._environ.items() if not name.upper().startswith("YARDDESK_")}
        told = ("repository", "reference", "digest", "upstream", "registry", "replaced")
        return environ | {f"YARDDESK_{name.upper()}": str(document.get(name) or "") for name in told}


class _Line:
    """Tells one listener, one arrival after the other."""

    def __init__(self, name: str, outbox: Outbox, tell: Tell, untold: Untold, clock: Clock) -> None:
        self.name = name
        self.outbox = outbox
        self.setting = Secret("")
        self._tell = tell
        self._untold = untold
        self._clock = clock
        self._changed = asyncio.Event()

    def become(self, setting: Secret) -> None:
        """It's told there from now on; empty: nowhere."""
        if setting != self.setting:
            self.setting = setting
            self._changed.set()

    async def run(self) -> None:
        failures = 0
        while True:
            number, document = await self.outbox.first()
            self._changed.clear()
            if not self.setting:
                count = await self.outbox.clear()
                _log.warning("%d arrivals are not told: sync.on_synced.%s is not set any more", count, self.name)
                continue
            failure = await self._tell(self.setting, document)
            if failure is None:
                failures = 0
                await self.outbox.remove(number)
                continue
            failures += 1
            over = not failure.again or self._is_old(document)
            await self._report(document, failure, first=failures == 1, over=over)
            if over:
                failures = 0
                await self.outbox.remove(number)
            else:
                seconds = min(_FIRST_AGAIN_SECONDS * 2.0 ** min(failures - 1, 10), _LONGEST_AGAIN_SECONDS)
                await self._clock.wait(self._changed, seconds)

    def _is_old(self, document: Document) -> bool:
        try:
            return self._clock.now() - datetime.fromisoformat(str(document["at"])) > _TOLD_WITHIN
        except (KeyError, ValueError, TypeError):
            return True

    async def _report(self, document: Document, failure: Failure, *, first: bool, over: bool) -> None:
        if not (first or over):
            _log.info("sync.on_synced.%s: %s", self.name, failure.reason)
            return
        what = f"sync.on_synced.{self.name} for {document.get('image', 'an image')}"
        _log.warning("%s: %s%s", what, failure.reason, "" if over else " It is tried again.")
        await self._untold(self.name, document, failure.reason, over=over)


async def _post(setting: Secret, document: Document) -> Failure | None:
    content = json.dumps(document, ensure_ascii=False).encode()
    reason = await webhook.post(setting, content, str(document.get("id", "")))
    return Failure(reason, again=True) if reason else None


def _secrets(arguments: Sequence[str]) -> Sequence[str]:
    """Whatever stands in a command's arguments may be one, also a piece of an address or of a shell's script."""
    pieces = {
        piece for argument in arguments for piece in _BETWEEN_PIECES.split(argument) if len(piece) >= _LEAST_PIECE
    }
    return sorted({*arguments, *pieces}, key=len, reverse=True)


def _document(arrival: Arrival) -> Document:
    return {
        "id": str(uuid.uuid4()),
        "event": "image_synced",
        "at": rfc3339(arrival.at, "milliseconds"),
        "image": str(ImageReference(arrival.repository, arrival.reference)),
        "repository": arrival.repository,
        "reference": arrival.reference,
        "digest": arrival.digest,
        "upstream": arrival.upstream,
        "registry": arrival.registry,
        "replaced": arrival.replaced,
        "bytes_sent": arrival.bytes_sent,
    }


def _entry(hook: str, document: Document, reason: str, now: datetime) -> HistoryEntry | None:
    """The line of the history; None for what another version wrote, or a person."""
    try:
        return HistoryEntry(
            repository=RepositoryName.parse(str(document["repository"])),
            reference=parse_reference(str(document["reference"])),
            digest=Digest.parse(str(document["digest"])),
            upstream=str(document["upstream"]),
            registry=str(document["registry"]),
            outcome=JobState.FAILED,
            at=now,
            reason=reason,
            hook=hook,
        )
    except (KeyError, YarddeskError):
        return None


def _report(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.critical("%s does not go on", task.get_name(), exc_info=error)
