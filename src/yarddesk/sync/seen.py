"""What we last saw tags name at their registries, by which a tag that somebody else moved there is told from one that we did.

DATA/seen-tags.jsonl has a line for each change, and is written anew when it holds twice as many as are kept. A place is a
registry's host and a repository's name there, whatever the settings call it.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from yarddesk.oci.digest import Digest
from yarddesk.oci.name import Tag
from yarddesk.storage.line_file import Line, LineFile

_log = logging.getLogger(__name__)

SEEN_FILE: Final = "seen-tags.jsonl"
KEPT: Final = 50_000

_Key = tuple[str, Tag]


@dataclass(frozen=True, slots=True)
class Seen:
    """`digest` is what the tag named (None: nothing). `sent` is what we were about to let it name, and haven't read back yet."""

    digest: Digest | None
    sent: Digest | None = None


class SeenTags:
    """In memory what an attempt asks; the tags that were heard of least lately are forgotten first."""

    def __init__(self, path: Path, kept: int = KEPT) -> None:
        self._file = LineFile(path)
        self._kept = kept
        self._seen: OrderedDict[_Key, Seen] = OrderedDict()
        self._unwritten: OrderedDict[_Key, Seen] = OrderedDict()
        self._writing: asyncio.Task[None] | None = None

    async def load(self) -> None:
        """Read the file; lines that can't be read are left out: those tags count as never seen."""
        await self._file.load(lambda line: self._keep(*_parsed(line)), "no tag counts as moved until it was seen again")

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
                lines = [_line(*each) for each in batch.items()]
                await self._file.write(lines, len(self._seen), self._all)
        except OSError as error:
            # They go with the next write; what came for the same tags meanwhile is newer.
            self._unwritten = OrderedDict({**batch, **self._unwritten})
            _log.error("%s can't be written: %s", self._file.path, error)
        finally:
            self._writing = None

    def _all(self) -> Iterator[Line]:
        return (_line(*each) for each in list(self._seen.items()))

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


def _line(key: _Key, seen: Seen) -> Line:
    line: Line = {"place": key[0], "tag": key[1], "digest": seen.digest}
    return line if seen.sent is None else {**line, "sent": seen.sent}


def _parsed(line: Line) -> tuple[_Key, Seen]:
    digest, sent = line["digest"], line.get("sent")
    seen = Seen(Digest.parse(digest) if digest is not None else None, Digest.parse(sent) if sent is not None else None)
    return (str(line["place"]), Tag.parse(line["tag"])), seen
