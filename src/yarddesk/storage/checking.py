"""Blobs hashed to see whether they are whole: once, however many ask, and on few threads."""

import asyncio
import contextlib
import errno
import logging
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from enum import Enum, auto
from typing import Final

from yarddesk.content.errors import StorageError
from yarddesk.content.threads import in_thread
from yarddesk.oci.digest import Digest
from yarddesk.storage.blobs import BlobFiles
from yarddesk.storage.durable import in_words
from yarddesk.storage.quarantine import Damage, Quarantine
from yarddesk.storage.verified import Identity

_log = logging.getLogger(__name__)

_THREADS: Final = 2
_PATIENT: Final = 15
_REPLACED_AT_MOST: Final = 3

Passed = Callable[[int], None]
"""Told of each piece that was hashed, in bytes, on the thread; what it raises ends the check."""


class Finding(Enum):
    WHOLE = auto()
    MISSING = auto()
    DAMAGED = auto()


class Stopped(Exception):
    """The store closes, or nobody waits for the check any more."""


class BlobChecks:
    """`damaged` is called on the loop before whoever asked hears of it."""

    def __init__(
        self,
        root: str,
        blobs: BlobFiles,
        quarantine: Quarantine,
        damaged: Callable[[Damage], None],
    ) -> None:
        self._root = root
        self._blobs = blobs
        self._quarantine = quarantine
        self._damaged = damaged
        self._pool = ThreadPoolExecutor(_THREADS, "yarddesk-check")
        self._patient = ThreadPoolExecutor(1, "yarddesk-verify", initializer=_step_back)
        self._under_way: dict[Digest, asyncio.Task[Finding]] = {}
        self._again: set[asyncio.Task[Finding]] = set()
        self._stopping = False

    async def check(self, digest: Digest) -> Finding:
        """Hash it, unless its file was hashed since it last changed. A damaged one is in quarantine when this returns."""
        task = self._under_way.get(digest)
        if task is None:
            task = self._under_way[digest] = asyncio.create_task(self._check(digest, again=False, passed=_nobody))
            task.add_done_callback(lambda done: self._ended(digest, done))
        return await asyncio.shield(task)

    async def check_again(self, digest: Digest, passed: Passed) -> Finding:
        """Hash it whatever is known of it, one at a time and after all that is urgent. Ends soon after it's cancelled."""
        stopped = False

        def tell(count: int) -> None:
            if stopped:
                raise Stopped
            passed(count)

        # It comes to its end, so that damage that was moved aside is heard of.
        task = asyncio.create_task(self._check(digest, again=True, passed=tell))
        self._again.add(task)
        task.add_done_callback(self._again_ended)
        try:
            return await asyncio.shield(task)
        finally:
            stopped = True

    async def close(self) -> None:
        self._stopping = True
        while tasks := (*self._under_way.values(), *self._again):
            await asyncio.wait(tasks)
        for pool in (self._pool, self._patient):
            await in_thread(pool.shutdown)

    async def _check(self, digest: Digest, *, again: bool, passed: Passed) -> Finding:
        with in_words(self._root):
            pool = self._patient if again else self._pool
            found = await asyncio.get_running_loop().run_in_executor(pool, self._look, digest, again, passed)
        if isinstance(found, Finding):
            return found
        self._damaged(found)
        return Finding.DAMAGED

    def _ended(self, digest: Digest, task: asyncio.Task[Finding]) -> None:
        del self._under_way[digest]
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.debug("blob %s could not be checked: %s", digest, error)

    def _again_ended(self, task: asyncio.Task[Finding]) -> None:
        self._again.discard(task)
        if not task.cancelled():
            task.exception()  # for whoever waits still

    # What follows runs on a thread.

    def _look(self, digest: Digest, again: bool, passed: Passed) -> Finding | Damage:
        for _ in range(_REPLACED_AT_MOST):
            try:
                descriptor = self._blobs.open(digest)
            except FileNotFoundError:
                return Finding.MISSING
            try:
                seen = Identity.of(os.fstat(descriptor))
                if not again and self._blobs.verified.holds(digest, seen):
                    return Finding.WHOLE
                if self._is_whole(descriptor, digest, passed):
                    return Finding.WHOLE
            finally:
                os.close(descriptor)
            damage = self._set_aside(digest, seen)
            if damage is not None:
                return damage
            again = False  # somebody has put a whole one there
        return Finding.DAMAGED

    def _is_whole(self, descriptor: int, digest: Digest, passed: Passed) -> bool:
        def tell(count: int) -> None:
            if self._stopping:
                raise Stopped
            passed(count)

        try:
            return self._blobs.is_whole(descriptor, digest, tell)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            _log.error("blob %s can't be read from the disk: %s", digest, error)
            return False

    def _set_aside(self, digest: Digest, seen: Identity) -> Damage | None:
        try:
            name = self._quarantine.take_blob(digest, seen)
        except (OSError, StorageError) as error:
            _log.error("blob %s is damaged, and can't be moved to quarantine: %s", digest, error)
            return Damage(digest, seen.size, None)
        return None if name is None else Damage(digest, seen.size, name)


def _step_back() -> None:
    """Where a thread has a priority of its own: all else comes before it."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _PATIENT)


def _nobody(_count: int) -> None:
    """Nobody wants to know how far it is."""
