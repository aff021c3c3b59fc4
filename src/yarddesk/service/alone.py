"""Stored content without a running instance: a command takes the data folder's lock, does its work, and leaves."""

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from yarddesk.content.clock import SystemClock
from yarddesk.events import EventBus
from yarddesk.oci.digest import Digest
from yarddesk.oci.name import Reference, RepositoryName, Tag
from yarddesk.registry.intake import ManifestIntake
from yarddesk.registry.locks import Gate
from yarddesk.service.accounts import Accounts
from yarddesk.service.backend import refuse_s3
from yarddesk.service.routes import make_routes
from yarddesk.service.surroundings import Surroundings
from yarddesk.service.upkeep import Upkeep
from yarddesk.settings.model import Settings
from yarddesk.storage.filesystem import FilesystemStore
from yarddesk.storage.lock import InstanceLock
from yarddesk.sync.journal import Journal
from yarddesk.sync.marker import Marker
from yarddesk.sync.service import SyncService


@asynccontextmanager
async def open_alone(settings: Settings) -> AsyncIterator[Upkeep]:
    """The works over a data folder that no instance runs on. Raises AlreadyRunning where one does, and StorageError."""
    refuse_s3(settings)
    os.umask(0o077)
    async with AsyncExitStack() as stack:
        lock = await asyncio.to_thread(InstanceLock.acquire, settings.data_dir)
        stack.callback(lock.release)
        store = await stack.enter_async_context(FilesystemStore.open(settings.data_dir))
        journal = Journal(settings.data_dir / "pending")
        stack.push_async_callback(journal.close)
        queue = _MarkersOnDisk(await journal.read(SystemClock().now))
        accounts = await stack.enter_async_context(Accounts())
        routes = make_routes(settings, accounts)
        stack.push_async_callback(routes.aclose)
        events, deletes = EventBus(), Gate()

        @asynccontextmanager
        async def pushes() -> AsyncIterator[ManifestIntake]:
            sync = SyncService(data_dir=settings.data_dir, store=store, routes=routes, settings=settings, events=events)
            async with sync.resting():
                yield ManifestIntake(store, sync, deletes)

        yield Upkeep(Surroundings(store, events, lambda: routes, lambda: settings, queue, deletes, pushes))


class _MarkersOnDisk:
    """The queue as it lies there; nobody works on it meanwhile."""

    def __init__(self, markers: Sequence[Marker]) -> None:
        self._markers = markers

    def queued(self) -> Sequence[tuple[RepositoryName, Reference, Digest]]:
        # Switchyard's markers name no digest, but a tag, which keeps what it names.
        return [(each.repository, each.reference, each.digest) for each in self._markers if each.digest is not None]

    async def manifest_deleted(self, repository: RepositoryName, digest: Digest, tags: tuple[Tag, ...]) -> None:
        """What is queued is never deleted by a work."""
