"""`CachedPulls`: the pull-through cache, as the registry asks for it (content.pull_through.PullThrough)."""

from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Self

from yarddesk.cache.asking import Asking, Shared
from yarddesk.cache.blobs import CachedBlobs, Naming
from yarddesk.cache.breaker import gave_none
from yarddesk.cache.ledger import Ledger
from yarddesk.cache.lifetimes import Lifetimes
from yarddesk.cache.lists import CachedLists
from yarddesk.cache.manifests import CachedManifests, TagSeen
from yarddesk.cache.origins import ORIGINS_FILE, Origins
from yarddesk.cache.prefetch import Prefetcher
from yarddesk.cache.referrers import CachedReferrers
from yarddesk.cache.room import Room
from yarddesk.content.clock import Clock, SystemClock
from yarddesk.content.pull_through import (
    BlobContent,
    FetchedManifest,
    PullHealth,
    ReferrerList,
    ResolvedManifest,
    TagPage,
)
from yarddesk.content.store import Store
from yarddesk.content.upstream import Routes, UpstreamFailure
from yarddesk.events import EventBus, ImageSynced, ManifestStored, PullHealthChanged, Subscription, UpstreamStateChanged
from yarddesk.oci.digest import Digest
from yarddesk.oci.name import Reference, RepositoryName, Tag
from yarddesk.progress.traffic import Lookup, Traffic
from yarddesk.settings.model import Settings

Used = Callable[[RepositoryName, Digest], None]
"""Told that a manifest was served from the store: what was used lately goes last."""


class CachedPulls:
    """Use it as `async with`. `is_queued` says whether a tag that was pushed here is still on its way to its upstreams, or here."""

    def __init__(
        self,
        *,
        store: Store,
        routes: Routes,
        settings: Settings,
        events: EventBus,
        is_queued: Callable[[RepositoryName, Reference], bool],
        tag_seen: TagSeen | None = None,
        used: Used | None = None,
        ledger: Ledger | None = None,
        room: Room | None = None,
        clock: Clock | None = None,
        naming: Naming = lambda _repository, _blob: None,
        traffic: Traffic | None = None,
    ) -> None:
        self._traffic = traffic = traffic or Traffic()
        clock = clock or SystemClock()
        self._events = events
        self._used = used
        self._ledger = ledger or Ledger(settings.data_dir)
        self._origins = Origins(settings.data_dir / ORIGINS_FILE, clock.monotonic)
        self._room = room or Room(settings.cache, clock.monotonic, lambda: None)
        self._asking = Asking(clock, offline=settings.cache.offline, changed=self._tell, traffic=traffic)
        self._shared = Shared()
        self._manifests = CachedManifests(
            store,
            routes,
            Lifetimes(settings),
            settings.cache.quota_floor,
            asking=self._asking,
            shared=self._shared,
            origins=self._origins,
            ledger=self._ledger,
            events=events,
            is_queued=is_queued,
            tag_seen=tag_seen,
            clock=clock,
        )
        self._blobs = CachedBlobs(
            store,
            routes,
            _check_seconds(settings),
            asking=self._asking,
            shared=self._shared,
            room=self._room,
            clock=clock,
            naming=naming,
            traffic=traffic,
        )
        self._lists = CachedLists(store, routes, _check_seconds(settings), asking=self._asking)
        self._referrers = CachedReferrers(
            store,
            routes,
            _check_seconds(settings),
            asking=self._asking,
            manifests=self._manifests,
            shared=self._shared,
        )
        self.prefetcher = Prefetcher(self._manifests, self._blobs, self._referrers, self._note_use)
        self._ways = _ways(settings)
        self._subscription: Subscription | None = None

    async def __aenter__(self) -> Self:
        await self._origins.load()
        self._subscription = self._events.subscribe(self._heard, ImageSynced, ManifestStored, UpstreamStateChanged)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._subscription is not None:
            self._subscription.close()
        await self._shared.close()
        await self._asking.close()
        await self._blobs.close()
        await self._origins.close()
        await self._ledger.close()

    def reload(self, routes: Routes, settings: Settings) -> None:
        """Other settings are in force; what is under way goes on."""
        self._manifests.routes = self._blobs.routes = self._lists.routes = self._referrers.routes = routes
        self._manifests.lifetimes = Lifetimes(settings)
        self._room.settings = settings.cache
        self._manifests.quota_floor = settings.cache.quota_floor
        check_seconds = _check_seconds(settings)
        self._blobs.check_seconds = self._lists.check_seconds = self._referrers.check_seconds = check_seconds
        self._asking.offline = settings.cache.offline
        ways, self._ways = self._ways, _ways(settings)
        same = [name for name, way in ways.items() if self._ways.get(name) == way]
        self._asking.forget(but=() if self._asking.offline else same)  # offline nobody is probed, either

    def look_again(self) -> None:
        """Somebody signed in or out: what upstreams said before says nothing any more."""
        self._asking.forget()

    def health(self, upstream: str) -> PullHealth:
        """How pulls from it go."""
        known = self._manifests.routes.upstream(upstream)
        trouble = self._asking.trouble(upstream)
        quota = known.quota if known is not None else None
        state, reason = _state(trouble), str(trouble or "")
        if self._asking.offline and known is not None and known.pull:
            state, reason = "offline", "cache.offline is set."
        return PullHealth(state, reason, quota, self._asking.has_answered(upstream))

    def is_fresh(self, repository: RepositoryName, tag: Tag) -> bool:
        return self._manifests.is_fresh(repository, tag)

    def used(self, repository: RepositoryName, digest: Digest) -> None:
        self._traffic.lookup("manifest", "hit")
        self._note_use(repository, digest)

    def _note_use(self, repository: RepositoryName, digest: Digest) -> None:
        if self._used is not None:
            self._used(repository, digest)

    async def heal(self, arrived: Iterable[ImageSynced]) -> None:
        """What had arrived at its upstreams before the start; of each tag the last that is known."""
        await self._manifests.heal(arrived)

    def followed(self, repository: RepositoryName, tag: Tag) -> Digest | None:
        """What an upstream's tag was when it was last heard of; None for a tag that follows none."""
        return self._origins.digest(repository, tag)

    async def resolve_manifest(
        self, repository: RepositoryName, reference: Reference, *, quick: bool
    ) -> ResolvedManifest | None:
        resolved = await self._manifests.resolve(repository, reference, quick=quick)
        self._count_lookup(resolved)
        return resolved

    async def fetch_manifest(self, repository: RepositoryName, reference: Reference) -> FetchedManifest | None:
        fetched = await self._manifests.fetch(repository, reference)
        self._count_lookup(fetched)
        if fetched is not None:
            self._blobs.note_sizes(fetched.manifest)
            self._note_use(repository, fetched.manifest.digest)
        return fetched

    def _count_lookup(self, found: ResolvedManifest | FetchedManifest | None) -> None:
        came: Lookup = "absent"
        if found is not None:
            came = "stale" if found.stale else "hit" if found.unchanged else "miss"
        self._traffic.lookup("manifest", came)

    async def blob_size(self, repository: RepositoryName, digest: Digest) -> int | None:
        return await self._blobs.size(repository, digest)

    def is_filling(self, digest: Digest) -> bool:
        return self._blobs.is_filling(digest)

    def open_blob(self, repository: RepositoryName, digest: Digest) -> AbstractAsyncContextManager[BlobContent]:
        return self._blobs.open(repository, digest)

    async def tags(self, repository: RepositoryName, *, last: str = "", limit: int | None = None) -> TagPage | None:
        return await self._lists.tags(repository, last=last, limit=limit)

    async def referrers(self, repository: RepositoryName, digest: Digest, artifact_type: str = "") -> ReferrerList:
        return await self._referrers.referrers(repository, digest, artifact_type)

    def _tell(self, upstream: str, trouble: UpstreamFailure | None) -> None:
        event = PullHealthChanged(upstream=upstream, state=_state(trouble), reason=str(trouble or ""))
        self._events.publish(event)

    def _heard(self, event: ImageSynced | ManifestStored | UpstreamStateChanged) -> None:
        match event:
            case ImageSynced():
                self._asking.appeared(event.repository)
                self._asking.reachable(event.upstream)  # to syncs it may never have been away
                self._manifests.synced(event)
            case ManifestStored():
                self._asking.appeared(event.repository)
                for tag in event.tags if event.origin == "push" else ():
                    self._origins.is_ours(event.repository, tag)
            case UpstreamStateChanged(state="ok"):
                self._asking.reachable(event.upstream)


def _state(trouble: UpstreamFailure | None) -> str:
    if trouble is None:
        return "ok"
    if gave_none(trouble):
        return "away"
    return "waits" if trouble.status == 429 else "trouble"


def _ways(settings: Settings) -> dict[str, object]:
    return {upstream.name: upstream.way for upstream in settings.upstreams}


def _check_seconds(settings: Settings) -> float | None:
    return settings.check_timeout.total_seconds() or None
