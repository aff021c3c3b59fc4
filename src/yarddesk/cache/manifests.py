"""Manifests through the cache: whether a tag is still fresh, what an upstream says of it, and what is kept of the answer."""

import logging
from collections.abc import Callable, Iterable, Sequence

from yarddesk.cache.asking import Asking, Shared, no_answer
from yarddesk.cache.awaited import AwaitedTags
from yarddesk.cache.ledger import Ledger
from yarddesk.cache.lifetimes import Lifetimes
from yarddesk.cache.origins import Origin, Origins
from yarddesk.content.clock import Clock
from yarddesk.content.errors import StorageError
from yarddesk.content.pull_through import FetchedManifest, ResolvedManifest
from yarddesk.content.store import Store
from yarddesk.content.target import NotFound
from yarddesk.content.upstream import Routes, Upstream, UpstreamFailure, UpstreamNotAsked, place_at
from yarddesk.errors import YarddeskError
from yarddesk.events import EventBus, ImageSynced, ManifestStored
from yarddesk.oci.descriptor import Descriptor
from yarddesk.oci.digest import Digest
from yarddesk.oci.manifest import Manifest
from yarddesk.oci.name import Reference, RepositoryName, Tag, format_reference

_log = logging.getLogger(__name__)

TagSeen = Callable[[Upstream, RepositoryName, Tag, Digest], None]
"""Told what an upstream's tag names when somebody gets that manifest. A HEAD is no look at it: pushes begin with one."""


class CachedManifests:
    """Those of the store, and those that the upstreams of `routes` have."""

    def __init__(
        self,
        store: Store,
        routes: Routes,
        lifetimes: Lifetimes,
        quota_floor: int,
        *,
        asking: Asking,
        shared: Shared,
        origins: Origins,
        ledger: Ledger,
        events: EventBus,
        is_queued: Callable[[RepositoryName, Reference], bool],
        tag_seen: TagSeen | None,
        clock: Clock,
    ) -> None:
        self.routes = routes
        self.lifetimes = lifetimes
        self.quota_floor = quota_floor
        self._store = store
        self._asking = asking
        self._shared = shared
        self._origins = origins
        self._ledger = ledger
        self._events = events
        self._is_queued = is_queued
        self._tag_seen = tag_seen
        self._clock = clock
        self._awaited = AwaitedTags(clock.monotonic)

    def is_fresh(self, repository: RepositoryName, tag: Tag) -> bool:
        origin = self._origins.get(repository, tag)
        if origin is None or self._is_queued(repository, tag):
            return True
        if origin.checked is not None:
            age = self._clock.monotonic() - origin.checked
            if age < self.lifetimes.seconds(origin.upstream, tag):
                return True
        here = self._store.resolve_cached(repository, tag)
        if here is not None and not origin.explains(here.digest):
            return True
        upstreams = self.routes.pull_upstreams(repository)
        return not upstreams or self._is_left_behind(repository, origin, upstreams)

    async def resolve(
        self, repository: RepositoryName, reference: Reference, *, quick: bool
    ) -> ResolvedManifest | None:
        upstreams = self.routes.pull_upstreams(repository)
        here = await self._here(repository, reference)
        if not upstreams or self._is_ours(repository, reference, here):
            return ResolvedManifest(here, unchanged=True) if here else None
        if quick and self.routes.push_upstreams(repository):
            return await self._resolve_quickly(upstreams, repository, reference, here)
        try:
            found = await self._resolve_once(upstreams, repository, reference)
        except (UpstreamFailure, TimeoutError) as error:
            if here is not None:
                return ResolvedManifest(here, stale=True)
            raise no_answer(upstreams[0], error) from error
        return None if found is None else ResolvedManifest(found[1], unchanged=found[1] == here)

    async def _resolve_quickly(
        self, upstreams: Sequence[Upstream], repository: RepositoryName, reference: Reference, here: Descriptor | None
    ) -> ResolvedManifest | None:
        """For a push, which waits for no network: only those that answer at once have a say."""
        unknown = ResolvedManifest(here, stale=True) if here else None
        asked = await self._asking.quick(upstreams)
        if self._asking.none_answers(asked):
            return unknown
        try:
            async with self._asking.quickly(asked):
                found = await self._resolve_once(asked, repository, reference)
        except (UpstreamFailure, TimeoutError):
            return unknown
        if found is None:
            return unknown if len(asked) < len(upstreams) else None
        return ResolvedManifest(found[1], unchanged=found[1] == here)

    async def _resolve_once(
        self, upstreams: Sequence[Upstream], repository: RepositoryName, reference: Reference
    ) -> tuple[Upstream, Descriptor] | None:
        """One question for all who ask just now, whether they go on to the manifest or not."""
        key = ("resolve", repository, reference, tuple(upstream.name for upstream in upstreams))
        return await self._shared.do(key, lambda: self._resolve(upstreams, repository, reference))

    async def fetch(self, repository: RepositoryName, reference: Reference) -> FetchedManifest | None:
        upstreams = self.routes.pull_upstreams(repository)
        here = await self._here(repository, reference)
        if not upstreams or self._is_ours(repository, reference, here):
            return await self._from_here(repository, reference, stale=False)
        try:
            manifest = await self._fetch(upstreams, repository, reference)
        except UpstreamFailure:
            found = await self._from_here(repository, reference, stale=True)
            if found is None:
                raise
            return found
        if manifest is None:
            return None
        return FetchedManifest(manifest, unchanged=here is not None and manifest.digest == here.digest)

    async def renew(self, repository: RepositoryName, reference: Reference) -> Manifest | None:
        """The manifest as an upstream has it now, kept; a tag follows it from now on, also one that was ours alone.

        Raises UpstreamFailure, whatever is here; StorageError where it can't be kept, and YarddeskError for a tag that is
        still on its way upstream.
        """
        self._asking.appeared(repository)  # who asks for it like this wants it looked for
        if isinstance(reference, Digest):
            known = await self._known(repository, reference)
            return known or await self._renewed(repository, reference, self.routes.pull_upstreams(repository))
        self._refuse_queued(repository, reference)
        found = await self._asking.first(
            self.routes.pull_upstreams(repository), lambda upstream: upstream.repository(repository).resolve(reference)
        )
        if found is None:
            return None
        upstream, there = found
        manifest = await self._known(repository, there.digest)
        manifest = manifest or await self._renewed(repository, there.digest, [upstream])
        if manifest is None:
            return None
        self._saw(repository, reference, manifest.digest, upstream.name)
        await self._follow(repository, reference, manifest.digest, upstream.name, even_ours=True)
        here = await self._here(repository, reference)
        if here is None or here.digest != manifest.digest:
            raise YarddeskError(f"{format_reference(repository, reference)} was pushed, or deleted, here meanwhile.")
        return manifest

    async def _renewed(
        self, repository: RepositoryName, digest: Digest, upstreams: Sequence[Upstream]
    ) -> Manifest | None:
        """Few pulls left are kept for clients. Raises UpstreamNotAsked."""
        plenty = [upstream for upstream in upstreams if not self.is_scarce(upstream)]
        if upstreams and not plenty:
            raise self._scarce(upstreams[0], "They are kept for those who pull.")
        manifest = await self._fetch(plenty, repository, digest)
        if manifest is not None and await self._known(repository, digest) is None:
            raise StorageError(f"Manifest {digest} came, and could not be kept.", hint="The log says why.")
        return manifest

    def _refuse_queued(self, repository: RepositoryName, tag: Tag) -> None:
        if self._is_queued(repository, tag):
            raise YarddeskError(
                f"{format_reference(repository, tag)} was pushed here and is still on its way upstream.",
                hint="Wait for it (yarddesk wait), or cancel it, and pull then.",
            )

    async def _resolve(
        self, upstreams: Sequence[Upstream], repository: RepositoryName, reference: Reference
    ) -> tuple[Upstream, Descriptor] | None:
        found = await self._asking.first(
            upstreams,
            lambda upstream: upstream.repository(repository).resolve(reference),
            sought=(repository, reference),
        )
        if found is None:
            return None
        upstream, there = found
        if isinstance(reference, Tag):
            await self._refuse_where_scarce(upstream, repository, reference, there.digest)
            await self._told(repository, reference, there.digest, upstream.name)
        # The size and the type of what is here are certain; those that come with a HEAD are only said.
        return upstream, await self._here(repository, there.digest) or there

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
        """One fetch for all who ask just now."""
        if isinstance(reference, Digest):
            return await self._fetch_named(upstreams, repository, reference, reference)
        key = ("fetch", repository, reference, tuple(upstream.name for upstream in upstreams))
        return await self._shared.do(key, lambda: self._fetch_tag(upstreams, repository, reference))

    async def _fetch_tag(self, upstreams: Sequence[Upstream], repository: RepositoryName, tag: Tag) -> Manifest | None:
        came = await self._known(repository, tag) if self.is_fresh(repository, tag) else None
        if came is not None:
            return came  # somebody else brought it since it was looked for here
        if await self._here(repository, tag) is None:
            return await self._bring(upstreams, repository, tag)
        # A HEAD first: where nothing changed it is all, and Docker Hub counts it as no pull.
        asked = await self._resolve_once(upstreams, repository, tag)
        if asked is None:
            return None
        known = await self._known(repository, asked[1].digest)
        if known is not None:
            self._saw(repository, tag, known.digest, asked[0].name)
            return known
        return await self._fetch_named(upstreams, repository, tag, asked[1].digest)

    async def _fetch_named(
        self, upstreams: Sequence[Upstream], repository: RepositoryName, reference: Reference, digest: Digest
    ) -> Manifest | None:
        """What `reference` was said to be: with all who want that digest just now, whichever tag they know it by."""
        is_ours = False

        async def bring() -> Manifest | None:
            nonlocal is_ours
            is_ours = True
            return await self._known(repository, digest) or await self._bring(upstreams, repository, reference)

        key = ("fetch", repository, digest, tuple(upstream.name for upstream in upstreams))
        manifest = await self._shared.do(key, bring)
        if is_ours or (manifest is not None and manifest.digest == digest):
            return manifest
        return await self._bring(upstreams, repository, reference)  # the tag that it came by has just moved on

    async def _bring(
        self, upstreams: Sequence[Upstream], repository: RepositoryName, reference: Reference
    ) -> Manifest | None:
        found = await self._asking.first(
            upstreams,
            lambda upstream: upstream.repository(repository).fetch_manifest(reference),
            sought=(repository, reference),
        )
        if found is None:
            return None
        upstream, manifest = found
        await self._keep(repository, reference, manifest, upstream)
        return manifest

    async def _refuse_where_scarce(
        self, upstream: Upstream, repository: RepositoryName, tag: Tag, there: Digest
    ) -> None:
        """Raises UpstreamNotAsked where few pulls are left, a changed tag would cost one, and something is here to go on with."""
        if not self.is_scarce(upstream) or await self._here(repository, there) is not None:
            return
        if await self._here(repository, tag) is not None:
            raise self._scarce(upstream, "What is here is served instead.")

    def is_scarce(self, upstream: Upstream) -> bool:
        """Whether the pulls that it has left are to be spared."""
        quota = upstream.quota
        return quota is not None and quota.remaining < self.quota_floor

    def _scarce(self, upstream: Upstream, message: str) -> UpstreamNotAsked:
        left = upstream.quota.remaining if upstream.quota is not None else 0
        return UpstreamNotAsked(
            upstream.name,
            f"{upstream.registry} lets us pull {left} more images only.",
            message,
            hint="cache.quota_floor in the settings says how many are kept back; to sign in gives more.",
            temporary=True,
        )

    async def _keep(
        self, repository: RepositoryName, reference: Reference, manifest: Manifest, upstream: Upstream
    ) -> None:
        """Put it into the store and move the tag. A store without room is no reason not to answer."""
        try:
            await self._put(repository, manifest, upstream.name)
            tags = self._awaited.take(repository, manifest.digest)
            if isinstance(reference, Tag):
                tags[reference] = upstream.name, self._clock.monotonic()
            for tag, (told_by, at) in tags.items():
                self._saw(repository, tag, manifest.digest, told_by)
                await self._follow(repository, tag, manifest.digest, told_by, at=at)
        except StorageError as error:
            _log.warning("%s of %s is served but not kept: %s", reference, repository, error)
            return
        event = ManifestStored(repository=repository, digest=manifest.digest, tags=tuple(tags), origin="pull")
        self._events.publish(event)

    async def _put(self, repository: RepositoryName, manifest: Manifest, upstream: str) -> None:
        """Note where it came from, unless somebody pushed it: before, or meanwhile."""
        digest = manifest.digest
        with self._ledger.arriving(repository, digest) as arriving:
            known = self._ledger.get(repository, digest)
            was_here = await self._here(repository, digest) is not None
            if not (was_here or arriving.pushed):
                await self._ledger.comes(repository, digest, upstream)
            try:
                await self._store.put_manifest(repository, manifest)
            except StorageError:
                if not (was_here or arriving.pushed) and await self._here(repository, digest) is None:
                    self._ledger.gone(repository, (digest,))
                raise
            was_forgotten = self._ledger.get(repository, digest) is None and (known is not None or not was_here)
            if was_forgotten and not arriving.pushed:
                self._ledger.came(repository, digest, upstream)

    def _saw(self, repository: RepositoryName, tag: Tag, digest: Digest, upstream: str) -> None:
        for asked in self.routes.pull_upstreams(repository):
            if asked.name == upstream and self._tag_seen is not None:
                self._tag_seen(asked, repository, tag, digest)

    async def _follow(
        self,
        repository: RepositoryName,
        tag: Tag,
        digest: Digest,
        upstream: str,
        *,
        at: float | None = None,
        even_ours: bool = False,
    ) -> None:
        """The tag names here what it names there, unless it's ours, or somebody pushed it meanwhile.

        `at`: when the upstream said so; None: just now. `even_ours`: a person wants the upstream's in place of one that was ours alone.
        """
        self._awaited.forget(repository, tag)
        here = await self._here(repository, tag)
        if self._is_queued(repository, tag) if even_ours else self._is_ours(repository, tag, here):
            return
        if here is not None and here.digest == digest:
            self._origins.followed(repository, tag, digest, upstream, at=at)
            return
        await self._origins.moves(repository, tag, digest, upstream, before=None if here is None else here.digest)
        here = await self._here(repository, tag)
        # A push whose tag is just being written is seen by the queue; one that is over since, by the origin, which it took away.
        overtaken = self._is_queued(repository, tag) or self._origins.get(repository, tag) is None
        if overtaken or self._is_ours(repository, tag, here):
            return
        try:
            await self._store.put_tag(repository, tag, digest)
        except NotFound:
            return  # it was evicted, or deleted, just now: it's served all the same, and the next pull brings it again
        self._origins.moved(repository, tag, at=at)

    def _is_ours(self, repository: RepositoryName, reference: Reference, here: Descriptor | None) -> bool:
        """Whether a tag that names `here` was pushed here, and no upstream has a say in it (yet)."""
        if isinstance(reference, Digest) or here is None:
            return False
        origin = self._origins.get(repository, reference)
        if origin is None or not origin.explains(here.digest) or self._is_queued(repository, reference):
            return True
        return self._is_left_behind(repository, origin, self.routes.pull_upstreams(repository))

    def _is_left_behind(self, repository: RepositoryName, origin: Origin, upstreams: Sequence[Upstream]) -> bool:
        """Whether the tag was pushed here, and where it was synced to is no place that is pulled from now.

        The settings have another registry in its stead, which can't be asked what became of it.
        """
        entry = self._ledger.get(repository, origin.digest)
        if entry is None or not entry.pushed:
            return False
        places = {each.place for each in entry.at if each.upstream == origin.upstream}
        return bool(places) and places.isdisjoint(place_at(upstream, repository) for upstream in upstreams)

    async def _here(self, repository: RepositoryName, reference: Reference) -> Descriptor | None:
        try:
            return await self._store.resolve(repository, reference)
        except NotFound:
            return None

    async def _known(self, repository: RepositoryName, reference: Reference) -> Manifest | None:
        try:
            return await self._store.get_manifest(repository, reference)
        except NotFound:
            return None

    async def _from_here(
        self, repository: RepositoryName, reference: Reference, *, stale: bool
    ) -> FetchedManifest | None:
        try:
            manifest = await self._store.get_manifest(repository, reference)
            return FetchedManifest(manifest, stale=stale, unchanged=not stale)
        except NotFound:
            return None

    async def heal(self, arrived: Iterable[ImageSynced]) -> None:
        """After a start: what had arrived and is still the same follows its upstream, though a crash may have lost that it does."""
        for event in arrived:
            if isinstance(event.reference, Digest) or self._origins.get(event.repository, event.reference) is not None:
                continue
            here = await self._here(event.repository, event.reference)
            if here is not None and here.digest == event.digest:
                self._arrived(event, self._origins.follows)

    def synced(self, event: ImageSynced) -> None:
        """Once a tag is at all its push upstreams it follows the one that serves its pulls, from the read-back on."""
        self._arrived(event, self._origins.followed)

    def _arrived(self, event: ImageSynced, note: Callable[[RepositoryName, Tag, Digest, str], None]) -> None:
        if isinstance(event.reference, Digest) or self._is_queued(event.repository, event.reference):
            return
        self._awaited.forget(event.repository, event.reference)
        pushed = {upstream.name for upstream in self.routes.push_upstreams(event.repository)} | {event.upstream}
        for upstream in self.routes.pull_upstreams(event.repository):
            if upstream.name in pushed:
                note(event.repository, event.reference, event.digest, upstream.name)
                return
