"""Which tags here follow an upstream. A tag without an origin is ours alone, and is never replaced by an upstream's.

DATA/followed-tags.jsonl has a line for each change; when the tag was last asked for upstream is only in memory, so that after a
restart each is asked for once. A tag moves only once its line is durable: a tag whose line was lost would be ours for ever.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from yarddesk.content.errors import StorageError
from yarddesk.oci.digest import Digest
from yarddesk.oci.name import RepositoryName, Tag
from yarddesk.storage.line_file import Line, LineFile

_log = logging.getLogger(__name__)

ORIGINS_FILE: Final = "followed-tags.jsonl"

_Key = tuple[RepositoryName, Tag]


@dataclass(slots=True)
class Origin:
    """`digest` is what `upstream` said last; `checked` when, monotonic, None: not in this run.

    `before` is what the tag names until it moves.
    """

    digest: Digest
    upstream: str
    checked: float | None = None
    before: Digest | None = None

    def explains(self, here: Digest) -> bool:
        """Whether a tag that names `here` follows the upstream."""
        return here in (self.digest, self.before)


class Origins:
    """In memory what is asked for at each pull; changes go to the file one after the other."""

    def __init__(self, path: Path, monotonic: Callable[[], float]) -> None:
        self._file = LineFile(path)
        self._monotonic = monotonic
        self._origins: dict[_Key, Origin] = {}
        self._unwritten: list[Line] = []
        self._landing: asyncio.Future[bool] | None = None
        self._writing: asyncio.Task[None] | None = None

    async def load(self) -> None:
        """Read the file; lines that can't be read are left out, so that those tags count as ours until they're pulled again."""
        await self._file.load(self._take, "the tags that were pulled stay as they are")

    def get(self, repository: RepositoryName, tag: Tag) -> Origin | None:
        return self._origins.get((repository, tag))

    def digest(self, repository: RepositoryName, tag: Tag) -> Digest | None:
        """What an upstream's tag was when it was last heard of; None for a tag that follows none."""
        origin = self.get(repository, tag)
        return None if origin is None else origin.digest

    def followed(
        self, repository: RepositoryName, tag: Tag, digest: Digest, upstream: str, *, at: float | None = None
    ) -> None:
        """The upstream said then, or just now, what the tag names, and so it does here. Written in the background."""
        self.follows(repository, tag, digest, upstream)
        self._origins[repository, tag].checked = self._monotonic() if at is None else at

    def follows(self, repository: RepositoryName, tag: Tag, digest: Digest, upstream: str) -> None:
        """As `followed`, where the upstream said so before this run."""
        origin = self._origins.get((repository, tag))
        if origin is not None and (origin.digest, origin.upstream) == (digest, upstream):
            return
        self._origins[repository, tag] = origin = Origin(digest, upstream)
        self._write(_line((repository, tag), origin))

    async def moves(
        self, repository: RepositoryName, tag: Tag, digest: Digest, upstream: str, *, before: Digest | None
    ) -> None:
        """The upstream said just now that the tag names `digest`, and here it's to name it, too: durable on return.

        Until `moved` it may still name `before`. Raises StorageError.
        """
        key = repository, tag
        known = self._origins.get(key)
        origin = self._origins[key] = Origin(digest, upstream, before=before)
        if await asyncio.shield(self._write(_line(key, origin))):
            return
        if self._origins.get(key) is origin:
            self._origins.pop(key)
            if known is not None:
                self._origins[key] = known
        raise StorageError(f"{self._file.path.name} can't be written.")

    def moved(self, repository: RepositoryName, tag: Tag, *, at: float | None = None) -> None:
        """It names what its upstream said then, or just now."""
        origin = self._origins.get((repository, tag))
        if origin is not None:
            origin.before, origin.checked = None, self._monotonic() if at is None else at

    def is_ours(self, repository: RepositoryName, tag: Tag) -> None:
        """It was pushed or deleted here: it follows no upstream any more."""
        if self._origins.pop((repository, tag), None) is not None:
            self._write({"repository": repository, "tag": tag, "digest": None})

    async def close(self) -> None:
        """Return when every change is in the file."""
        while self._writing is not None:
            await asyncio.wait([self._writing])

    def _take(self, line: Line) -> None:
        key = RepositoryName.parse(line["repository"]), Tag.parse(line["tag"])
        if line["digest"] is None:
            self._origins.pop(key, None)
        else:
            before = line.get("before")
            self._origins[key] = Origin(
                Digest.parse(line["digest"]),
                str(line["upstream"]),
                before=None if before is None else Digest.parse(before),
            )

    def _write(self, line: Line) -> asyncio.Future[bool]:
        """Whether it's in the file, once that is known."""
        self._unwritten.append(line)
        if self._landing is None:
            self._landing = asyncio.get_running_loop().create_future()
        if self._writing is None:
            self._writing = asyncio.create_task(self._written(), name="followed tags")
        return self._landing

    async def _written(self) -> None:
        try:
            while self._unwritten:
                batch, self._unwritten = self._unwritten, []
                landing, self._landing = self._landing, None
                durable_now = await self._kept(batch)
                if landing is not None:
                    landing.set_result(durable_now)
        finally:
            self._writing = None

    async def _kept(self, batch: list[Line]) -> bool:
        try:
            await self._file.write(batch, len(self._origins), self._all)
        except OSError as error:
            _log.error("%s can't be written: %s", self._file.path, error)
            return False
        return True

    def _all(self) -> Iterator[Line]:
        return (_line(*each) for each in list(self._origins.items()))


def _line(key: _Key, origin: Origin) -> Line:
    return {
        "repository": key[0],
        "tag": key[1],
        "digest": origin.digest,
        "upstream": origin.upstream,
        "before": origin.before,
    }
