"""What became of jobs: DATA/history.jsonl, a line each, bounded, kept over restarts."""

import asyncio
import json
import logging
from collections import deque
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from yarddesk.content.clock import rfc3339
from yarddesk.content.threads import in_thread, to_the_end
from yarddesk.errors import YarddeskError
from yarddesk.oci.digest import Digest
from yarddesk.oci.name import Reference, RepositoryName, parse_reference
from yarddesk.storage import durable
from yarddesk.storage.state_files import append_lines, replace_file
from yarddesk.sync.snapshot import HistoryEntry
from yarddesk.sync.states import JobState

_log = logging.getLogger(__name__)

HISTORY_FILE: Final = "history.jsonl"
KEPT: Final = 1000
_MAX_BYTES: Final = 64 * 1024 * 1024


class History:
    """The last entries in memory, and in the file; the file is written anew when it holds twice as many as are kept."""

    def __init__(self, path: Path, kept: int = KEPT) -> None:
        self._path = path
        self._entries: deque[HistoryEntry] = deque(maxlen=kept)
        self._latest: dict[tuple[RepositoryName, Reference, str], HistoryEntry] = {}
        self._lines = 0
        self._unwritten: deque[HistoryEntry] = deque(maxlen=kept)
        self._writing = asyncio.Lock()

    async def load(self) -> None:
        """Read the file; lines that can't be read (the machine died while one was written) are dropped and counted in the log."""
        entries, damaged = await in_thread(_read, self._path)
        self._lines = len(entries) + damaged
        for entry in entries:
            self._keep(entry)
        if damaged:
            _log.warning("%d lines of %s could not be read and are left out", damaged, self._path)
            await self._compact()

    async def add(self, *entries: HistoryEntry) -> None:
        """`keep` and `write`."""
        self.keep(*entries)
        await self.write()

    def keep(self, *entries: HistoryEntry) -> None:
        """Know what became of jobs; before observers hear that they left the queue, so that who then looks here finds it."""
        for entry in entries:
            self._keep(entry)
        self._unwritten += entries

    async def write(self) -> None:
        """Have all that is known in the file. What can't be written is reported in the log and goes with the next write: it's no
        reason to stop syncing."""
        await to_the_end(self._write())

    async def _write(self) -> None:
        async with self._writing:
            batch = self._take_unwritten()
            if not batch:
                return
            try:
                await in_thread(append_lines, self._path, _lines(batch))
            except OSError as error:
                self._give_back(batch)
                _log.error("the history could not be written: %s", error)
                return
            self._lines += len(batch)
        if self._lines > 2 * (self._entries.maxlen or KEPT):
            await self._compact()

    def recent(self, limit: int) -> Sequence[HistoryEntry]:
        """Newest first."""
        count = min(limit, len(self._entries))
        return [self._entries[-1 - index] for index in range(max(0, count))]

    def latest(
        self, repository: RepositoryName, reference: Reference, upstream: str, place: str
    ) -> HistoryEntry | None:
        """What last became of this image on its way to this upstream and place there, as far as is remembered.

        Under the same name the settings may have another registry now, which knows nothing of it.
        """
        entry = self._latest.get((repository, reference, upstream))
        return entry if entry is not None and entry.place == place else None

    def synced_of(self, repository: RepositoryName) -> list[Reference]:
        """The tags and digests of a repository that were synced to some upstream, as far as is remembered."""
        done = (entry for entry in self._latest.values() if entry.outcome is JobState.DONE)
        return list(dict.fromkeys(entry.reference for entry in done if entry.repository == repository))

    def _keep(self, entry: HistoryEntry) -> None:
        if len(self._entries) == self._entries.maxlen:
            oldest = self._entries[0]
            key = (oldest.repository, oldest.reference, oldest.upstream)
            if self._latest.get(key) is oldest:
                del self._latest[key]
        self._entries.append(entry)
        if entry.hook:
            return  # says nothing of where the image is
        self._latest[entry.repository, entry.reference, entry.upstream] = entry

    def _take_unwritten(self) -> list[HistoryEntry]:
        batch = list(self._unwritten)
        self._unwritten.clear()
        return batch

    def _give_back(self, batch: list[HistoryEntry]) -> None:
        """For the next write, before what came meanwhile; the oldest give way."""
        newer = self._take_unwritten()
        self._unwritten.extend([*batch, *newer])

    async def _compact(self) -> None:
        async with self._writing:
            kept, batch = list(self._entries), self._take_unwritten()
            try:
                await in_thread(replace_file, self._path, _lines(kept))
            except OSError as error:
                self._give_back(batch)
                _log.error("the history could not be written anew: %s", error)
                return
            self._lines = len(kept)


def _document(entry: HistoryEntry) -> dict[str, Any]:
    return {
        "at": rfc3339(entry.at),
        "repository": entry.repository,
        "reference": entry.reference,
        "digest": entry.digest,
        "upstream": entry.upstream,
        "registry": entry.registry,
        "outcome": str(entry.outcome),
        "seconds": round(entry.seconds, 3),
        "bytes_sent": entry.bytes_sent,
        "bytes_saved": entry.bytes_saved,
        "tries": entry.tries,
        "reason": entry.reason,
        "replaced": entry.replaced,
        "place": entry.place,
        **({"hook": entry.hook} if entry.hook else {}),
        **({"error": entry.error} if entry.error else {}),
    }


def _entry(line: bytes) -> HistoryEntry:
    document = json.loads(line)
    return HistoryEntry(
        repository=RepositoryName.parse(document["repository"]),
        reference=parse_reference(document["reference"]),
        digest=Digest.parse(document["digest"]),
        upstream=str(document["upstream"]),
        registry=str(document["registry"]),
        outcome=JobState(document["outcome"]),
        at=datetime.fromisoformat(document["at"]),
        seconds=float(document["seconds"]),
        bytes_sent=int(document["bytes_sent"]),
        bytes_saved=int(document["bytes_saved"]),
        tries=int(document["tries"]),
        reason=str(document["reason"]),
        replaced=Digest.parse(document["replaced"]) if document.get("replaced") else None,
        hook=str(document.get("hook", "")),
        place=str(document.get("place", "")),
        error=str(document.get("error", "")),
    )


def _lines(entries: Sequence[HistoryEntry]) -> bytes:
    return b"".join(json.dumps(_document(entry), ensure_ascii=False).encode() + b"\n" for entry in entries)


def _read(path: Path) -> tuple[list[HistoryEntry], int]:
    try:
        content = durable.read_whole(str(path), _MAX_BYTES)
    except FileNotFoundError:
        return [], 0
    entries, damaged = [], 0
    for line in content.splitlines():
        try:
            entries.append(_entry(line))
        except (YarddeskError, ValueError, KeyError, TypeError, RecursionError):
            damaged += 1
    return entries, damaged
