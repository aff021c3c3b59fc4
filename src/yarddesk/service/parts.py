"""What a yard is made of."""

from dataclasses import dataclass

from yarddesk.cache.pull_through import CachedPulls
from yarddesk.control.counters import EventCounters
from yarddesk.control.event_log import EventLog
from yarddesk.events import EventBus
from yarddesk.progress.traffic import Traffic
from yarddesk.service.accounts import Accounts
from yarddesk.service.hooks import Hooks
from yarddesk.service.keeping import Keeping
from yarddesk.service.routes import YardRoutes
from yarddesk.service.usage import StoredBytes
from yarddesk.storage.filesystem import FilesystemStore
from yarddesk.sync.service import SyncService
from yarddesk.upstream.learned import Learned


@dataclass(frozen=True, slots=True)
class Parts:
    """What a yard is made of, below its server."""

    store: FilesystemStore
    stored: StoredBytes
    events: EventBus
    event_log: EventLog
    counters: EventCounters
    accounts: Accounts
    learned: Learned
    routes: YardRoutes
    sync: SyncService
    pulls: CachedPulls
    hooks: Hooks
    keeping: Keeping
    traffic: Traffic
