"""What refers to a manifest (signatures, SBOMs, attestations): ours and the upstream's, which stay known when that goes away.

The list is asked for each time: a signature may come at any moment. What it names is fetched in the background where it's small,
so that it's listed from here after a restart, too.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from yarddesk.cache.asking import Asking, Shared
from yarddesk.cache.manifests import CachedManifests
from yarddesk.content.pull_through import ReferrerList
from yarddesk.content.store import Store
from yarddesk.content.target import NotFound
from yarddesk.content.upstream import Routes, Upstream, UpstreamFailure
from yarddesk.oci.descriptor import Descriptor
from yarddesk.oci.digest import Digest
from yarddesk.oci.name import RepositoryName

_log = logging.getLogger(__name__)

_MOST_LISTS: Final = 2000
_MOST_FETCHED: Final = 16
_SMALL_BYTES: Final = 64 * 1024
_LISTS_AT_ONCE: Final = 2


class CachedReferrers:
    """`check_seconds` is how long an upstream has for its answer; None: as long as it takes."""

    def __init__(
        self,
        store: Store,
        routes: Routes,
        check_seconds: float | None,
        *,
        asking: Asking,
        manifests: CachedManifests,
        shared: Shared,
    ) -> None:
        self.routes = routes
        self.check_seconds = check_seconds
        self._store = store
        self._asking = asking
        self._manifests = manifests
        self._shared = shared
        self._room = asyncio.Semaphore(_LISTS_AT_ONCE)
        self._known: OrderedDict[tuple[RepositoryName, Digest], Sequence[Descriptor]] = OrderedDict()

    async def referrers(self, repository: RepositoryName, digest: Digest, artifact_type: str = "") -> ReferrerList:
        ours = await self._store.referrers(repository, digest, artifact_type)
        upstreams = self.routes.pull_upstreams(repository)
        if not upstreams:
            return ReferrerList(ours)
        key = repository, digest
        try:
            found = await self._asking.first(
                upstreams,
                lambda upstream: _some_of(upstream, repository, digest),
                seconds=self.check_seconds,
                of_list=True,
            )
        except UpstreamFailure as error:
            _log.info("the referrers of %s are those that are known here: %s", digest, error)
            return ReferrerList(_union(ours, self._known.get(key, ()), artifact_type), stale=True)
        theirs = found[1] if found else ()
        self._remember(key, theirs)
        if found:
            self._keep(found[0], repository, digest, theirs)
        return ReferrerList(_union(ours, theirs, artifact_type))

    def _remember(self, key: tuple[RepositoryName, Digest], theirs: Sequence[Descriptor]) -> None:
        self._known.pop(key, None)
        if theirs:
            self._known[key] = theirs
        while len(self._known) > _MOST_LISTS:
            self._known.popitem(last=False)

    def _keep(
        self, upstream: Upstream, repository: RepositoryName, digest: Digest, theirs: Sequence[Descriptor]
    ) -> None:
        small = [each for each in theirs if each.size <= _SMALL_BYTES][:_MOST_FETCHED]
        if small:
            key = ("referrers", repository, digest)
            self._shared.begin(key, lambda: self._fetch(upstream, repository, small))

    async def _fetch(self, upstream: Upstream, repository: RepositoryName, wanted: Sequence[Descriptor]) -> None:
        async with self._room:
            for each in wanted:
                if self._manifests.is_scarce(upstream):
                    return
                try:
                    await self._store.resolve(repository, each.digest)
                except NotFound:
                    await self._manifests.fetch(repository, each.digest)


async def _some_of(upstream: Upstream, repository: RepositoryName, digest: Digest) -> Sequence[Descriptor]:
    """Raises NotFound where it lists none: so does a registry that never had the manifest, and the next one may have both."""
    found = await upstream.repository(repository).referrers(digest)
    if not found:
        raise NotFound(f"{upstream.registry} lists nothing that refers to {digest}.")
    return found


def _union(ours: Sequence[Descriptor], theirs: Sequence[Descriptor], artifact_type: str) -> Sequence[Descriptor]:
    """Each once; `theirs` of the type alone, where one is asked for."""
    wanted = [each for each in theirs if artifact_type in ("", each.artifact_type)]
    return list({each.digest: each for each in (*ours, *wanted)}.values())
