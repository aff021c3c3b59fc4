"""Stored content without a running instance: a command takes the data folder's lock, does its work, and leaves."""

import os
from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from yarddesk.cache.ledger import Ledger
from yarddesk.cache.origins import ORIGINS_FILE, Origins
from yarddesk.cache.prefetch import Prefetcher
from yarddesk.cache.pull_through import CachedPulls
from yarddesk.content.clock import SystemClock
from yarddesk.content.listener import ManifestPush, PushListener
from yarddesk.content.threads import in_thread_or_undone
from yarddesk.events import EventBus
from yarddesk.oci.digest import Digest
from yarddesk.oci.name import Reference, RepositoryName
from yarddesk.registry.intake import ManifestIntake
from yarddesk.registry.locks import Gate
from yarddesk.service.accounts import Accounts
from yarddesk.service.backend import refuse_s3
from yarddesk.service.keeping import Keeping
from yarddesk.service.pushes import AnnouncedPushes
from yarddesk.service.routes import make_routes
from yarddesk.service.surroundings import Surroundings
from yarddesk.service.upkeep import Upkeep
from yarddesk.service.whereabouts import Whereabouts
from yarddesk.settings.model import Settings
from yarddesk.storage.filesystem import FilesystemStore
from yarddesk.storage.images import StoredImages
from yarddesk.storage.lock import InstanceLock
from yarddesk.sync.history import HISTORY_FILE, History
from yarddesk.sync.journal import Journal
from yarddesk.sync.marker import Marker
from yarddesk.sync.service import SyncService


@asynccontextmanager
async def open_alone(settings: Settings) -> AsyncIterator[Upkeep]:
    """The works over a data folder that no instance runs on. Raises AlreadyRunning where one does, and StorageError."""
    refuse_s3(settings)
    os.umask(0o077)
    async with AsyncExitStack() as stack:
        lock = await in_thread_or_undone(InstanceLock.release, InstanceLock.acquire, settings.data_dir)
        stack.callback(lock.release)
        store = await stack.enter_async_context(FilesystemStore.open(settings.data_dir))
        journal = Journal(settings.data_dir / "pending")
        stack.push_async_callback(journal.close)
        queue = _MarkersOnDisk(await journal.read(SystemClock().now))
        accounts = await stack.enter_async_context(Accounts())
        routes = make_routes(settings, accounts)
        stack.push_async_callback(routes.aclose)
        events, deletes = EventBus(), Gate()
        keeping = await stack.enter_async_context(Keeping.open(settings, SystemClock()))
        history = History(settings.data_dir / HISTORY_FILE)
        origins = Origins(settings.data_dir / ORIGINS_FILE, SystemClock().monotonic)
        await history.load()
        await origins.load()
        stack.push_async_callback(origins.close)
        whereabouts = Whereabouts(lambda: routes, queue.is_queued, history.latest, origins.digest, keeping.ledger.get)

        @asynccontextmanager
        async def pushes() -> AsyncIterator[ManifestIntake]:
            sync = SyncService(data_dir=settings.data_dir, store=store, routes=routes, settings=settings, events=events)
            async with sync.resting():
                listener = _PushesAlone(sync, events, keeping.ledger, store.images, origins)
                yield ManifestIntake(store, listener, deletes)

        @asynccontextmanager
        async def pulls() -> AsyncIterator[Prefetcher]:
            sync = SyncService(data_dir=settings.data_dir, store=store, routes=routes, settings=settings, events=events)
            cache = CachedPulls(
                store=store,
                routes=routes,
                settings=settings,
                events=events,
                is_queued=sync.is_queued,
                tag_seen=sync.saw,
                used=keeping.uses.used,
                ledger=keeping.ledger,
                room=keeping.room,
                naming=store.contents.naming,
            )
            async with sync.resting(), cache:
                yield cache.prefetcher

        yield Upkeep(
            Surroundings(
                store, events, lambda: routes, lambda: settings, queue, whereabouts, deletes, pushes, pulls, keeping
            )
        )


class _PushesAlone(AnnouncedPushes):
    """What a tag that is pushed means for one that followed an upstream: it's ours, as in a running instance."""

    def __init__(
        self, sync: PushListener, events: EventBus, ledger: Ledger, images: StoredImages, origins: Origins
    ) -> None:
        super().__init__(sync, events, ledger, images)
        self._origins = origins

    async def manifest_pushed(self, push: ManifestPush) -> None:
        await super().manifest_pushed(push)
        for tag in push.tags:
            self._origins.is_ours(push.repository, tag)


class _MarkersOnDisk:
    """The queue as it lies there; nobody works on it meanwhile."""

    def __init__(self, markers: Sequence[Marker]) -> None:
        self._references = {(marker.repository, marker.reference) for marker in markers}
        self._digests: defaultdict[RepositoryName, set[Digest]] = defaultdict(set)
        for marker in markers:
            if marker.digest is not None:  # Switchyard's name none, but a tag
                self._digests[marker.repository].add(marker.digest)

    def queued_in(self, repository: RepositoryName) -> Collection[Digest]:
        return self._digests.get(repository, ())

    def is_queued(self, repository: RepositoryName, reference: Reference) -> bool:
        return (repository, reference) in self._references
