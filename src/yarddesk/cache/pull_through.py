"""`CachedPulls`: the pull-through cache, as the registry asks for it (content.pull_through.PullThrough)."""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from heapq import merge
from types import TracebackType
from typing import Final, Self

from yarddesk.cache.asking import Asking, Shared, no_answer
from yarddesk.cache.awaited import AwaitedTags
from yarddesk.cache.fills import Fill, FillEnded, Fills
from yarddesk.cache.lifetimes import Lifetimes
from yarddesk.cache.origins import ORIGINS_FILE, Origins
from yarddesk.cache.unkept import Room, kept_or_passed_on, passed_on
from yarddesk.content.clock import Clock, SystemClock
from yarddesk.content.errors import StorageError
from yarddesk.content.pull_through import BlobContent, FetchedManifest, ReferrerList, ResolvedManifest, TagPage
from yarddesk.content.store import Store
from yarddesk.content.target import NotFound
from yarddesk.content.upstream import Routes, Upstream, UpstreamFailure
from yarddesk.events import EventBus, ImageSynced, ManifestStored, Subscription, UpstreamStateChanged
from yarddesk.oci.descriptor import Descriptor
from yarddesk.oci.digest import Digest
from yarddesk.oci.manifest import Manifest
from yarddesk.oci.media_types import OCTET_STREAM
from yarddesk.oci.name import Reference, RepositoryName, Tag
from yarddesk.settings.model import Settings

_log = logging.getLogger(__name__)

_FILLS_AT_ONCE: Final = 32
_KNOWN_SIZES: Final = 50_000


TagSeen = Callable[[Upstream, RepositoryName, Tag, Digest], None]
"""Told what an upstream's tag names when somebody gets that manifest. A HEAD is no look at it: pushes begin with one."""


class CachedPulls:
    """Use it as `async with`. `is_queued` says whether a tag that was pushed here is still on its way to its upstreams."""

    def __init__(
        self,
        *,
        store: Store,
        routes: Routes,
        settings: Settings,
        events: EventBus,
        is_queued: Callable[[RepositoryName, Reference], bool],
        tag_seen: TagSeen | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._store = store
        self._tag_seen = tag_seen
        self._routes = routes
        self._events = events
        self._is_queued = is_queued
        self._clock = clock or SystemClock()
        self._origins = Origins(settings.data_dir / ORIGINS_FILE, self._clock.monotonic)
        self._awaited = AwaitedTags(self._clock.monotonic)
        self._asking = Asking(self._clock.monotonic, offline=settings.cache.offline)
        self._lifetimes = Lifetimes(settings)
        self._check_seconds = settings.check_timeout.total_seconds() or None
        self._shared = Shared()
        self._fills = Fills(store, _FILLS_AT_ONCE)
        self._room = Room(self._clock.monotonic)
        self._sizes: OrderedDict[Digest, int] = OrderedDict()
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
        await self._fills.close()
        await self._origins.close()

    def reload(self, routes: Routes, settings: Settings) -> None:
        """Other settings are in force; what is under way goes on."""
        self._routes = routes
        self._lifetimes = Lifetimes(settings)
        self._check_seconds = settings.check_timeout.total_seconds() or None
        self._asking.offline = settings.cache.offline
        self._asking.forget()

    # Manifests

    def is_fresh(self, repository: RepositoryName, tag: Tag) -> bool:
        origin = self._origins.get(repository, tag)
        if origin is None or self._is_queued(repository, tag):
            return True
        if origin.checked is not None:
            age = self._clock.monotonic() - origin.checked
            if age < self._lifetimes.seconds(origin.upstream, tag):
                return True
        here = self._store.resolve_cached(repository, tag)
        if here is not None and here.digest != origin.digest:
            return True
        return not self._routes.pull_upstreams(repository)

    def followed(self, repository: RepositoryName, tag: Tag) -> Digest | None:
        """What an upstream's tag was when it was last heard of; None for a tag that follows none."""
        return self._origins.digest(repository, tag)

    async def resolve_manifest(
        self, repository: RepositoryName, reference: Reference, *, quick: bool
    ) -> ResolvedManifest | None:
        upstreams = self._routes.pull_upstreams(repository)
        here = await self._here(repository, reference)
        if not upstreams or self._is_ours(repository, reference, here):
            return ResolvedManifest(here) if here else None
        if quick and self._routes.push_upstreams(repository):
            return await self._resolve_quickly(upstreams, repository, reference, here)
        try:
            there = await self._resolve_once(upstreams, repository, reference)
        except (UpstreamFailure, TimeoutError) as error:
            if here is not None:
                return ResolvedManifest(here, stale=True)
            raise no_answer(upstreams[0], error) from error
        return None if there is None else ResolvedManifest(there)

    async def _resolve_quickly(
        self, upstreams: Sequence[Upstream], repository: RepositoryName, reference: Reference, here: Descriptor | None
    ) -> ResolvedManifest | None:
        """For a push, which waits for no network: only those that answer at once have a say."""
        unknown = ResolvedManifest(here, stale=True) if here else None
        asked = self._asking.quick(upstreams)
        if self._asking.none_answers(asked):
            return unknown
        try:
            async with self._asking.quickly(asked):
                there = await self._resolve_once(asked, repository, reference)
        except (UpstreamFailure, TimeoutError):
            return unknown
        if there is None:
            return unknown if len(asked) < len(upstreams) else None
        return ResolvedManifest(there)

    async def _resolve_once(
        self, upstreams: Sequence[Upstream], repository: RepositoryName, reference: Reference
    ) -> Descriptor | None:
        key = ("resolve", repository, reference, tuple(upstream.name for upstream in upstreams))
        return await self._shared.do(key, lambda: self._resolve(upstreams, repository, reference))

    async def fetch_manifest(self, repository: RepositoryName, reference: Reference) -> FetchedManifest | None:
        upstreams = self._routes.pull_upstreams(repository)
        if not upstreams or self._is_ours(repository, reference, await self._here(repository, reference)):
            return await self._from_here(repository, reference, stale=False)
        try:
            manifest = await self._shared.do(
                ("fetch", repository, reference), lambda: self._fetch(upstreams, repository, reference)
            )
        except UpstreamFailure:
            found = await self._from_here(repository, reference, stale=True)
            if found is None:
                raise
            return found
        if manifest is None:
            return None
        self._note_sizes(manifest)
        return FetchedManifest(manifest)

    async def _resolve(
        self, upstreams: Sequence[Upstream], repository: RepositoryName, reference: Reference
    ) -> Descriptor | None:
        found = await self._asking.first(upstreams, lambda upstream: upstream.repository(repository).resolve(reference))
        if found is None:
            return None
        upstream, there = found
        if isinstance(reference, Tag):
            await self._told(repository, reference, there.digest, upstream.name)
        return there

    async def _told(self, repository: RepositoryName, tag: Tag, digest: Digest, upstream: str) -> None:
        """The tag is to name here what it names there, as soon as that is here: containerd fetches it by its digest next."""
        if await self._here(repository, digest) is None:
            self._awaited.add(repository, digest, tag, upstream)
            return
        try:
            await self._follow(repository, tag, digest, upstream)
        except StorageError as error:
            _log.warning("%s of %s does not follow its upstream: %s", tag, repository, error)

    async def _fetch(
        self, upstreams: Sequence[Upstream], repository: RepositoryName, reference: Reference
    ) -> Manifest | None:
        if isinstance(reference, Tag) and await self._here(repository, reference) is not None:
            # A HEAD first: where nothing changed it is all, and Docker Hub counts it as no pull.
            asked = await self._asking.first(
                upstreams, lambda upstream: upstream.repository(repository).resolve(reference)
            )
            if asked is None:
                return None
            known = await self._known(repository, asked[1].digest)
            if known is not None:
                self._saw(repository, reference, known.digest, asked[0].name)
                await self._follow(repository, reference, known.digest, asked[0].name)
                return known
        found = await self._asking.first(
            upstreams, lambda upstream: upstream.repository(repository).fetch_manifest(reference)
        )
        if found is None:
            return None
        upstream, manifest = found
        await self._keep(repository, reference, manifest, upstream)
        return manifest

    async def _keep(
        self, repository: RepositoryName, reference: Reference, manifest: Manifest, upstream: Upstream
    ) -> None:
        """Put it into the store and move the tag. A store without room is no reason not to answer."""
        try:
            await self._store.put_manifest(repository, manifest)
            tags = self._awaited.take(repository, manifest.digest)
            if isinstance(reference, Tag):
                tags[reference] = upstream.name
            for tag, told_by in tags.items():
                self._saw(repository, tag, manifest.digest, told_by)
                await self._follow(repository, tag, manifest.digest, told_by)
        except StorageError as error:
            _log.warning("%s of %s is served but not kept: %s", reference, repository, error)
            return
        event = ManifestStored(repository=repository, digest=manifest.digest, tags=tuple(tags), origin="pull")
        self._events.publish(event)

    def _saw(self, repository: RepositoryName, tag: Tag, digest: Digest, upstream: str) -> None:
        for asked in self._routes.pull_upstreams(repository):
            if asked.name == upstream and self._tag_seen is not None:
                self._tag_seen(asked, repository, tag, digest)

    async def _follow(self, repository: RepositoryName, tag: Tag, digest: Digest, upstream: str) -> None:
        """The tag names here what it names there, unless it's ours, or somebody pushed it meanwhile."""
        here = await self._here(repository, tag)
        if self._is_ours(repository, tag, here):
            return
        if here is None or here.digest != digest:
            await self._store.put_tag(repository, tag, digest)
        self._origins.followed(repository, tag, digest, upstream)

    def _is_ours(self, repository: RepositoryName, reference: Reference, here: Descriptor | None) -> bool:
        """Whether a tag that names `here` was pushed here, and no upstream has a say in it (yet)."""
        if isinstance(reference, Digest) or here is None:
            return False
        origin = self._origins.get(repository, reference)
        return origin is None or here.digest != origin.digest or self._is_queued(repository, reference)

    async def _here(self, repository: RepositoryName, reference: Reference) -> Descriptor | None:
        try:
            return await self._store.resolve(repository, reference)
        except NotFound:
            return None

    async def _known(self, repository: RepositoryName, digest: Digest) -> Manifest | None:
        try:
            return await self._store.get_manifest(repository, digest)
        except NotFound:
            return None

    async def _from_here(
        self, repository: RepositoryName, reference: Reference, *, stale: bool
    ) -> FetchedManifest | None:
        try:
            return FetchedManifest(await self._store.get_manifest(repository, reference), stale=stale)
        except NotFound:
            return None

    # Blobs

    async def blob_size(self, repository: RepositoryName, digest: Digest) -> int | None:
        upstreams = self._routes.pull_upstreams(repository)
        if not upstreams or self._routes.push_upstreams(repository):
            return None
        return await self._size(upstreams, repository, digest)

    def is_filling(self, digest: Digest) -> bool:
        return self._fills.brings(digest)

    @asynccontextmanager
    async def open_blob(
        self, repository: RepositoryName, digest: Digest, *, offset: int = 0
    ) -> AsyncIterator[BlobContent]:
        upstreams = self._routes.pull_upstreams(repository)
        key = (digest, tuple(upstream.name for upstream in upstreams))
        while True:
            fill = self._fills.find(key)
            if fill is None:
                here = await self._store.blob_size(digest)
                if here is not None and await self._store.check_blob(digest):
                    async with self._store.read_blob(digest, offset) as stored:
                        yield BlobContent(here, stored)
                    return
                size = await self._size(upstreams, repository, digest)
                if size is None:
                    raise NotFound(f"There is no blob {digest} here, and none of its upstreams has it.")
                if self._room.is_lacking:
                    break
                fill = self._begin(key, upstreams, repository, digest, size)
            fill.readers += 1
            size = fill.size
            try:
                await fill.opened()
            except FillEnded:
                self._fills.left(key, fill)
                continue
            except StorageError as error:
                _log.warning("blob %s is passed on and not kept: %s", digest, error)
                self._room.is_refused()
                self._fills.left(key, fill)
                fill = None
            except BaseException:
                self._fills.left(key, fill)
                raise
            break
        passed = partial(passed_on, lambda: self._opened(upstreams, repository, digest, size), digest, size)
        if fill is None:
            async with passed(offset) as unkept:
                yield BlobContent(size, unkept)
            return
        pieces = kept_or_passed_on(fill.pieces(offset), passed, offset, self._room)
        try:
            yield BlobContent(fill.size, pieces)
        finally:
            await pieces.aclose()
            self._fills.left(key, fill)

    def _begin(
        self, key: object, upstreams: Sequence[Upstream], repository: RepositoryName, digest: Digest, size: int
    ) -> Fill:
        # Somebody else may have begun it while its size was asked for.
        return self._fills.find(key) or self._fills.begin(
            key, repository, digest, size, lambda: self._opened(upstreams, repository, digest, size)
        )

    @asynccontextmanager
    async def _opened(
        self, upstreams: Sequence[Upstream], repository: RepositoryName, digest: Digest, size: int
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        descriptor = Descriptor(OCTET_STREAM, digest, size, manifest=False)
        async with AsyncExitStack() as stack:
            try:
                found = await self._asking.first(
                    upstreams,
                    lambda upstream: stack.enter_async_context(upstream.repository(repository).fetch(descriptor)),
                )
            except UpstreamFailure:
                # A manifest may have told a size that is not the blob's.
                self._sizes.pop(digest, None)
                raise
            if found is None:
                raise NotFound(f"None of its upstreams has blob {digest}.")
            yield found[1]

    async def _size(self, upstreams: Sequence[Upstream], repository: RepositoryName, digest: Digest) -> int | None:
        known = self._sizes.get(digest)
        if known is not None:
            return known
        return await self._shared.do(
            ("size", repository, digest), lambda: self._ask_size(upstreams, repository, digest)
        )

    async def _ask_size(self, upstreams: Sequence[Upstream], repository: RepositoryName, digest: Digest) -> int | None:
        found = await self._asking.first(upstreams, lambda upstream: upstream.repository(repository).blob_size(digest))
        if found is None:
            return None
        self._note_size(digest, found[1])  # before anybody can ask again
        return found[1]

    def _note_sizes(self, manifest: Manifest) -> None:
        for blob in manifest.blobs:
            self._note_size(blob.digest, blob.size)

    def _note_size(self, digest: Digest, size: int) -> None:
        self._sizes[digest] = size
        self._sizes.move_to_end(digest)
        while len(self._sizes) > _KNOWN_SIZES:
            self._sizes.popitem(last=False)

    # Lists

    async def tags(self, repository: RepositoryName, *, last: str = "", limit: int | None = None) -> TagPage | None:
        ours: Sequence[Tag] | None
        try:
            ours = await self._store.tags(repository, last=last, limit=limit)
        except NotFound:
            ours = None
        upstreams = self._routes.pull_upstreams(repository)
        if not upstreams:
            return None if ours is None else TagPage(ours)
        try:
            async with asyncio.timeout(self._check_seconds):
                found = await self._asking.first(
                    upstreams, lambda upstream: upstream.repository(repository).tags(last=last, limit=limit)
                )
        except (UpstreamFailure, TimeoutError) as error:
            if ours is not None:
                return TagPage(ours, stale=True)
            raise no_answer(upstreams[0], error) from error
        if found is None:
            return None if ours is None else TagPage(ours)
        union = list(dict.fromkeys(merge(ours or (), found[1])))
        return TagPage(union if limit is None else union[:limit])

    async def referrers(self, repository: RepositoryName, digest: Digest, artifact_type: str = "") -> ReferrerList:
        ours = await self._store.referrers(repository, digest, artifact_type)
        upstreams = self._routes.pull_upstreams(repository)
        if not upstreams:
            return ReferrerList(ours)
        try:
            async with asyncio.timeout(self._check_seconds):
                found = await self._asking.first(
                    upstreams, lambda upstream: upstream.repository(repository).referrers(digest, artifact_type)
                )
        except (UpstreamFailure, TimeoutError) as error:
            _log.info("the referrers of %s are ours alone: %s", digest, error)
            return ReferrerList(ours, stale=True)
        theirs: Iterable[Descriptor] = found[1] if found else ()
        return ReferrerList(list({each.digest: each for each in (*ours, *theirs)}.values()))

    # What others did

    def _heard(self, event: ImageSynced | ManifestStored | UpstreamStateChanged) -> None:
        match event:
            case ImageSynced():
                self._synced(event)
            case ManifestStored(origin="push"):
                for tag in event.tags:
                    self._origins.is_ours(event.repository, tag)
            case UpstreamStateChanged(state="ok"):
                self._asking.returned(event.upstream)

    def _synced(self, event: ImageSynced) -> None:
        """Once a tag is at all its push upstreams it follows the one that serves its pulls, from the read-back on."""
        if isinstance(event.reference, Digest) or self._is_queued(event.repository, event.reference):
            return
        pushed = {upstream.name for upstream in self._routes.push_upstreams(event.repository)} | {event.upstream}
        for upstream in self._routes.pull_upstreams(event.repository):
            if upstream.name in pushed:
                self._origins.followed(event.repository, event.reference, event.digest, upstream.name)
                return
