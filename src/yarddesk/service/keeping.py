"""What may go of what is stored, and what stays: the parts of it over one data folder, and who tells them what."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Self

from yarddesk.cache.ledger import At, Ledger
from yarddesk.cache.pins import Pins
from yarddesk.cache.room import Room, free_bytes
from yarddesk.cache.uses import Uses
from yarddesk.content.clock import Clock
from yarddesk.content.graph import descendants
from yarddesk.content.listener import Arrival, ArrivalListener
from yarddesk.content.store import Store
from yarddesk.content.target import NotFound
from yarddesk.errors import YarddeskError
from yarddesk.settings.model import Settings

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Keeping:
    """Read back by `open`."""

    ledger: Ledger
    pins: Pins
    uses: Uses
    room: Room

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: Settings, clock: Clock) -> AsyncIterator[Self]:
        folder = settings.data_dir
        keeping = cls(
            Ledger(folder),
            Pins(folder),
            Uses(folder, lambda: clock.now().timestamp()),
            Room(settings.cache, clock.monotonic, partial(free_bytes, folder)),
        )
        await keeping.ledger.load()
        await keeping.pins.load()
        await keeping.uses.load()
        try:
            yield keeping
        finally:
            await keeping.ledger.close()
            await keeping.uses.close()


class NotedArrivals(ArrivalListener):
    """Before an image leaves the queue it stands in the ledger that it's upstream, with all that it carries; then others hear of it."""

    def __init__(self, ledger: Ledger, store: Store, then: ArrivalListener) -> None:
        self._ledger = ledger
        self._store = store
        self._then = then

    async def image_arrived(self, arrival: Arrival) -> None:
        digests = {arrival.digest}
        try:
            manifest = await self._store.get_manifest(arrival.repository, arrival.digest)
            digests |= await descendants(self._store.repository(arrival.repository), manifest)
            await self._ledger.arrived(arrival.repository, digests, At(arrival.upstream, arrival.place))
        except NotFound:
            pass  # deleted here meanwhile
        except YarddeskError as error:
            _log.warning("%s stays here for good: that it's upstream can't be noted: %s", arrival.repository, error)
        await self._then.image_arrived(arrival)
