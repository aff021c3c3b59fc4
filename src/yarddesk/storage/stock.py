"""Reading the disk into the index of contents, while the first requests are answered already."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from typing import Final

from yarddesk.errors import YarddeskError
from yarddesk.oci.digest import Digest
from yarddesk.oci.manifest import MAX_MANIFEST_BYTES
from yarddesk.storage.blobs import BlobFiles, is_filled
from yarddesk.storage.contents import ContentIndex
from yarddesk.storage.durable import read_whole
from yarddesk.storage.layout import ALGORITHMS, shard_folders
from yarddesk.storage.quarantine import Quarantine
from yarddesk.storage.references import Packed, named_in
from yarddesk.storage.repositories import Repositories
from yarddesk.storage.threads import Threads

_log = logging.getLogger(__name__)

_PAGE: Final = 50

LATE_SECONDS: Final = 600.0
"""So long the manifest may be on its way that names a blob which was sent, or which a client was told is here."""


class Stock:
    """Keeps the index true. `sent` is told of the blobs that clients sent just before this run: their manifests may still come."""

    def __init__(
        self,
        contents: ContentIndex,
        blobs: BlobFiles,
        repositories: Repositories,
        quarantine: Quarantine,
        threads: Threads,
        sent: Callable[[Digest], None],
    ) -> None:
        self._contents = contents
        self._blobs = blobs
        self._repositories = repositories
        self._quarantine = quarantine
        self._threads = threads
        self._sent = sent
        self._looks = asyncio.Lock()
        self._taken = asyncio.Event()

    async def take(self) -> None:
        """Read all of the disk, once. What can't be read is reported in the log, and the index stays incomplete."""
        try:
            await self._read_blobs()
            await self._read_manifests()
            self._contents.finish()
        except YarddeskError as error:
            _log.error("what is stored can't be looked through, so nothing is evicted in this run: %s", error)
        finally:
            self._taken.set()

    async def taken(self) -> None:
        """Return when the index is complete, or can't be."""
        await self._taken.wait()

    async def look_again(self, digests: Sequence[Digest]) -> None:
        """Have in the index what the disk has: of a blob that went and came it can't be told which was last."""
        async with self._looks:
            try:
                found = await self._threads.small(lambda: [self._blobs.look(digest) for digest in digests])
            except YarddeskError as error:
                _log.error("what became of %d blobs can't be told: %s", len(digests), error)
                return
            for digest, state in zip(digests, found, strict=True):
                if state is None:
                    self._contents.blob_gone(digest)
                else:
                    self._contents.blob_here(digest, state[0], filled=is_filled(state[1]))

    async def _read_blobs(self) -> None:
        late = time.time() - LATE_SECONDS
        for folder in (folder for algorithm in ALGORITHMS for folder in shard_folders(algorithm)):
            entries = await self._threads.read(self._blobs.entries, folder)
            self._contents.read_blobs((digest, size, is_filled(modified)) for digest, size, modified in entries)
            for digest, _, modified in entries:
                if modified > late:
                    self._sent(digest)

    async def _read_manifests(self) -> None:
        async for repository in self._repositories.known():
            tags = await self._repositories.read_tags(repository)
            for start in range(0, len(tags), _PAGE):
                self._contents.read_tags(repository, tags[start : start + _PAGE])
                await asyncio.sleep(0)
            digests = await self._repositories.digests(repository)
            for start in range(0, len(digests), _PAGE):
                found = await self._repositories.read_held(repository, digests[start : start + _PAGE])
                self._contents.read_manifests(repository, found)
        for path in await self._threads.read(self._quarantine.manifest_paths):
            self._contents.hold(await self._threads.read(_named_in_file, path))


def _named_in_file(path: str) -> list[Packed]:
    try:
        return list(named_in(read_whole(path, MAX_MANIFEST_BYTES)))
    except FileNotFoundError:  # a person took it away
        return []
