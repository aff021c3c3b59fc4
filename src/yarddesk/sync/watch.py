"""Markers that a person deletes in the folder: noticed at once by the file system, and by a look at the folder now and then."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from watchfiles import Change, awatch

from yarddesk.storage.layout import BESIDE_PREFIX
from yarddesk.sync.journal import Journal
from yarddesk.sync.marker import Job
from yarddesk.sync.marker_files import SUFFIX

_log = logging.getLogger(__name__)

_GATHER_MILLISECONDS: Final = 100
_STEP_MILLISECONDS: Final = 60
"""How often the watch's thread wakes up, for as long as it runs: more would cost more than all else that an idle yard does."""


class FolderWatch:
    """Calls `cancelled` with the jobs whose markers were deleted by hand; they have left the journal's index by then.

    What we write and delete ourselves is told apart by the journal: a job is in its index and its file is not there.
    """

    def __init__(self, journal: Journal, cancelled: Callable[[list[Job]], Awaitable[None]]) -> None:
        self._journal = journal
        self._cancelled = cancelled
        self._stopping = asyncio.Event()
        self.tells = True
        """False once the system doesn't say what changes: then `scan` is all there is."""

    async def run(self) -> None:
        """Until `stop`. Where the system can't watch (too many watches, some network disks) only `scan` notices."""
        try:
            async for changes in awatch(
                self._journal.folder,
                watch_filter=_matters,
                debounce=_GATHER_MILLISECONDS,
                step=_STEP_MILLISECONDS,
                stop_event=self._stopping,
                recursive=True,
            ):
                await self._look_safely(changes)
        except Exception:  # noqa: BLE001 - whatever keeps the folder from being watched must not keep images from being synced
            self.tells = False
            _log.exception("%s can't be watched; deleted markers are noticed later", self._journal.folder)

    def stop(self) -> None:
        self._stopping.set()

    async def scan(self) -> None:
        """Look for markers that are gone: one walk through the folder."""
        self._journal.take_fresh()
        await self._gone(await self._journal.missing_files())

    async def _look_safely(self, changes: set[tuple[Change, str]]) -> None:
        try:
            await self._look(changes)
        except Exception:  # noqa: BLE001 - logged with its traceback; the next change, or the scan, looks again
            _log.exception("what was deleted in %s could not be looked at", self._journal.folder)

    async def _look(self, changes: set[tuple[Change, str]]) -> None:
        candidates: list[Job] = []
        for change, path in changes:
            if change is Change.added:
                # A marker that is deleted before its new folder is watched is told of by nobody.
                candidates += self._journal.take_fresh()
            elif (owner := self._journal.owner_of(Path(path))) is not None:
                candidates.append(owner)
        # A folder that is deleted as a whole need not be told file by file.
        if any(change is Change.deleted and not path.endswith(SUFFIX) for change, path in changes):
            candidates += await self._journal.missing_files()
        await self._gone(candidates)

    async def _gone(self, candidates: list[Job]) -> None:
        deleted = await self._journal.deleted_by_hand(candidates) if candidates else []
        if deleted:
            await self._cancelled(deleted)


def _matters(change: Change, path: str) -> bool:
    """What is deleted, and folders that are new; not what is written, which is ours."""
    name = Path(path).name
    if name.startswith(BESIDE_PREFIX):
        return False
    return change is Change.deleted or (change is Change.added and not name.endswith(SUFFIX))
