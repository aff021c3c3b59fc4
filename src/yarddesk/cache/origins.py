"""Which tags here follow an upstream. A tag without an origin is ours alone, and is never replaced by an upstream's.

DATA/followed-tags.jsonl has a line for each change; when the tag was last asked for upstream is only in memory, so that after a
restart each is asked for once.
"""

import asyncio
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from yarddesk.content.threads import in_thread
from yarddesk.errors import YarddeskError
from yarddesk.oci.digest import Digest
from yarddesk.oci.name import RepositoryName, Tag
from yarddesk.storage import durable
from yarddesk.storage.layout import BESIDE_PREFIX

_log = logging.getLogger(__name__)

ORIGINS_FILE: Final = "followed-tags.jsonl"
_MAX_BYTES: Final = 256 * 1024 * 1024
_SPARE_LINES: Final = 1000

_Key = tuple[RepositoryName, Tag]


@dataclass(slots=True)
class Origin:
    """`digest` is what `upstream` said last; `checked` when, monotonic, None: not in this run."""

    digest: Digest
    upstream: str
    checked: float | None = None


class Origins:
    """In memory what is asked for at each pull; changes go to the file one after the other, in the background."""

    def __init__(self, path: Path, monotonic: Callable[[], float]) -> None:
        self._path = path
        self._monotonic = monotonic
        self._origins: dict[_Key, Origin] = {}
        self._unwritten: list[bytes] = []
        self._writing: asyncio.Task[None] | None = None
        self._lines = 0

    async def load(self) -> None:
        """Read the file; lines that can't be read are left out, so that those tags count as ours until they're pulled again."""
        try:
            content = await in_thread(durable.read_whole, str(self._path), _MAX_BYTES)
        except FileNotFoundError:
            return
        except OSError as error:
            _log.error("%s can't be read: the tags that were pulled stay as they are: %s", self._path, error)
            return
        for line in content.splitlines():
            self._lines += 1
            try:
                self._take(json.loads(line))
            except (YarddeskError, ValueError, KeyError, TypeError, RecursionError) as error:
                _log.warning("a line of %s is left out: %s", self._path, error)

    def get(self, repository: RepositoryName, tag: Tag) -> Origin | None:
        return self._origins.get((repository, tag))

    def digest(self, repository: RepositoryName, tag: Tag) -> Digest | None:
        """What an upstream's tag was when it was last heard of; None for a tag that follows none."""
        origin = self.get(repository, tag)
        return None if origin is None else origin.digest

    def followed(self, repository: RepositoryName, tag: Tag, digest: Digest, upstream: str) -> None:
        """The upstream said just now what the tag names, and so it does here."""
        origin = self._origins.get((repository, tag))
        if origin is not None and (origin.digest, origin.upstream) == (digest, upstream):
            origin.checked = self._monotonic()
            return
        self._origins[repository, tag] = Origin(digest, upstream, self._monotonic())
        self._write({"repository": repository, "tag": tag, "digest": digest, "upstream": upstream})

    def is_ours(self, repository: RepositoryName, tag: Tag) -> None:
        """It was pushed or deleted here: it follows no upstream any more."""
        if self._origins.pop((repository, tag), None) is not None:
            self._write({"repository": repository, "tag": tag, "digest": None})

    async def close(self) -> None:
        """Return when every change is in the file."""
        while self._writing is not None:
            await asyncio.wait([self._writing])

    def _take(self, document: dict[str, Any]) -> None:
        key = RepositoryName.parse(document["repository"]), Tag.parse(document["tag"])
        if document["digest"] is None:
            self._origins.pop(key, None)
        else:
            self._origins[key] = Origin(Digest.parse(document["digest"]), str(document["upstream"]))

    def _write(self, document: dict[str, Any]) -> None:
        self._unwritten.append(json.dumps(document).encode() + b"\n")
        if self._writing is None:
            self._writing = asyncio.create_task(self._written(), name="followed tags")

    async def _written(self) -> None:
        try:
            while self._unwritten:
                batch, self._unwritten = self._unwritten, []
                self._lines += len(batch)
                if self._lines > 2 * len(self._origins) + _SPARE_LINES:
                    batch = self._all()
                    self._lines = len(batch)
                    await in_thread(_replace, self._path, b"".join(batch))
                else:
                    await in_thread(_append, self._path, b"".join(batch))
        except OSError as error:
            _log.error("%s can't be written: %s", self._path, error)
        finally:
            self._writing = None

    def _all(self) -> list[bytes]:
        return [
            json.dumps(
                {"repository": repository, "tag": tag, "digest": origin.digest, "upstream": origin.upstream}
            ).encode()
            + b"\n"
            for (repository, tag), origin in self._origins.items()
        ]


def _append(path: Path, content: bytes) -> None:
    try:
        descriptor = durable.open_file(str(path), write=True)
    except FileNotFoundError:
        descriptor = durable.create_file(str(path))
    with open(descriptor, "r+b", buffering=0) as file:
        end = file.seek(0, 2)
        if end:
            # A line that a crash cut off must not swallow the next one.
            file.seek(end - 1)
            content = content if file.read(1) == b"\n" else b"\n" + content
        durable.write_all(descriptor, content)
        durable.sync_file(descriptor)


def _replace(path: Path, content: bytes) -> None:
    temporary = str(path.parent / f"{BESIDE_PREFIX}{path.name}")
    durable.remove_if_there(temporary)
    durable.write_durably(temporary, content)
    durable.replace(temporary, str(path))
    durable.sync_folder(durable.open_folder(str(path.parent)))
