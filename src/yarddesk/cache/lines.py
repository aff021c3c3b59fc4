"""Small facts in a file of lines of JSON: in memory at once, on disk in the background, or before one goes on."""

import asyncio
import json
import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

from yarddesk.content.threads import in_thread
from yarddesk.storage import durable
from yarddesk.storage.state_files import append_lines, replace_file

_log = logging.getLogger(__name__)
_MAX_BYTES: Final = 256 * 1024 * 1024
_SPARE_LINES: Final = 1000

Line = dict[str, Any]


class Lines:
    """Written one batch after the other, in order. When there are far more than `count` says are true, the file begins anew
    with those that `everything` gives, as they are at that moment, and which a thread goes through."""

    def __init__(self, path: Path, count: Callable[[], int], everything: Callable[[], Iterable[Line]]) -> None:
        self._path = path
        self._count = count
        self._everything = everything
        self._unwritten: list[Line] = []
        self._writing: asyncio.Task[None] | None = None
        self._lines = 0
        self._failure: OSError | None = None

    async def load(self) -> list[Line]:
        """What is in the file, in order; lines that can't be read are left out."""
        try:
            content = await in_thread(durable.read_whole, str(self._path), _MAX_BYTES)
        except FileNotFoundError:
            return []
        except OSError as error:
            _log.error("%s can't be read: %s", self._path, error)
            return []
        found = [_parsed(line) for line in content.splitlines()]
        self._lines = len(found)
        if None in found:
            _log.warning("%d lines of %s can't be read, and are left out", found.count(None), self._path)
        return [line for line in found if line is not None]

    def add(self, *lines: Line) -> None:
        """They will be on disk soon. Where they can't be written they wait for the next that can."""
        self._unwritten += lines
        if self._writing is None:
            self._writing = asyncio.create_task(self._write(), name=self._path.name)

    async def written(self) -> None:
        """Return when all that was added is on disk. Raises StorageError."""
        while self._writing is not None or self._unwritten:
            if self._writing is None:
                self.add()
            assert self._writing is not None
            await asyncio.wait([self._writing])
            if self._failure is not None:
                raise durable.storage_error(self._failure, str(self._path.parent)) from self._failure

    async def close(self) -> None:
        """Return when all is on disk that can be."""
        while self._writing is not None:
            await asyncio.wait([self._writing])

    async def _write(self) -> None:
        self._failure = None
        batch: list[Line] = []
        try:
            while self._unwritten:
                batch, self._unwritten = self._unwritten, []
                if self._lines + len(batch) > 2 * self._count() + _SPARE_LINES:
                    self._lines, everything = self._count(), self._everything()
                    await in_thread(lambda: replace_file(self._path, _encoded(everything)))  # noqa: B023
                else:
                    self._lines += len(batch)
                    await in_thread(lambda: append_lines(self._path, _encoded(batch)))  # noqa: B023
        except OSError as error:
            _log.error("%s can't be written: %s", self._path, error)
            self._unwritten = batch + self._unwritten
            self._failure = error
        finally:
            self._writing = None


def _encoded(lines: Iterable[Line]) -> bytes:
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def _parsed(line: bytes) -> Line | None:
    try:
        document = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None
