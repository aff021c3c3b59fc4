"""Small facts in memory at once, and in a file of lines in the background, or before one goes on."""

import asyncio
import logging
from collections.abc import Callable, Iterable
from pathlib import Path

from yarddesk.storage.durable import storage_error
from yarddesk.storage.line_file import Line, LineFile

_log = logging.getLogger(__name__)


class Lines:
    """Written one batch after the other, in order. `count` and `everything`: what is true of all of it (see LineFile.write)."""

    def __init__(self, path: Path, count: Callable[[], int], everything: Callable[[], Iterable[Line]]) -> None:
        self._file = LineFile(path)
        self._count = count
        self._everything = everything
        self._unwritten: list[Line] = []
        self._writing: asyncio.Task[None] | None = None
        self._failure: OSError | None = None

    async def load(self, take: Callable[[Line], object], otherwise: str) -> None:
        """As LineFile.load."""
        await self._file.load(take, otherwise)

    def add(self, *lines: Line) -> None:
        """They will be on disk soon. Where they can't be written they wait for the next that can."""
        self._unwritten += lines
        if self._writing is None:
            self._writing = asyncio.create_task(self._write(), name=self._file.path.name)

    def withdraw(self, line: Line) -> None:
        """It isn't true after all; where it's on disk by now it stays there."""
        self._unwritten = [each for each in self._unwritten if each is not line]

    async def written(self) -> None:
        """Return when all that was added is on disk. Raises StorageError."""
        while self._writing is not None or self._unwritten:
            if self._writing is None:
                self.add()
            assert self._writing is not None
            await asyncio.wait([self._writing])
            if self._failure is not None:
                raise storage_error(self._failure, str(self._file.path.parent)) from self._failure

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
                await self._file.write(batch, self._count(), self._everything)
        except OSError as error:
            _log.error("%s can't be written: %s", self._file.path, error)
            self._unwritten = batch + self._unwritten
            self._failure = error
        finally:
            self._writing = None
