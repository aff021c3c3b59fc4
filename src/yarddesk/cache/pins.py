"""Images that a person wants to stay, whatever room is needed.

DATA/pins.json is a sorted list of REFERENCEs: a tag pins what it names now and later, a repository all that it holds.
"""

import asyncio
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final

from yarddesk.content.errors import StorageError
from yarddesk.content.threads import in_thread, to_the_end
from yarddesk.errors import YarddeskError
from yarddesk.oci.name import ImageReference, Reference, RepositoryName
from yarddesk.storage import durable
from yarddesk.storage.state_files import replace_file

_log = logging.getLogger(__name__)

PINS_FILE: Final = "pins.json"
_MAX_BYTES: Final = 64 * 1024 * 1024


class Pins:
    """`unreadable` where there is a file that can't be read: then nothing may be evicted, since anything may be pinned."""

    def __init__(self, folder: Path) -> None:
        self.changed: Callable[[], None] | None = None
        self.unreadable = False
        self._path = folder / PINS_FILE
        self._pinned: dict[RepositoryName, frozenset[Reference | None]] = {}
        self._changing = asyncio.Lock()

    async def load(self) -> None:
        try:
            content = await in_thread(durable.read_whole, str(self._path), _MAX_BYTES)
            for text in json.loads(content):
                pin = ImageReference.parse(text)
                self._add(pin)
        except FileNotFoundError:
            return
        except (OSError, ValueError, TypeError, AttributeError, RecursionError, YarddeskError) as error:
            self.unreadable = True
            _log.error("%s can't be read, so nothing is evicted: %s", self._path, error)

    def all(self) -> list[ImageReference]:
        """In the order of their texts. Raises StorageError where they can't be read."""
        self._check_readable()
        pins = [ImageReference(name, each) for name, references in self._pinned.items() for each in references]
        return sorted(pins, key=str)

    def of(self, repository: RepositoryName) -> frozenset[Reference | None]:
        """The tags and digests that are pinned in a repository; None stands for all of it. For any thread."""
        return self._pinned.get(repository, frozenset())

    async def add(self, pin: ImageReference) -> bool:
        """Whether it's new; durable on return. Raises StorageError."""
        return await to_the_end(self._added(pin))

    async def remove(self, pin: ImageReference) -> bool:
        """Whether it was pinned; durable on return. Raises StorageError."""
        return await to_the_end(self._removed(pin))

    async def _added(self, pin: ImageReference) -> bool:
        async with self._changing:
            if pin.reference in self._pinned.get(pin.repository, ()):
                return False
            # First in memory: nothing that is pinned may go while the file is written.
            self._add(pin)
            try:
                await self._write()
            except BaseException:
                self._drop(pin)
                raise
            return True

    async def _removed(self, pin: ImageReference) -> bool:
        async with self._changing:
            self._check_readable()
            if pin.reference not in self._pinned.get(pin.repository, ()):
                return False
            self._drop(pin)
            try:
                await self._write()
            except BaseException:
                self._add(pin)
                raise
            return True

    def _add(self, pin: ImageReference) -> None:
        self._pinned[pin.repository] = self.of(pin.repository) | {pin.reference}

    def _drop(self, pin: ImageReference) -> None:
        self._pinned[pin.repository] = self.of(pin.repository) - {pin.reference}
        if not self._pinned[pin.repository]:
            del self._pinned[pin.repository]

    def _check_readable(self) -> None:
        if self.unreadable:
            raise StorageError(f"{self._path} can't be read.", hint="Move it away, and pin anew what is to stay.")

    async def _write(self) -> None:
        content = json.dumps([str(pin) for pin in self.all()], indent=1).encode() + b"\n"
        try:
            await in_thread(replace_file, self._path, content)
        except OSError as error:
            raise StorageError(f"{self._path} can't be written.", error.strerror or str(error)) from error
        if self.changed is not None:
            self.changed()
