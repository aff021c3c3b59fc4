"""The composition root: settings in, a running yard out, as nested contexts."""

import logging
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from yarddesk.cache.pull_through import CachedPulls
from yarddesk.content.clock import SystemClock
from yarddesk.content.threads import in_thread_or_undone
from yarddesk.control.counters import EventCounters
from yarddesk.control.event_log import EventLog
from yarddesk.events import EventBus
from yarddesk.progress.traffic import Traffic
from yarddesk.registry.server import TlsUnusable
from yarddesk.service.accounts import Accounts
from yarddesk.service.arrivals import arrivals
from yarddesk.service.backend import refuse_s3
from yarddesk.service.certificate import mistake
from yarddesk.service.hooks import Hooks
from yarddesk.service.keeping import Keeping, NotedArrivals
from yarddesk.service.parts import Parts
from yarddesk.service.reload import SettingsSource
from yarddesk.service.routes import make_routes, open_learned
from yarddesk.service.unheeded import unheeded_keys
from yarddesk.service.usage import StoredBytes
from yarddesk.service.yard import Yard
from yarddesk.settings.model import Settings
from yarddesk.storage.filesystem import FilesystemStore
from yarddesk.storage.lock import InstanceLock
from yarddesk.sync.history import KEPT
from yarddesk.sync.service import SyncService

_log = logging.getLogger(__name__)


@asynccontextmanager
async def open_yard(settings: Settings, source: SettingsSource) -> AsyncIterator[Yard]:
    """Start everything, in order, and end it in the reverse order. Raises YarddeskError."""
    refuse_s3(settings)
    for key in unheeded_keys(settings):
        _log.warning("%s is set in vain: repositories are made at private registries of ECR alone", key)
    os.umask(0o077)
    async with AsyncExitStack() as stack:
        lock = await in_thread_or_undone(InstanceLock.release, InstanceLock.acquire, settings.data_dir)
        stack.callback(lock.release)
        events = EventBus()
        traffic = Traffic()
        # First of all, so that nothing is told before they listen.
        event_log, counters = EventLog(events), EventCounters(events)
        stack.callback(event_log.close)
        stack.callback(counters.close)
        stored = StoredBytes(events)
        store = await stack.enter_async_context(
            FilesystemStore.open(settings.data_dir, on_usage_changed=stored.changed, on_damaged=stored.damaged)
        )
        accounts = await stack.enter_async_context(Accounts())
        learned = await open_learned(settings.data_dir)
        stack.push_async_callback(learned.aclose)
        routes = make_routes(settings, accounts, learned)
        keeping = await stack.enter_async_context(Keeping.open(settings, SystemClock()))
        hooks = Hooks(settings.data_dir, settings.sync.on_synced, events, environ=source.environ)
        sync = SyncService(
            data_dir=settings.data_dir,
            store=store,
            routes=routes,
            settings=settings,
            events=events,
            arrivals=NotedArrivals(keeping.ledger, store, hooks),
        )
        hooks.remember = sync.remember
        pulls = CachedPulls(
            store=store,
            routes=routes,
            settings=settings,
            events=events,
            is_queued=lambda name, reference: sync.is_queued(name, reference) or yard.is_changing(name, reference),
            tag_seen=sync.saw,
            used=keeping.uses.used,
            ledger=keeping.ledger,
            room=keeping.room,
            naming=store.contents.naming,
            traffic=traffic,
        )
        yard = Yard(
            settings,
            source,
            Parts(
                store,
                stored,
                events,
                event_log,
                counters,
                accounts,
                learned,
                routes,
                sync,
                pulls,
                hooks,
                keeping,
                traffic,
            ),
        )
        stack.push_async_callback(yard.close_routes)
        await stack.enter_async_context(hooks)
        await stack.enter_async_context(sync)
        await stack.enter_async_context(pulls)
        await pulls.heal(arrivals(sync.history(KEPT)))
        await stack.enter_async_context(yard.evictor)
        try:
            await stack.enter_async_context(yard.serving(lock))
        except TlsUnusable as error:
            raise mistake(settings, error) from error
        await stack.enter_async_context(yard.watching())
        yield yard
