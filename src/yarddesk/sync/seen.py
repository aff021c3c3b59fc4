"""What we last saw tags name at their registries, by which a tag that somebody else moved there is told from one that we did.

DATA/seen-tags.jsonl has a line for each change, and is written anew when it holds twice as many as are kept. A place is a
registry's host and a repository's name there, whatever the settings call it.
"""

import asyncio
import json
import logging
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from yarddesk.content.threads import in_thread
from yarddesk.errors import YarddeskError
from yarddesk.oci.digest import Digest
from yarddesk.oci.name import Tag
from yarddesk.storage import durable
from yarddesk.storage.state_files import append_lines, replace_file

_log = logging.getLogger(__name__)

SEEN_FILE: Final = "seen-tags.jsonl"
KEPT: Final = 50_000
_SPARE_LINES: Final = 1000
_MAX_BYTES: Final = 64 * 1024 * 1024

_Key = tuple[str, Tag]


@dataclass(frozen=True, slots=True)
class Seen:
    """`digest` is what the tag named (None: nothing). `sent` is what we were about to let it name, and haven't read back yet."""

    digest: Digest | None
    sent: Digest | None = None


class SeenTags:
    """In memory what an attempt asks; the tags that were heard of least lately are forgotten first."""

    def __init__(self, path: Path, kept: int = KEPT) -> None:
        self._path = path
        self._kept = kept
        self._seen: OrderedDict[_Key, Seen] = OrderedDict()
        self._unwritten: OrderedDict[_Key, Seen] = OrderedDict()
        self._lines = 0
        self._writing: asyncio.Task[None] | None = None

    async def load(self) -> None:
        """Read the file; lines that can't be read are left out: those tags count as never seen."""
        try:
            content = await in_thread(durable.read_whole, str(self._path), _MAX_BYTES)
        except FileNotFoundError:
            return
        except OSError as error:
            _log.error("%s can't be read: no tag counts as moved until it was seen again: %s", self._path, error)
            return
        damaged = 0
        for line in content.splitlines():
            self._lines += 1
            try:
                self._keep(*_parsed(json.loads(line)))
            except (YarddeskError, ValueError, KeyError, TypeError, RecursionError):
                damaged += 1
        if damaged:
            _log.warning("%d lines of %s could not be read and are left out", damaged, self._path)

    def get(self, place: str, tag: Tag) -> Seen | None:
        """None for a tag that was never seen there."""
        return self._seen.get((place, tag))

    def saw(self, place: str, tag: Tag, digest: Digest | None) -> None:
        """That's what it names there. It's in the file after the next `write`."""
        self._change(place, tag, Seen(digest))

    def sending(self, place: str, tag: Tag, digest: Digest) -> None:
        """We are about to let it name this: found there later, it was us. It's in the file after the next `write`."""
        self._change(place, tag, replace(self._seen.get((place, tag), Seen(None)), sent=digest))

    async def write(self) -> None:
        """Return when all that is known is in the file. One that can't be written is reported in the log: syncing goes on."""
        self.write_soon()
        if self._writing is not None:
            await asyncio.shield(self._writing)  # who waits may be cancelled, and nobody else may write meanwhile

    def write_soon(self) -> None:
        """As `write`, for who needn't wait."""
        if self._writing is None and self._unwritten:
            self._writing = asyncio.create_task(self._write(), name="seen tags")

    async def close(self) -> None:
        """`write`, until nothing is being written any more."""
        await self.write()
        while self._writing is not None:
            await asyncio.wait([self._writing])

    async def _write(self) -> None:
        batch: OrderedDict[_Key, Seen] = OrderedDict()
        try:
            while self._unwritten:
                batch, self._unwritten = self._unwritten, OrderedDict()
                if self._lines + len(batch) > 2 * len(self._seen) + _SPARE_LINES:
                    whole = list(self._seen.items())
                    await in_thread(replace_file, self._path, _lines(whole))
                    self._lines = len(whole)
                else:
                    await in_thread(append_lines, self._path, _lines(batch.items()))
                    self._lines += len(batch)
        except OSError as error:
            # They go with the next write; what came for the same tags meanwhile is newer.
            self._unwritten = OrderedDict({**batch, **self._unwritten})
            _log.error("%s can't be written: %s", self._path, error)
        finally:
            self._writing = None

    def _change(self, place: str, tag: Tag, seen: Seen) -> None:
        before = self._seen.get((place, tag))
        self._keep((place, tag), seen)
        if seen != before:
            self._unwritten[place, tag] = seen

    def _keep(self, key: _Key, seen: Seen) -> None:
        self._seen[key] = seen
        self._seen.move_to_end(key)
        while len(self._seen) > self._kept:
            self._seen.popitem(last=False)


def _lines(entries: Iterable[tuple[_Key, Seen]]) -> bytes:
    return b"".join(json.dumps(_document(key, seen)).encode() + b"\n" for key, seen in entries)


def _document(key: _Key, seen: Seen) -> dict[str, Any]:
    document: dict[str, Any] = {"place": key[0], "tag": key[1], "digest": seen.digest}
    return document if seen.sent is None else {**document, "sent": seen.sent}


def _parsed(document: dict[str, Any]) -> tuple[_Key, Seen]:
    digest, sent = document["digest"], document.get("sent")
    seen = Seen(Digest.parse(digest) if digest is not None else None, Digest.parse(sent) if sent is not None else None)
    return (str(document["place"]), Tag.parse(document["tag"])), seen
