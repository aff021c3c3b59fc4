"""Who was told to pause, and until when: all but single images, kept in DATA/paused.json; images have it in their markers."""

import asyncio
import json
import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

from yarddesk.content.threads import in_thread, to_the_end
from yarddesk.errors import YarddeskError
from yarddesk.oci.name import RepositoryName
from yarddesk.storage import durable
from yarddesk.storage.state_files import remove_files, replace_file

_log = logging.getLogger(__name__)
_MAX_BYTES = 1024 * 1024


class Paused(NamedTuple):
    """What is paused: an upstream, a repository with all that will be pushed to it, or (neither) everything."""

    upstream: str = ""
    repository: RepositoryName | None = None


EVERYTHING: Final = Paused()

_Told = Mapping[Paused, datetime | None]


class Pauses:
    """Durable before it takes effect: the file is written, then what is asked here changes. None as a time: until resumed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._told: _Told = {}
        self.upstreams: Mapping[str, datetime | None] = {}
        self.repositories: Mapping[RepositoryName, datetime | None] = {}
        self._writing = asyncio.Lock()

    @property
    def everything(self) -> bool:
        return EVERYTHING in self._told

    @property
    def until(self) -> datetime | None:
        return self._told.get(EVERYTHING)

    def holds(self, paused: Paused) -> bool:
        return paused in self._told

    async def load(self, now: datetime) -> None:
        """Take up what was paused before the restart; what ended meanwhile is over."""
        try:
            told = await in_thread(_read, self._path)
        except (OSError, ValueError, YarddeskError) as error:
            _log.error("%s can't be read (%s): nothing counts as paused", self._path, error)
            return
        self._take(_still(told, now))

    async def pause(self, paused: Paused, until: datetime | None) -> None:
        """Raises StorageError."""
        await self._become(lambda told: {**told, paused: until})

    async def resume(self, paused: Paused) -> None:
        """EVERYTHING ends each pause that there is, also of an upstream or a repository by itself. Raises StorageError."""
        await self._become(
            lambda told: {} if paused == EVERYTHING else {each: until for each, until in told.items() if each != paused}
        )

    async def rename(self, names: Mapping[str, str]) -> None:
        """Upstreams are called otherwise now, from old name to new: the pauses that were told by the old ones go on.

        They do at once, so that nothing goes out for want of room on the disk. Raises StorageError where they could not be written.
        """
        await to_the_end(self._renamed(names))

    async def _renamed(self, names: Mapping[str, str]) -> None:
        async with self._writing:
            if not names.keys() & self.upstreams.keys():
                return
            told = {
                each._replace(upstream=names.get(each.upstream, each.upstream)): until
                for each, until in self._told.items()
            }
            self._take(told)
            await self._write(told)

    async def expire(self, now: datetime) -> list[Paused]:
        """End the pauses whose time is over, and name them."""
        over = [paused for paused, until in self._told.items() if _is_over(until, now)]
        if over:
            await self._become(lambda told: _still(told, now))
        return over

    def next_end(self) -> datetime | None:
        """When the next timed pause ends."""
        return min((until for until in self._told.values() if until is not None), default=None)

    async def _become(self, change: Callable[[_Told], _Told]) -> None:
        await to_the_end(self._changed(change))

    async def _changed(self, change: Callable[[_Told], _Told]) -> None:
        async with self._writing:
            told = change(self._told)
            await self._write(told)
            self._take(told)

    async def _write(self, told: _Told) -> None:
        with durable.in_words(str(self._path.parent)):
            await in_thread(_write, self._path, told)

    def _take(self, told: _Told) -> None:
        self._told = told
        self.upstreams, self.repositories = _upstreams(told), _repositories(told)


def _still(told: _Told, now: datetime) -> _Told:
    return {paused: until for paused, until in told.items() if not _is_over(until, now)}


def _is_over(until: datetime | None, now: datetime) -> bool:
    return until is not None and until <= now


def _upstreams(told: _Told) -> dict[str, datetime | None]:
    return {paused.upstream: until for paused, until in told.items() if paused.upstream}


def _repositories(told: _Told) -> dict[RepositoryName, datetime | None]:
    return {paused.repository: until for paused, until in told.items() if paused.repository is not None}


def _write(path: Path, told: _Told) -> None:
    if not told:
        remove_files([path])
        return
    document: dict[str, Any] = {
        "schema": 1,
        "all": EVERYTHING in told,
        "until": _text(told.get(EVERYTHING)),
        "upstreams": {name: _text(until) for name, until in _upstreams(told).items()},
        "repositories": {name: _text(until) for name, until in _repositories(told).items()},
    }
    replace_file(path, json.dumps(document, indent=2).encode() + b"\n")


def _read(path: Path) -> _Told:
    """Raises OSError, ValueError and InvalidName."""
    try:
        document = json.loads(durable.read_whole(str(path), _MAX_BYTES))
    except FileNotFoundError:
        return {}
    try:
        told = {EVERYTHING: _moment(document["until"])} if document["all"] else {}
        told |= {Paused(str(name)): _moment(until) for name, until in document["upstreams"].items()}
        for name, until in document.get("repositories", {}).items():
            told[Paused(repository=RepositoryName.parse(name))] = _moment(until)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"a key is missing or of the wrong kind: {error!r}") from error
    return told


def _text(moment: datetime | None) -> str | None:
    return moment.astimezone(UTC).isoformat() if moment else None


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
