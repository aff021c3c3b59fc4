"""The threads that touch the disk, so that the loop never does."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from yarddesk.storage.durable import in_words
from yarddesk.storage.pipeline import Transfers
from yarddesk.storage.workers import Workers

Result = TypeVar("Result")
_TRANSFER_THREADS: Final = 8
_READ_THREADS: Final = 8
_SMALL_THREADS: Final = 4


class Threads:
    """Pools of their own for uploads, for reads of blobs and for all that is small: none waits for another's disk."""

    def __init__(self, root: str) -> None:
        self._root = root
        self.transfers = Transfers(_TRANSFER_THREADS)
        self.reading = ThreadPoolExecutor(_READ_THREADS, "yarddesk-read")
        self._small = Workers(_SMALL_THREADS, "yarddesk-store")

    async def small(self, work: Callable[..., Result], *arguments: object) -> Result:
        """Run something short. An OSError comes back as StorageError, in words."""
        with in_words(self._root):
            return await self._small.run(work, *arguments)

    async def read(self, work: Callable[..., Result], *arguments: object) -> Result:
        """Run something that reads whole blobs; as `small`."""
        with in_words(self._root):
            return await asyncio.get_running_loop().run_in_executor(self.reading, work, *arguments)

    def close(self) -> None:
        """Blocks until every thread has ended."""
        self.transfers.workers.close()
        self.reading.shutdown()
        self._small.close()
