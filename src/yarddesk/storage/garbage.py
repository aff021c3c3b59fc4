"""Content that nothing refers to, collected beside running pushes.

First all that manifests name is marked, while pushes go on: what they store from then on marks itself. Then, folder by
folder, old blobs without a mark go. Whoever stores manifests is kept out (`closed`) for the moments in which a few blobs
go, and never longer: a manifest that was looked through and taken is marked by then.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Final

from yarddesk.content.target import NotFound
from yarddesk.errors import YarddeskError
from yarddesk.oci.digest import Digest
from yarddesk.oci.manifest import MAX_MANIFEST_BYTES, Manifest
from yarddesk.oci.name import RepositoryName
from yarddesk.storage.blobs import BlobFiles
from yarddesk.storage.durable import read_whole
from yarddesk.storage.layout import ALGORITHMS, Parts, shard_folders
from yarddesk.storage.promises import Promises
from yarddesk.storage.quarantine import Quarantine
from yarddesk.storage.references import Packed, named_in, packed
from yarddesk.storage.repositories import Repositories
from yarddesk.storage.threads import Threads

_TRIES: Final = 3
_BATCH: Final = 50
_PAGE: Final = 200

Closed = Callable[[], AbstractAsyncContextManager[None]]
Progress = Callable[[str, int, int], None]
"""Told what is done, how many are, and of how many (0: not known)."""


@dataclass(slots=True)
class Collected:
    """What went, or would go. Sizes are bytes."""

    blobs: int = 0
    blob_bytes: int = 0
    manifests: int = 0
    manifest_bytes: int = 0
    young: int = 0
    """Blobs that nothing refers to, and that are too new to go."""

    promised: int = 0
    """Blobs that nothing refers to, and that a client was told it need not send."""

    busy: list[RepositoryName] = field(default_factory=list)
    """Repositories whose untagged manifests stay: they changed all the time, or hold something that can't be read."""


@dataclass(frozen=True, slots=True)
class Orders:
    """How to collect. `queued` are the manifests of a repository that are on their way to an upstream."""

    closed: Closed
    progress: Progress
    grace_seconds: float
    untagged: bool = False
    dry_run: bool = False
    queued: Callable[[RepositoryName], Collection[Digest]] = lambda _repository: ()


class Garbage:
    """`remove` takes blobs out of the store, those of one folder that are older than a time (seconds of the epoch): their sizes."""

    def __init__(
        self,
        blobs: BlobFiles,
        repositories: Repositories,
        quarantine: Quarantine,
        threads: Threads,
        promises: Promises,
        remove: Callable[[Sequence[Digest], float], Awaitable[list[int]]],
    ) -> None:
        self._blobs = blobs
        self._repositories = repositories
        self._quarantine = quarantine
        self._threads = threads
        self._promises = promises
        self._remove = remove
        self._collecting = asyncio.Lock()

    async def collect(self, orders: Orders) -> Collected:
        """Raises YarddeskError where somebody collects already, or something that is here can't be read."""
        if self._collecting.locked():
            raise YarddeskError("Garbage is being collected already.", hint="Wait until that is done.", temporary=True)
        async with self._collecting:
            collected = Collected()
            if orders.untagged:
                await self._collect_manifests(orders, collected)
            try:
                marked = self._repositories.naming.begin_marking()
                await self._mark(marked, orders.progress)
                await self._sweep(marked, orders, collected)
            finally:
                self._repositories.naming.end_marking()
            return collected

    async def _mark(self, marked: set[Packed], progress: Progress) -> None:
        """Into `marked` itself: the repositories add to it, too."""
        count = 0
        async for contents in self._repositories.naming.contents():
            marked |= await self._threads.read(_named_in_all, [content for _, _, content in contents])
            count += len(contents)
            progress("marking what manifests refer to", count, 0)
        # What a damaged manifest needs stays until somebody has pushed it again, or given it up.
        for path in await self._threads.read(self._quarantine.manifest_paths):
            marked |= await self._threads.read(_named_in_file, path)

    async def _sweep(self, marked: set[Packed], orders: Orders, collected: Collected) -> None:
        before = time.time() - orders.grace_seconds
        folders = [folder for algorithm in ALGORITHMS for folder in shard_folders(algorithm)]
        for number, folder in enumerate(folders):
            orders.progress("collecting blobs", number, len(folders))
            unmarked = await self._threads.read(self._unmarked, folder, marked)
            old = [(digest, size) for digest, size, modified in unmarked if modified <= before]
            collected.young += len(unmarked) - len(old)
            if not old:
                continue
            if orders.dry_run:
                self._choose(old, marked, orders, collected)
                continue
            for start in range(0, len(old), _BATCH):
                async with orders.closed():
                    chosen = self._choose(old[start : start + _BATCH], marked, orders, collected)
                    # What was chosen may have been pushed anew by now: then it stays.
                    sizes = await self._remove(chosen, before) if chosen else []
                collected.blobs += len(sizes)
                collected.blob_bytes += sum(sizes)

    def _choose(
        self, old: list[tuple[Digest, int]], marked: set[Packed], orders: Orders, collected: Collected
    ) -> list[Digest]:
        """Those that may go at this moment."""
        unmarked = [(digest, size) for digest, size in old if packed(digest) not in marked]
        chosen = [(digest, size) for digest, size in unmarked if not self._promises.hold(digest, orders.grace_seconds)]
        collected.promised += len(unmarked) - len(chosen)
        if orders.dry_run:
            collected.blobs += len(chosen)
            collected.blob_bytes += sum(size for _, size in chosen)
        return [digest for digest, _ in chosen]

    def _unmarked(self, folder: Parts, marked: set[Packed]) -> list[tuple[Digest, int, float]]:
        return [found for found in self._blobs.entries(folder) if packed(found[0]) not in marked]

    # Manifests

    async def _collect_manifests(self, orders: Orders, collected: Collected) -> None:
        last, count = "", 0
        while page := await self._repositories.names(last, _PAGE):
            for repository in page:
                orders.progress("looking for untagged manifests", count, 0)
                count += 1
                if not await self._collect_in(repository, orders, collected):
                    collected.busy.append(repository)
            last = page[-1]

    async def _collect_in(self, repository: RepositoryName, orders: Orders, collected: Collected) -> bool:
        """Remove what is untagged in one repository; False where it can't be told what that is."""
        for _ in range(_TRIES):
            seen = self._repositories.revision(repository)
            unreached = await self._unreached(repository, orders)
            if unreached is None:
                return False
            if orders.dry_run:
                collected.manifests += len(unreached)
                collected.manifest_bytes += sum(size for _, size in unreached)
                return True
            if await self._remove_manifests(repository, seen, unreached, orders, collected):
                return True
        return False

    async def _remove_manifests(
        self,
        repository: RepositoryName,
        seen: int,
        unreached: list[tuple[Digest, int]],
        orders: Orders,
        collected: Collected,
    ) -> bool:
        """False where the repository changed since it was looked through, or a client was told that it need not send one of these."""
        for start in range(0, len(unreached), _BATCH):
            batch = unreached[start : start + _BATCH]
            async with orders.closed():
                if any(self._promises.hold(digest, orders.grace_seconds) for digest, _ in batch):
                    return False
                # Its own change makes two revisions; were there more by then, the next batch sees it.
                if not await self._repositories.delete_untagged(repository, [digest for digest, _ in batch], seen):
                    return False
                seen += 2
            collected.manifests += len(batch)
            collected.manifest_bytes += sum(size for _, size in batch)
        return True

    async def _unreached(self, repository: RepositoryName, orders: Orders) -> list[tuple[Digest, int]] | None:
        """Manifests that no tag, index or subject leads to, and their sizes; None where what leads to them can't be read."""
        before = time.time() - orders.grace_seconds
        digests = await self._repositories.digests(repository)
        links: dict[Digest, set[Digest]] = {digest: set() for digest in digests}
        tagged = await self._repositories.tagged(repository)
        if tagged is None or not links.keys() >= tagged:
            return None
        reached = set(orders.queued(repository)) | tagged
        reached.update(digest for digest in digests if self._promises.hold(digest, orders.grace_seconds))
        sizes: dict[Digest, int] = {}
        for digest in digests:
            try:
                manifest = await self._repositories.get(repository, digest)
                modified = await self._repositories.modified(repository, digest)
            except NotFound:
                return None
            sizes[digest] = len(manifest.content)
            if modified is None or modified > before:
                reached.add(digest)
            for other in _linked(manifest):
                links[digest].add(other)
            if manifest.subject is not None:  # what is about a manifest that stays, stays
                links.setdefault(manifest.subject.digest, set()).add(digest)
        left = list(reached)
        while left:
            new = links.get(left.pop(), set()) - reached
            reached |= new
            left += new
        if any(digest not in sizes and self._quarantine.has_manifest(digest) for digest in reached):
            return None  # an index may name some that nothing else leads to
        return [(digest, sizes[digest]) for digest in digests if digest not in reached]


def _linked(manifest: Manifest) -> list[Digest]:
    """What stays because the manifest does."""
    subject = [manifest.subject.digest] if manifest.subject is not None else []
    return [*(child.digest for child in manifest.manifests), *subject]


def _named_in_all(contents: list[bytes]) -> set[Packed]:
    return {name for content in contents for name in named_in(content)}


def _named_in_file(path: str) -> set[Packed]:
    try:
        return set(named_in(read_whole(path, MAX_MANIFEST_BYTES)))
    except FileNotFoundError:
        return set()
