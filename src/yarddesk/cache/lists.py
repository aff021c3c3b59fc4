"""Lists through the cache: the union of ours and the upstream's, or ours alone where that gives no answer in time."""

import asyncio
import logging
from collections.abc import Iterable, Sequence
from heapq import merge

from yarddesk.cache.asking import Asking, no_answer
from yarddesk.content.pull_through import ReferrerList, TagPage
from yarddesk.content.store import Store
from yarddesk.content.target import NotFound
from yarddesk.content.upstream import Routes, UpstreamFailure
from yarddesk.oci.descriptor import Descriptor
from yarddesk.oci.digest import Digest
from yarddesk.oci.name import RepositoryName, Tag

_log = logging.getLogger(__name__)


class CachedLists:
    """Tags and referrers. `check_seconds` is how long an upstream has for its answer; None: as long as it takes."""

    def __init__(self, store: Store, routes: Routes, check_seconds: float | None, *, asking: Asking) -> None:
        self.routes = routes
        self.check_seconds = check_seconds
        self._store = store
        self._asking = asking

    async def tags(self, repository: RepositoryName, *, last: str = "", limit: int | None = None) -> TagPage | None:
        ours: Sequence[Tag] | None
        try:
            ours = await self._store.tags(repository, last=last, limit=limit)
        except NotFound:
            ours = None
        upstreams = self.routes.pull_upstreams(repository)
        if not upstreams:
            return None if ours is None else TagPage(ours)
        try:
            async with asyncio.timeout(self.check_seconds):
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
        upstreams = self.routes.pull_upstreams(repository)
        if not upstreams:
            return ReferrerList(ours)
        try:
            async with asyncio.timeout(self.check_seconds):
                found = await self._asking.first(
                    upstreams, lambda upstream: upstream.repository(repository).referrers(digest, artifact_type)
                )
        except (UpstreamFailure, TimeoutError) as error:
            _log.info("the referrers of %s are ours alone: %s", digest, error)
            return ReferrerList(ours, stale=True)
        theirs: Iterable[Descriptor] = found[1] if found else ()
        return ReferrerList(list({each.digest: each for each in (*ours, *theirs)}.values()))
