"""Blobs through the cache: how large one is, and its bytes while they come in, are kept, or are passed on."""

import logging
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from functools import partial
from typing import Final

from yarddesk.cache.asking import Asking, Shared
from yarddesk.cache.fills import Fill, FillEnded, Fills
from yarddesk.cache.room import Room
from yarddesk.cache.sources import BlobSource, Liars
from yarddesk.cache.unkept import KeptWhileRoom, Reads, kept_or_passed_on, passed_on
from yarddesk.content.clock import Clock
from yarddesk.content.errors import StorageError, StorageFull
from yarddesk.content.pull_through import BlobContent, BlobNowhere
from yarddesk.content.store import Store
from yarddesk.content.target import DigestMismatch, NotFound
from yarddesk.content.upstream import Routes, Upstream, UpstreamFailure, UpstreamUntrue
from yarddesk.oci.descriptor import Descriptor
from yarddesk.oci.digest import Digest
from yarddesk.oci.manifest import Manifest
from yarddesk.oci.media_types import OCTET_STREAM
from yarddesk.oci.name import RepositoryName
from yarddesk.progress.traffic import Traffic

_log = logging.getLogger(__name__)

_FILLS_AT_ONCE: Final = 32
_KNOWN_SIZES: Final = 50_000

Naming = Callable[[RepositoryName, Digest], Digest | None]
"""Gives one of a repository's manifests that names a blob, where that can be told at once."""


class CachedBlobs:
    """Those of the store, and those that the upstreams of `routes` have."""

    def __init__(
        self,
        store: Store,
        routes: Routes,
        check_seconds: float | None,
        *,
        asking: Asking,
        shared: Shared,
        room: Room,
        clock: Clock,
        naming: Naming,
        traffic: Traffic | None = None,
    ) -> None:
        self.routes = routes
        self.check_seconds = check_seconds
        self._clock = clock
        self._store = store
        self._asking = asking
        self._shared = shared
        self._fills = Fills(store, _FILLS_AT_ONCE, traffic or Traffic())
        self._room = room
        self._liars = Liars(clock.monotonic)
        self._naming = naming
        self._sizes: OrderedDict[Digest, int | None] = OrderedDict()
        """None where it's better asked for: what was told before was of no use."""

    async def close(self) -> None:
        """End what comes in; nothing of what is incomplete stays."""
        await self._fills.close()

    async def size(self, repository: RepositoryName, digest: Digest) -> int | None:
        upstreams = self.routes.pull_upstreams(repository)
        if not upstreams or self.routes.push_upstreams(repository):
            return None
        return await self._size(upstreams, repository, digest)

    def is_filling(self, digest: Digest) -> bool:
        return self._fills.brings(digest)

    @asynccontextmanager
    async def open(self, repository: RepositoryName, digest: Digest) -> AsyncIterator[BlobContent]:
        upstreams = self.routes.pull_upstreams(repository)
        key = (digest, _origin(upstreams))
        while True:
            fill = self._fills.find(key)
            if fill is None:
                ended = self._fills.ended
                here = await self._store.blob_size(digest)
                if here is not None and await self._store.check_blob(digest):
                    yield BlobContent(here, partial(self._stored, digest))
                    return
                await self._look_at_manifests(upstreams, repository, digest)
                size = await self._size(upstreams, repository, digest)
                if size is None:
                    raise BlobNowhere(digest)
                if not await self._room.admits(size, self._fills.coming):
                    break
                if self._fills.ended != ended and await self._store.blob_size(digest) is not None:
                    continue  # it came meanwhile
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
            yield BlobContent(size, partial(self._true, passed, upstreams, repository, digest))
            return
        try:
            reads = partial(kept_or_passed_on, fill.pieces, passed, self._room)
            true = partial(self._true, reads, upstreams, repository, digest)
            yield BlobContent(fill.size, true, KeptWhileRoom(fill, self._room))
        finally:
            self._fills.left(key, fill)

    async def bring(self, repository: RepositoryName, digest: Digest, passed: Callable[[int], None]) -> bool:
        """Have the blob in the store, whole; False where it was. `passed` is told of each piece in bytes.

        Raises NotFound, UpstreamFailure, and StorageError where the store has no room for it.
        """
        if await self._store.blob_size(digest) is not None and await self._store.check_blob(digest):
            return False
        no_room = StorageFull(
            "There is no room for it.",
            hint="Free some space. cache.max_size and cache.min_free in the settings say how much is kept.",
        )
        async with self.open(repository, digest) as content, aclosing(content.read(0, content.size)) as pieces:
            if not self._fills.brings(digest) and await self._store.blob_size(digest) is None:
                raise no_room
            async for piece in pieces:
                if self._room.is_lacking:
                    raise no_room
                passed(len(piece))
        await self._fills.through(digest)
        if await self._store.blob_size(digest) is None:
            raise StorageError(f"Blob {digest} came, and could not be kept.", hint="The log says why.")
        return True

    async def _true(
        self,
        reads: Reads,
        upstreams: Sequence[Upstream],
        repository: RepositoryName,
        digest: Digest,
        start: int,
        end: int,
    ) -> AsyncGenerator[bytes, None]:
        """What `reads` gives. Where that turns out to be other bytes before any were given, and another upstream is left, its.

        Raises UpstreamUntrue where none is left.
        """
        given = False
        try:
            async with aclosing(reads(start, end)) as pieces:
                async for piece in pieces:
                    given = True
                    yield piece
            return
        except DigestMismatch as error:
            if given:
                raise
            liars = [upstream for upstream in upstreams if self._liars.includes(digest, upstream.name)]
            if len(liars) == len(upstreams):
                raise UpstreamUntrue(
                    liars[0].name, f"{liars[0].registry} sent other bytes than those of blob {digest}.", temporary=True
                ) from error
        async with self.open(repository, digest) as again, aclosing(again.read(start, end)) as pieces:
            async for piece in pieces:
                yield piece

    async def _stored(self, digest: Digest, start: int, end: int) -> AsyncGenerator[bytes, None]:
        async with self._store.read_blob(digest, start, end - start) as pieces:
            async for piece in pieces:
                yield piece

    def _begin(
        self, key: object, upstreams: Sequence[Upstream], repository: RepositoryName, digest: Digest, size: int
    ) -> Fill:
        # Somebody else may have begun it while its size was asked for.
        return self._fills.find(key) or self._fills.begin(
            key,
            _origin(upstreams),
            repository,
            digest,
            size,
            lambda: self._opened(upstreams, repository, digest, size),
        )

    @asynccontextmanager
    async def _opened(
        self, upstreams: Sequence[Upstream], repository: RepositoryName, digest: Digest, size: int
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        source = BlobSource(
            upstreams,
            repository,
            Descriptor(OCTET_STREAM, digest, size, manifest=False),
            self.check_seconds,
            asking=self._asking,
            liars=self._liars,
            clock=self._clock,
        )
        try:
            async with source:
                yield source
        except (UpstreamFailure, DigestMismatch, NotFound):
            # A manifest, or an upstream, may have told a size that is not the blob's.
            self._note_size(digest, None)
            raise

    async def _size(self, upstreams: Sequence[Upstream], repository: RepositoryName, digest: Digest) -> int | None:
        known = self._sizes.get(digest)
        if known is not None:
            return known
        return await self._shared.do(
            ("size", repository, digest), lambda: self._ask_size(upstreams, repository, digest)
        )

    async def _ask_size(self, upstreams: Sequence[Upstream], repository: RepositoryName, digest: Digest) -> int | None:
        found = await self._asking.first(
            upstreams,
            lambda upstream: upstream.repository(repository).blob_size(digest),
            sought=(repository, digest),
            seconds=self.check_seconds,
            waits_for_last=True,
        )
        if found is None:
            return None
        self._note_size(digest, found[1])  # before anybody can ask again
        return found[1]

    async def _look_at_manifests(
        self, upstreams: Sequence[Upstream], repository: RepositoryName, digest: Digest
    ) -> None:
        """A manifest that lies here since an earlier run tells the sizes as well as one that just came."""
        naming = self._naming(repository, digest) if upstreams and digest not in self._sizes else None
        if naming is None:
            return
        try:
            manifest = await self._store.get_manifest(repository, naming)
        except (NotFound, StorageError) as error:
            _log.debug("the size of blob %s is asked for: %s", digest, error)
            return
        for blob in manifest.blobs:
            if blob.digest not in self._sizes:
                self._note_size(blob.digest, blob.size)

    def note_sizes(self, manifest: Manifest) -> None:
        """Nobody has to be asked for the sizes that it tells."""
        for blob in manifest.blobs:
            self._note_size(blob.digest, blob.size)

    def _note_size(self, digest: Digest, size: int | None) -> None:
        self._sizes[digest] = size
        self._sizes.move_to_end(digest)
        while len(self._sizes) > _KNOWN_SIZES:
            self._sizes.popitem(last=False)


def _origin(upstreams: Sequence[Upstream]) -> tuple[str, ...]:
    return tuple(upstream.name for upstream in upstreams)
