"""Lists of tags through the cache: the union of ours and the upstream's, or ours alone where that gives no answer in time."""

from collections.abc import Sequence
from heapq import merge

from yarddesk.cache.asking import Asking
from yarddesk.content.pull_through import TagPage
from yarddesk.content.store import Store
from yarddesk.content.target import NotFound
from yarddesk.content.upstream import Routes, UpstreamFailure
from yarddesk.oci.name import RepositoryName, Tag


class CachedLists:
    """Tags. `check_seconds` is how long an upstream has for its answer; None: as long as it takes."""

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
            found = await self._asking.first(
                upstreams,
                lambda upstream: upstream.repository(repository).tags(last=last, limit=limit),
                seconds=self.check_seconds,
                of_list=True,
            )
        except UpstreamFailure:
            if ours is not None:
                return TagPage(ours, stale=True)
            raise
        if found is None:
            return None if ours is None else TagPage(ours)
        union = list(dict.fromkeys(merge(ours or (), found[1])))
        return TagPage(union if limit is None else union[:limit])
