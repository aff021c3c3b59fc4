"""Who was told to pause, and until when: everything and whole upstreams, kept in DATA/paused.json; images have it in their markers."""

import asyncio
import json
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from yarddesk.content.threads import in_thread
from yarddesk.storage import durable
from yarddesk.sync.files import remove_files, replace_file

_log = logging.getLogger(__name__)
_MAX_BYTES = 1024 * 1024


class Pauses:
    """Durable before it takes effect: the file is written, then what is asked here changes. None as a time: until resumed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._all: datetime | None = None
        self._everything = False
        self._upstreams: dict[str, datetime | None] = {}
        self._writing = asyncio.Lock()

    @property
    def everything(self) -> bool:
        return self._everything

    @property
    def until(self) -> datetime | None:
        return self._all

    @property
    def upstreams(self) -> Mapping[str, datetime | None]:
        return self._upstreams

    async def load(self, now: datetime) -> None:
        """Take up what was paused before the restart; what ended meanwhile is over."""
        try:
            document = await in_thread(_read, self._path)
        except (OSError, ValueError) as error:
            _log.error("%s can't be read (%s): nothing counts as paused", self._path, error)
            return
        everything, until, upstreams = document
        self._everything = everything and not _is_over(until, now)
        self._all = until if self._everything else None
        self._upstreams = {name: end for name, end in upstreams.items() if not _is_over(end, now)}

    async def pause(self, upstream: str | None, until: datetime | None) -> None:
        """Everything, or one upstream. Raises StorageError."""
        if upstream is None:
            await self._become(True, until, self._upstreams)
        else:
            await self._become(self._everything, self._all, self._upstreams | {upstream: until})

    async def resume(self, upstream: str | None) -> None:
        """One upstream; None: everything, and each upstream that was paused by itself. Raises StorageError."""
        if upstream is None:
            await self._become(False, None, {})
        else:
            rest = {name: until for name, until in self._upstreams.items() if name != upstream}
            await self._become(self._everything, self._all, rest)

    async def expire(self, now: datetime) -> list[str | None]:
        """End the pauses whose time is over, and name them (None: everything)."""
        over: list[str | None] = [name for name, until in self._upstreams.items() if _is_over(until, now)]
        everything = self._everything and not _is_over(self._all, now)
        if self._everything and not everything:
            over.append(None)
        if over:
            rest = {name: until for name, until in self._upstreams.items() if name not in over}
            await self._become(everything, self._all if everything else None, rest)
        return over

    def next_end(self) -> datetime | None:
        """When the next timed pause ends."""
        ends = [until for until in (self._all, *self._upstreams.values()) if until is not None]
        return min(ends, default=None)

    async def _become(self, everything: bool, until: datetime | None, upstreams: Mapping[str, datetime | None]) -> None:
        async with self._writing:
            with durable.in_words(str(self._path.parent)):
                await in_thread(_write, self._path, everything, until, dict(upstreams))
            self._everything, self._all, self._upstreams = everything, until, dict(upstreams)


def _is_over(until: datetime | None, now: datetime) -> bool:
    return until is not None and until <= now


def _write(path: Path, everything: bool, until: datetime | None, upstreams: dict[str, datetime | None]) -> None:
    if not everything and not upstreams:
        remove_files([path])
        return
    document: dict[str, Any] = {
        "schema": 1,
        "all": everything,
        "until": _text(until),
        "upstreams": {name: _text(end) for name, end in upstreams.items()},
    }
    replace_file(path, json.dumps(document, indent=2).encode() + b"\n")


def _read(path: Path) -> tuple[bool, datetime | None, dict[str, datetime | None]]:
    try:
        document = json.loads(durable.read_whole(str(path), _MAX_BYTES))
    except FileNotFoundError:
        return False, None, {}
    try:
        upstreams = {str(name): _moment(until) for name, until in document["upstreams"].items()}
        return bool(document["all"]), _moment(document["until"]), upstreams
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"a key is missing or of the wrong kind: {error!r}") from error


def _text(moment: datetime | None) -> str | None:
    return moment.astimezone(UTC).isoformat() if moment else None


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
