"""Keeping what can be had again within its bound: whole images go, what wasn't used for longest first.

One task looks through the index of contents when something has changed, and evicts one image after the other. While one
goes, and only then, no push passes: nobody stands between “its blobs are here” and “it is stored”.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Protocol, Self

from yarddesk.cache.family import Family
from yarddesk.cache.ledger import At, Ledger
from yarddesk.cache.pins import Pins
from yarddesk.cache.standing import Image, Standing, Survey, Wanted, survey
from yarddesk.cache.uses import Uses
from yarddesk.content.clock import Clock
from yarddesk.content.threads import in_thread
from yarddesk.content.upstream import Routes
from yarddesk.errors import YarddeskError
from yarddesk.events import BlobsEvicted, Bound, EventBus, ImageEvicted, ImageSynced, JobRemoved, Subscription
from yarddesk.oci.digest import Digest
from yarddesk.oci.name import RepositoryName, Tag, format_reference
from yarddesk.settings.model import CacheSettings
from yarddesk.storage.contents import ContentIndex, copied
from yarddesk.storage.images import StoredImages
from yarddesk.storage.references import Packed

_log = logging.getLogger(__name__)

_GATHERED_SECONDS: Final = 0.2
"""Changes come in bursts, and one look is enough for all of them."""

_WRITTEN_SECONDS: Final = 60.0
_AGAIN_SECONDS: Final = 10.0
"""What could not go yet, though it should, is looked at again after so long."""

_REST: Final = 20
"""Looking through everything takes a twentieth of the time at most."""

_ENOUGH: Final = 0.95
_BATCH: Final = 50
_LOOKED_AT_ONCE: Final = 1000

Closed = Callable[[], AbstractAsyncContextManager[None]]
Queued = Callable[[], Mapping[RepositoryName, frozenset[Digest]]]


class EvictableStore(Protocol):
    """What must be known of a store, and done to it."""

    @property
    def contents(self) -> ContentIndex: ...

    @property
    def images(self) -> StoredImages: ...


@dataclass(frozen=True, slots=True)
class Known:
    """What decides over images. `queued` gives all manifests that are on their way to an upstream, `queued_in` those of a repository."""

    ledger: Ledger
    pins: Pins
    uses: Uses
    queued: Queued
    queued_in: Callable[[RepositoryName], Collection[Digest]]
    followed: Callable[[RepositoryName, Tag], Digest | None]


class Evictor:
    """Use it as `async with`, inside of whatever it asks. `closed` keeps out whoever stores manifests that were pushed."""

    def __init__(
        self,
        store: EvictableStore,
        known: Known,
        *,
        routes: Routes,
        settings: CacheSettings,
        closed: Closed,
        events: EventBus,
        clock: Clock,
        used_changed: Callable[[], None],
    ) -> None:
        self.used = 0
        """The bytes of all that can be had again, as last counted: `settings.max_size` is their bound."""
        self.counted = asyncio.Event()
        """`used` was counted since the start."""
        self._store = store
        self._known = known
        self._routes = routes
        self._settings = settings
        self._closed = closed
        self._events = events
        self._clock = clock
        self._used_changed = used_changed
        self._standing = Standing(known.ledger.get, known.followed, known.uses.get)
        self._needed = 0
        self._over = False
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._subscription: Subscription | None = None

    async def __aenter__(self) -> Self:
        self._store.contents.changed = self._wake.set
        self._known.ledger.changed = self._wake.set
        self._known.pins.changed = self._wake.set
        self._subscription = self._events.subscribe(lambda _event: self._wake.set(), ImageSynced, JobRemoved)
        self._wake.set()
        self._task = asyncio.create_task(self._run(), name="eviction")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._task is not None
        assert self._subscription is not None
        self._subscription.close()
        self._store.contents.changed = None
        self._known.ledger.changed = None
        self._known.pins.changed = None
        self._task.cancel()
        await asyncio.wait([self._task])
        await self._known.uses.close()

    def reload(self, routes: Routes, settings: CacheSettings) -> None:
        """Other settings are in force."""
        self._routes = routes
        self._settings = settings
        self._wake.set()

    def make_room(self, size: int) -> None:
        """The disk lacks so many bytes for what is pulled: what can be had again goes for it."""
        self._needed = max(self._needed, size)
        self._wake.set()

    async def _run(self) -> None:
        written = self._clock.monotonic()
        forgotten = False
        while True:
            await self._clock.wait(self._wake, _AGAIN_SECONDS if self._over else _WRITTEN_SECONDS)
            await asyncio.sleep(_GATHERED_SECONDS)
            woken = self._wake.is_set() or self._over
            self._wake.clear()
            if self._clock.monotonic() - written >= _WRITTEN_SECONDS:
                written = self._clock.monotonic()
                self._known.uses.write()
            if not woken or not self._store.contents.complete:
                continue
            if not forgotten:
                await self._forget_gone()
                forgotten = True
            try:
                await self._look()
            except Exception:  # noqa: BLE001 - logged with its traceback; the next change brings the next look
                _log.exception("the cache could not be looked through")
                self.counted.set()  # as well as it could be

    async def _forget_gone(self) -> None:
        """Of what was removed without a word nothing is known any more."""
        for known in (self._known.ledger, self._known.uses):
            for place, (repository, digest) in enumerate(known.known()):
                if place % _LOOKED_AT_ONCE == 0:
                    await asyncio.sleep(0)
                if not self._is_here(repository, digest):
                    known.gone(repository, (digest,))

    async def _look(self) -> None:
        began = self._clock.monotonic()
        found = await self.survey()
        took = self._clock.monotonic() - began
        await self.evict(found)
        await asyncio.sleep(took * _REST)

    async def survey(self) -> Survey:
        """Look through everything that is stored."""
        index = [await copied(self._store.contents)]  # popped by the thread, so that it goes there: that takes a while
        queued, routes = self._known.queued(), self._routes
        found = await in_thread(
            lambda: survey(index.pop(), self._standing, lambda name: self._wanted(name, routes, queued.get(name, ())))
        )
        self._is_used(found.used)
        self.counted.set()
        return found

    async def evict(self, found: Survey) -> None:
        """What is too much of it, what wasn't used for longest first."""
        bound, used = self._settings.max_size, found.used
        needed, self._needed = self._needed, 0
        if needed > used:
            needed = 0  # all of it would not be enough: then it had better stay
        self._over = bool(bound) and used > bound
        if not (self._over or needed) or self._settings.offline or self._known.pins.unreadable:
            return
        within = int(bound * _ENOUGH) if self._over else used
        enough = min(within, used - needed)
        for first in range(0, len(found.left_over), _BATCH):
            if used <= enough:
                break
            used -= await self._evict_left_over(found.left_over[first : first + _BATCH], _bound(used, within))
        for image in found.images:
            if used <= enough:
                break
            used -= await self._evict_image(image, _bound(used, within))
            self._is_used(used)
        self._over = bool(bound) and used > bound

    async def _evict_left_over(self, seen: Sequence[Packed], bound: Bound) -> int:
        async with self._closed():
            freed = await self._store.images.remove_left_over(seen)
        if freed:
            self._events.publish(BlobsEvicted(size=freed, bound=bound))
        return freed

    async def _evict_image(self, seen: Image, bound: Bound) -> int:
        """How many bytes went: none where it's not what it was when it was looked at."""
        try:
            async with self._closed():
                image = self._still(seen)
                freed = None
                if image is not None:
                    freed = await self._store.images.remove(image.repository, image.tags, image.manifests)
        except YarddeskError as error:
            _log.warning("%s is not evicted: %s", format_reference(seen.repository, seen.root), error)
            return 0
        if image is None or freed is None:
            return 0
        # Its blobs took a while to go: what was pulled again meanwhile is no image of ours alone.
        gone = [digest for digest in image.manifests if not self._is_here(image.repository, digest)]
        self._known.ledger.gone(image.repository, gone)
        self._known.uses.gone(image.repository, gone)
        named = format_reference(image.repository, image.tags[0] if image.tags else image.root)
        _log.info("evicted %s (%s, %d bytes)", named, image.root.short, freed)
        if 0 < self._settings.max_size < freed:
            _log.warning("%s alone is larger than cache.max_size: each pull of it comes from its upstream", named)
        self._events.publish(
            ImageEvicted(repository=image.repository, digest=image.root, tags=image.tags, size=freed, bound=bound)
        )
        return freed

    def _still(self, seen: Image) -> Image | None:
        """The image as it is now, if it may go now, and wasn't used since."""
        index = self._store.contents
        contents = index.repositories.get(seen.repository)
        if contents is None:
            return None
        family = Family(contents)
        if not family.is_root(seen.root):
            return None
        wanted = self._wanted(seen.repository, self._routes, self._known.queued_in(seen.repository))
        image = self._standing.image(index, seen.repository, family, seen.root, wanted)
        return image if image is not None and image.used <= seen.used else None

    def _wanted(self, repository: RepositoryName, routes: Routes, queued: Collection[Digest]) -> Wanted:
        return Wanted(
            pulls=frozenset(At.of(upstream, repository) for upstream in routes.pull_upstreams(repository)),
            pushes=frozenset(At.of(upstream, repository) for upstream in routes.push_upstreams(repository)),
            queued=queued,
            pins=self._known.pins.of(repository),
        )

    def _is_here(self, repository: RepositoryName, digest: Digest) -> bool:
        contents = self._store.contents.repositories.get(repository)
        return contents is not None and digest in contents.manifests

    def _is_used(self, used: int) -> None:
        if used != self.used:
            self.used = used
            self._used_changed()


def _bound(used: int, within: int) -> Bound:
    """What more room is made for: the cache's own bound comes first."""
    return "max_size" if used > within else "min_free"
