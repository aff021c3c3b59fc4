"""What is still to be told to others, in order: a folder with a small file for each, so that it outlives the process."""

import asyncio
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from yarddesk.content.errors import StorageError
from yarddesk.content.threads import in_thread
from yarddesk.storage import durable
from yarddesk.storage.state_files import remove_files, replace_file
from yarddesk.storage.tree import Tree

_log = logging.getLogger(__name__)

ARRIVALS_FOLDER: Final = "arrivals"
KEPT: Final = 1000
_MAX_BYTES: Final = 64 * 1024

Document = Mapping[str, Any]


class Outbox:
    """Bounded: where `kept` wait, the oldest goes. `name`: its folder's below DATA/arrivals. Used from one loop."""

    def __init__(self, data_dir: Path, name: str, kept: int = KEPT) -> None:
        self._parts = (ARRIVALS_FOLDER, name)
        self._folder = data_dir.joinpath(*self._parts)
        self._tree = Tree(str(data_dir))
        self._kept = kept
        self._waiting: dict[int, Document] = {}
        self._last = 0
        self._any = asyncio.Event()

    def __len__(self) -> int:
        return len(self._waiting)

    async def load(self) -> None:
        """Take up what an earlier process left; what can't be read is dropped, with a line in the log."""
        found, damaged = await in_thread(_read, self._folder)
        for name in damaged:
            _log.warning("%s in %s can't be read and is dropped", name, self._folder)
        await self._remove([self._folder / name for name in damaged])
        self._waiting = found
        self._last = max(found, default=0)
        await self._trim()
        self._tell()

    async def add(self, document: Document) -> Sequence[Document]:
        """It's durable when this returns; where the disk has no room it's told all the same, unless the process dies first.

        Gives those that it takes the place of, where too many wait.
        """
        self._last += 1
        number = self._last
        content = json.dumps(document, ensure_ascii=False, indent=2).encode() + b"\n"
        try:
            await in_thread(self._write, number, content)
        except (OSError, StorageError) as error:
            _log.error("an arrival could not be written to %s: %s", self._folder, error)
        self._waiting[number] = document
        dropped = await self._trim()
        self._tell()
        return dropped

    async def first(self) -> tuple[int, Document]:
        """The oldest, once there is one."""
        while not self._waiting:
            await self._any.wait()
        number = min(self._waiting)
        return number, self._waiting[number]

    async def remove(self, *numbers: int) -> None:
        """They are told, or never will be."""
        gone = [number for number in numbers if self._waiting.pop(number, None) is not None]
        self._tell()
        await self._remove([self._path(number) for number in gone])

    async def clear(self) -> int:
        """Drop all of it; how many there were."""
        numbers = list(self._waiting)
        await self.remove(*numbers)
        return len(numbers)

    async def _trim(self) -> Sequence[Document]:
        over = sorted(self._waiting)[: max(0, len(self._waiting) - self._kept)]
        dropped = [self._waiting[number] for number in over]
        if over:
            _log.error("%d arrivals that could not be told for so long are dropped", len(over))
            await self.remove(*over)
        return dropped

    async def _remove(self, paths: list[Path]) -> None:
        if not paths:
            return
        try:
            await in_thread(remove_files, paths)
        except OSError as error:
            _log.error(
                "what was told could not be removed from %s, and is told again after a restart: %s", self._folder, error
            )

    def _write(self, number: int, content: bytes) -> None:
        self._tree.make(self._parts)
        replace_file(self._path(number), content)

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:012}.json"

    def _tell(self) -> None:
        if self._waiting:
            self._any.set()
        else:
            self._any.clear()


def _read(folder: Path) -> tuple[dict[int, Document], list[str]]:
    found: dict[int, Document] = {}
    damaged = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        try:
            document = json.loads(durable.read_whole(str(path), _MAX_BYTES))
            if not isinstance(document, dict):
                raise ValueError("it is not a JSON object")
            found[int(path.name.removesuffix(".json"))] = document
        except (OSError, ValueError, RecursionError):
            damaged.append(path.name)
    return found, damaged
