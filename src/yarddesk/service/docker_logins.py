"""`docker login`, and whatever else writes Docker's config.json: who waits for a password to be put right goes on by itself."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Final

from yarddesk.errors import YarddeskError

_log = logging.getLogger(__name__)

LOOK_SECONDS: Final = 5.0


class DockerLogins:
    """Looks at the file from time to time: at its state alone, since a keychain that is asked in a loop asks the person.

    `waiting`: the registries that need other credentials; `changed` is called for each of them after a change of the file.
    """

    def __init__(
        self,
        file: Path,
        waiting: Callable[[], Iterable[str]],
        changed: Callable[[str], Awaitable[object]],
        *,
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        self._file = file
        self._waiting = waiting
        self._changed = changed
        self._look_seconds = look_seconds
        self._seen = _state(file)

    async def watch(self, stop: asyncio.Event) -> None:
        """Until `stop` is set."""
        while not await _is_set(stop, self._look_seconds):
            before, self._seen = self._seen, await asyncio.to_thread(_state, self._file)
            if self._seen != before:
                await self._tell()

    async def _tell(self) -> None:
        for registry in sorted(set(self._waiting())):
            _log.info("%s changed: what waits for credentials of %s is tried now", self._file, registry)
            try:
                await self._changed(registry)
            except YarddeskError as error:
                _log.error("what waits for credentials of %s could not be tried: %s", registry, error)


def _state(file: Path) -> tuple[int, int, int] | None:
    """What tells one writing of the file from another; None where there is none to be seen."""
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


async def _is_set(stop: asyncio.Event, seconds: float) -> bool:
    """Whether it was set within that time."""
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return False
    return True
