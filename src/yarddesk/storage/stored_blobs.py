"""The blobs of all repositories: files, and a memory of their sizes that never tells anything older than the files."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import BinaryIO, Final

from yarddesk.content.errors import StorageError
from yarddesk.content.target import Damaged, NotFound
from yarddesk.oci.digest import Digest
from yarddesk.storage.blobs import BlobFiles
from yarddesk.storage.checking import BlobChecks, Finding
from yarddesk.storage.contents import ContentIndex
from yarddesk.storage.durable import in_words
from yarddesk.storage.finishing import Finishing
from yarddesk.storage.layout import ALGORITHMS, shard_folders
from yarddesk.storage.quarantine import Damage, Quarantine
from yarddesk.storage.reading import BlobReader, Unverified
from yarddesk.storage.recent import Recent
from yarddesk.storage.stock import Stock
from yarddesk.storage.threads import Threads
from yarddesk.storage.verified import Identity

_KNOWN_SIZES: Final = 100_000
_LATELY_REMOVED: Final = 10_000
_CHECKED_AT_MOST: Final = 3


class StoredBlobs:
    """What a Store promises of blobs (content.store), over files.

    A change that has begun is finished even when its caller is cancelled. `changed` hears that the bytes stored are others,
    `damaged` of each blob that was found so, both on the loop.
    """

    def __init__(
        self,
        root: str,
        files: BlobFiles,
        quarantine: Quarantine,
        threads: Threads,
        finishing: Finishing,
        stock: Stock,
        changed: Callable[[], None],
        damaged: Callable[[Damage], None],
        contents: ContentIndex,
    ) -> None:
        self._root = root
        self._files = files
        self._quarantine = quarantine
        self._threads = threads
        self._finishing = finishing
        self._stock = stock
        self._changed = changed
        self._damaged = damaged
        self._contents = contents
        self._checks = BlobChecks(root, files, quarantine, self._found_damaged)
        self._sizes: Recent[Digest, int] = Recent(_KNOWN_SIZES)
        self._deletions = 0
        self._removing: dict[Digest, asyncio.Future[None]] = {}
        self._removed: Recent[Digest, bool] = Recent(_LATELY_REMOVED)
        self._looking: set[asyncio.Task[None]] = set()

    async def size(self, digest: Digest) -> int | None:
        while True:
            while (removal := self._removing.get(digest)) is not None:
                await asyncio.shield(removal)
            known = self._sizes.get(digest)
            if known is not None:
                return known
            deletions = self._deletions
            size = await self._threads.small(self._files.size, digest)
            if size is None:
                return None
            if deletions == self._deletions:
                self._sizes.put(digest, size)
                return size

    def open(self, digest: Digest) -> BinaryIO:
        with in_words(self._root):
            try:
                return os.fdopen(self._files.open(digest), "rb", buffering=0)
            except FileNotFoundError as error:
                raise _missing(digest) from error

    def missing(self, digest: Digest) -> NotFound:
        if not self._quarantine.has_blob(digest):
            return _missing(digest)
        return Damaged(
            f"Blob {digest} was damaged on the disk.",
            "It lies in the data folder's quarantine.",
            hint="Push or pull the image again.",
        )

    def is_verified(self, digest: Digest, found: os.stat_result) -> bool:
        return self._files.verified.holds(digest, Identity.of(found))

    async def check(self, digest: Digest) -> bool:
        return await self._checks.check(digest) is Finding.WHOLE

    @asynccontextmanager
    async def read(self, digest: Digest, offset: int, length: int | None) -> AsyncIterator[AsyncIterator[bytes]]:
        async with AsyncExitStack() as stack:
            for _ in range(_CHECKED_AT_MOST):
                reader = BlobReader(self._threads.reading, self._files, self._root, digest, offset, length)
                try:
                    pieces = await stack.enter_async_context(reader)
                    break
                except (Unverified, NotFound):
                    if await self._checks.check(digest) is not Finding.WHOLE:
                        raise self.missing(digest) from None
            else:
                raise StorageError(f"The file of blob {digest} is being changed by somebody.", temporary=True)
            yield pieces

    async def verify(self, digest: Digest, passed: Callable[[int], None]) -> bool:
        """As FilesystemStore.verify_blob."""
        found = await self._checks.check_again(digest, passed)
        if found is Finding.MISSING:
            raise _missing(digest)
        return found is Finding.WHOLE

    async def all(self) -> AsyncIterator[Digest]:
        for algorithm in ALGORITHMS:
            for folder in shard_folders(algorithm):
                for digest in await self._threads.small(self._files.listed, folder):
                    yield digest

    async def delete(self, digest: Digest) -> None:
        await self._finishing.run(self._delete(digest))

    async def remove_old(self, digests: Sequence[Digest], before: float) -> list[int]:
        """Remove those that were committed by then, in seconds of the epoch; the sizes of what went.

        From this moment on nobody is told that one of them is here before that is decided.
        """
        over = asyncio.get_running_loop().create_future()
        self._removing.update(dict.fromkeys(digests, over))
        return await self._finishing.run(self._remove_old(digests, before, over))

    def committed(self, digest: Digest, size: int, filling: bool) -> None:
        """An upload session became this blob."""
        # It may have been placed, and removed, before we come to hear of it: then the disk is asked.
        if digest not in self._removing and self._removed.get(digest) is None:
            self._sizes.put(digest, size)
            self._contents.blob_here(digest, size, filled=filling)
        else:
            looking = asyncio.create_task(self._finishing.run(self._stock.look_again((digest,))))
            self._looking.add(looking)
            looking.add_done_callback(self._looking.discard)
        self._changed()

    async def close(self) -> None:
        """Return when no thread and no task of its own is at work any more."""
        await self._checks.close()
        if self._looking:
            await asyncio.wait(self._looking)

    async def _delete(self, digest: Digest) -> None:
        self._deletions += 1
        try:
            there = await self._threads.small(self._files.remove, digest)
        finally:
            self._sizes.drop(digest)
            self._removed.put(digest, True)
            self._deletions += 1
            await self._stock.look_again((digest,))
        self._changed()
        if not there:
            raise _missing(digest)

    async def _remove_old(self, digests: Sequence[Digest], before: float, over: asyncio.Future[None]) -> list[int]:
        self._deletions += 1
        try:
            sizes = await self._threads.small(self._files.remove_old, digests, before)
        finally:
            for digest in digests:
                self._sizes.drop(digest)
                self._removed.put(digest, True)
                if self._removing.get(digest) is over:
                    del self._removing[digest]
            self._deletions += 1
            over.set_result(None)
            await self._stock.look_again(digests)
        self._changed()
        return sizes

    def _found_damaged(self, damage: Damage) -> None:
        self._deletions += 1
        self._sizes.drop(damage.digest)
        self._contents.blob_gone(damage.digest)
        self._changed()
        self._damaged(damage)


def _missing(digest: Digest) -> NotFound:
    return NotFound(f"There is no blob {digest} here.")
