"""Where a blob's bytes come from: the upstreams of its route in order, the next one going on where one broke off.

Content is named by its digest, so its bytes may come from several. That they are right only the whole tells: upstreams whose bytes
were not are asked last for that blob, for a while.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Final, Self

from yarddesk.cache.asking import Asking
from yarddesk.content.clock import Clock
from yarddesk.content.pull_through import BlobNowhere
from yarddesk.content.target import DigestMismatch, NotFound
from yarddesk.content.upstream import Upstream, UpstreamFailure
from yarddesk.oci.descriptor import Descriptor
from yarddesk.oci.digest import Digest
from yarddesk.oci.name import RepositoryName

_log = logging.getLogger(__name__)

_PAUSES_SECONDS: Final = (0.25, 1.0, 4.0)
"""Before each further round of asking all of them, where next to nothing came since the last one."""

_WORTH_BYTES: Final = 1024 * 1024

_MOST_BREAKS: Final = 20
_LIARS_SECONDS: Final = 600.0
_MOST_LIARS: Final = 10_000


class Liars:
    """Upstreams that sent other bytes than a blob's."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._until: OrderedDict[tuple[Digest, str], float] = OrderedDict()

    def add(self, digest: Digest, upstream: str) -> None:
        self._until.pop((digest, upstream), None)
        self._until[digest, upstream] = self._monotonic() + _LIARS_SECONDS
        while len(self._until) > _MOST_LIARS:
            self._until.popitem(last=False)

    def includes(self, digest: Digest, upstream: str) -> bool:
        return self._monotonic() < self._until.get((digest, upstream), 0.0)

    def last(self, digest: Digest, upstreams: Sequence[Upstream]) -> Sequence[Upstream]:
        """In their order, but for those that lied about this blob."""
        return sorted(upstreams, key=lambda upstream: self.includes(digest, upstream.name))


class BlobSource:
    """The bytes of one blob, as a ContentStream. Entering raises NotFound or UpstreamFailure.

    `check_seconds` is how long one has for the head of its answer while another is left to ask; None: as long as it takes.
    """

    def __init__(
        self,
        upstreams: Sequence[Upstream],
        repository: RepositoryName,
        blob: Descriptor,
        check_seconds: float | None,
        *,
        asking: Asking,
        liars: Liars,
        clock: Clock,
    ) -> None:
        self._upstreams = liars.last(blob.digest, upstreams)
        self._repository = repository
        self._blob = blob
        self._check_seconds = check_seconds
        self._asking = asking
        self._liars = liars
        self._clock = clock
        self._position = 0
        self._breaks = 0
        self._pauses = list(_PAUSES_SECONDS)
        self._broke_at = 0
        self._served: set[str] = set()
        self._current: Upstream | None = None
        self._pieces: AsyncIterator[bytes] | None = None
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        if not await self._open(self._upstreams):
            raise BlobNowhere(self._blob.digest)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if isinstance(error, DigestMismatch):
            for upstream in self._served:
                _log.warning("%s sent other bytes than those of blob %s", upstream, self._blob.digest)
                self._liars.add(self._blob.digest, upstream)
        await self._stack.__aexit__(kind, error, traceback)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        while True:
            assert self._pieces is not None
            assert self._current is not None
            try:
                piece = await anext(self._pieces)
            except UpstreamFailure as failure:
                await self._go_on(self._current, failure)
                continue
            self._served.add(self._current.name)
            self._position += len(piece)
            return piece

    async def _go_on(self, broken: Upstream, failure: UpstreamFailure) -> None:
        """Open it where it broke off: at the others first, then at all of them, a few times with pauses. Raises `failure`."""
        _log.info("blob %s is looked for elsewhere from byte %d on: %s", self._blob.digest, self._position, failure)
        self._asking.failed(broken, failure)
        await self._let_go()
        self._breaks += 1
        if self._breaks > _MOST_BREAKS:
            raise failure
        others = [upstream for upstream in self._upstreams if upstream.name != broken.name]
        if await self._opens(others):
            return
        if self._position - self._broke_at >= _WORTH_BYTES:
            self._pauses = list(_PAUSES_SECONDS)
        self._broke_at = self._position
        while self._pauses and failure.temporary:
            await self._clock.wait(asyncio.Event(), self._pauses.pop(0))
            if await self._opens(self._upstreams):
                return
        raise failure

    async def _opens(self, upstreams: Sequence[Upstream]) -> bool:
        try:
            return await self._open(upstreams)
        except UpstreamFailure as error:
            _log.debug("blob %s does not go on: %s", self._blob.digest, error)
            return False

    async def _open(self, upstreams: Sequence[Upstream]) -> bool:
        """Whether one of them has it; raises UpstreamFailure where none has, and one failed."""
        failure: UpstreamFailure | None = None
        for upstream in upstreams:
            # Whoever is the last has all the time that the registry's client gives it.
            seconds = None if upstream is upstreams[-1] else self._check_seconds
            try:
                self._pieces = await self._asking.one(upstream, lambda: self._opened(upstream), seconds=seconds)  # noqa: B023
            except NotFound:
                continue
            except UpstreamFailure as error:
                failure = failure or error
                continue
            self._current = upstream
            return True
        if failure is not None:
            raise failure
        return False

    async def _opened(self, upstream: Upstream) -> AsyncIterator[bytes]:
        source = upstream.repository(self._repository).fetch(self._blob, offset=self._position)
        return await self._stack.enter_async_context(source)

    async def _let_go(self) -> None:
        stack, self._stack = self._stack, AsyncExitStack()
        self._pieces = None
        await stack.aclose()
