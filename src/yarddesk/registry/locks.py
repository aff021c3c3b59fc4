"""Locks that exist while somebody holds or wants them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager


class KeyedLocks:
    """A lock for each key. Several are taken in one order, so that two callers never wait for each other."""

    def __init__(self) -> None:
        self._locks: dict[str, tuple[asyncio.Lock, int]] = {}

    def is_wanted(self, key: str) -> bool:
        """Whether somebody holds its lock, or waits for it."""
        return key in self._locks

    @asynccontextmanager
    async def hold(self, *keys: str) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for key in sorted(set(keys)):
                await stack.enter_async_context(self.hold_one(key))
            yield

    @asynccontextmanager
    async def hold_one(self, key: str) -> AsyncIterator[None]:
        """As `hold`, for a single one."""
        lock, users = self._locks.get(key, (None, 0))
        lock = lock or asyncio.Lock()
        self._locks[key] = (lock, users + 1)
        try:
            async with lock:
                yield
        finally:
            lock, users = self._locks[key]
            if users == 1:
                del self._locks[key]
            else:
                self._locks[key] = (lock, users - 1)


class Gate:
    """Passed by many at once, or closed by one alone."""

    def __init__(self) -> None:
        self._passing = 0
        self._nobody = asyncio.Event()
        self._nobody.set()
        self._closing = asyncio.Lock()

    @asynccontextmanager
    async def passed(self) -> AsyncIterator[None]:
        if self._closing.locked():
            async with self._closing:
                self._enter()
        else:
            self._enter()
        try:
            yield
        finally:
            self._passing -= 1
            if not self._passing:
                self._nobody.set()

    @asynccontextmanager
    async def closed(self) -> AsyncIterator[None]:
        async with self._closing:
            await self._nobody.wait()
            yield

    def _enter(self) -> None:
        self._passing += 1
        self._nobody.clear()
