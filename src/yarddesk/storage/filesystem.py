"""`FilesystemStore`: the content of all repositories as files below one data folder."""

import asyncio
import logging
import os
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import BinaryIO, Final

from yarddesk.content.store import UploadSession
from yarddesk.content.target import ContentStream, NotFound
from yarddesk.content.threads import in_thread, in_thread_to_the_end
from yarddesk.errors import YarddeskError
from yarddesk.oci.descriptor import Descriptor
from yarddesk.oci.digest import Digest
from yarddesk.oci.manifest import Manifest
from yarddesk.oci.name import Reference, RepositoryName, Tag
from yarddesk.storage.blobs import BlobFiles
from yarddesk.storage.census import Census
from yarddesk.storage.contents import ContentIndex
from yarddesk.storage.durable import prepare_root
from yarddesk.storage.finishing import Finishing
from yarddesk.storage.garbage import Garbage
from yarddesk.storage.images import StoredImages
from yarddesk.storage.layout import BLOBS, MANIFESTS, UPLOADS
from yarddesk.storage.manifests import ManifestCheck
from yarddesk.storage.promises import Owed, Promises
from yarddesk.storage.quarantine import Damage, Quarantine
from yarddesk.storage.repositories import Repositories
from yarddesk.storage.run_marker import RunMarker
from yarddesk.storage.stock import Stock
from yarddesk.storage.stored_blobs import StoredBlobs
from yarddesk.storage.takeover import TakeOver
from yarddesk.storage.target import StoreTarget
from yarddesk.storage.temporaries import remove_temporaries
from yarddesk.storage.threads import Threads
from yarddesk.storage.tree import Tree
from yarddesk.storage.upload_files import UploadFiles
from yarddesk.storage.uploads import ABANDONED_SECONDS, Uploads

_log = logging.getLogger(__name__)
_SWEEP_SECONDS: Final = 600.0


def _not_told(_count: int) -> None:
    """Nobody wants to know how far it is."""


class FilesystemStore:
    """A content.store.Store over one data folder, which no other process uses meanwhile (see InstanceLock).

    Nothing blocks the loop, and a change that has begun is finished even when its caller is cancelled.
    """

    keeps_files: Final = True

    def __init__(
        self,
        root: str,
        on_usage_changed: Callable[[int], None] | None = None,
        on_damaged: Callable[[Damage, RepositoryName | None], None] | None = None,
    ) -> None:
        self._root = root
        self._on_usage_changed = on_usage_changed
        self._on_damaged = on_damaged
        self._tree = Tree(root)
        self._run = RunMarker(root)
        self._threads = Threads(root)
        self._finishing = Finishing()
        self._quarantine = Quarantine(self._tree)
        self._promises = Promises()
        self._owed = Owed()
        self.contents = ContentIndex()
        self._repositories = Repositories(
            self._tree,
            self._threads,
            self._finishing,
            self._quarantine,
            self._usage_changed,
            self._manifest_damaged,
            self.contents,
        )
        self._blob_files = BlobFiles(self._tree)
        self._stock = Stock(
            self.contents, self._blob_files, self._repositories, self._quarantine, self._threads, self._owed.sent
        )
        self._blobs = StoredBlobs(
            root,
            self._blob_files,
            self._quarantine,
            self._threads,
            self._finishing,
            self._stock,
            self._usage_changed,
            self._blob_damaged,
            self.contents,
        )
        self._upload_files = UploadFiles(self._tree, self._blob_files)
        self._uploads = Uploads(root, self._upload_files, self._threads.transfers, self._finishing, self._committed)
        remove = self._blobs.remove_old
        self.garbage = Garbage(
            self._blob_files, self._repositories, self._quarantine, self._threads, self._promises, remove
        )
        self.images = StoredImages(self.contents, self._repositories, self._promises, self._owed, remove)
        self.census = Census(self._blob_files, self._repositories, self._quarantine, self._threads)
        self._stopping = threading.Event()
        self._counted: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        data_dir: Path,
        *,
        on_usage_changed: Callable[[int], None] | None = None,
        on_damaged: Callable[[Damage, RepositoryName | None], None] | None = None,
    ) -> AsyncIterator["FilesystemStore"]:
        """The store in `data_dir`, which is made where it isn't there. Raises StorageError.

        `on_usage_changed` hears the bytes stored, on the loop, after each change, once they are counted; `on_damaged` hears of
        each blob (without a repository) and manifest that was found damaged.
        """
        store = cls(await in_thread(prepare_root, data_dir), on_usage_changed, on_damaged)
        try:
            try:
                await store._threads.small(store._begin)
            except BaseException:
                store._stopping.set()
                raise
            tasks = (
                asyncio.create_task(store._count()),
                asyncio.create_task(store._sweep()),
                asyncio.create_task(store._take_stock()),
            )
            try:
                yield store
            finally:
                await store._end(tasks)
        finally:
            # Whoever is cancelled once more gives up the data folder's lock next: not before a thread that is at it is through.
            await in_thread_to_the_end(store._threads.close)

    @property
    def previous_run_ended_cleanly(self) -> bool:
        """False where the run before was killed or the machine went down."""
        return self._run.previous_ended_cleanly

    async def blob_size(self, digest: Digest) -> int | None:
        return await self._blobs.size(digest)

    async def promise_blob(self, digest: Digest) -> int | None:
        self._promises.make(digest)  # first, so that it doesn't go while it's looked for
        size = await self.blob_size(digest)
        if size is None:
            self._promises.take_back(digest)
        return size

    def open_blob(self, digest: Digest) -> BinaryIO:
        return self._blobs.open(digest)

    def missing_blob(self, digest: Digest) -> NotFound:
        return self._blobs.missing(digest)

    def is_verified(self, digest: Digest, found: os.stat_result) -> bool:
        return self._blobs.is_verified(digest, found)

    async def check_blob(self, digest: Digest) -> bool:
        return await self._blobs.check(digest)

    def read_blob(self, digest: Digest, offset: int = 0, length: int | None = None) -> ContentStream:
        return self._blobs.read(digest, offset, length)

    async def delete_blob(self, digest: Digest) -> None:
        await self._blobs.delete(digest)

    async def blob_is_used(self, digest: Digest) -> bool:
        return await self._repositories.naming.refer_to(digest)

    async def verify_blob(self, digest: Digest, passed: Callable[[int], None] = _not_told) -> bool:
        """Read the blob from disk whatever is known of it, and say whether it hashes to its name.

        A damaged one is moved to quarantine. `passed` is told of each piece in bytes, on a thread. Raises NotFound.
        """
        return await self._blobs.verify(digest, passed)

    @property
    def pushes_under_way(self) -> bool:
        """Whether uploads are being written just now."""
        return self._threads.transfers.active > 0

    def damaged_blobs(self) -> Sequence[Digest]:
        """Those that lie in quarantine, whether whole ones are here by now or not."""
        return self._quarantine.blobs()

    def known_repositories(self) -> AsyncIterator[RepositoryName]:
        """Every repository, also those that hold nothing but tags which lead nowhere."""
        return self._repositories.known()

    async def digests(self, repository: RepositoryName) -> Sequence[Digest]:
        """The manifests of a repository, in no order."""
        return await self._repositories.digests(repository)

    async def manifest_modified(self, repository: RepositoryName, digest: Digest) -> float | None:
        """When the manifest was put here last, in seconds of the epoch."""
        return await self._repositories.modified(repository, digest)

    async def verify_manifest(self, repository: RepositoryName, digest: Digest) -> ManifestCheck:
        """Read a manifest from disk whatever is known of it. A damaged one is moved to quarantine; its tags stay."""
        return await self._repositories.verify(repository, digest)

    async def tags_amiss(self, repository: RepositoryName) -> Sequence[tuple[Tag, Digest | None]]:
        """Tags that name a manifest which is not here, or (None) nothing at all."""
        return await self._repositories.tags_amiss(repository)

    async def start_upload(
        self, repository: RepositoryName, algorithm: str = "sha256", *, filling: bool = False
    ) -> UploadSession:
        return await self._uploads.start(repository, algorithm, filling=filling)

    async def find_upload(self, repository: RepositoryName, upload_id: str) -> UploadSession:
        return await self._uploads.find(repository, upload_id)

    async def abandoned_uploads(self) -> int:
        """How many sessions `collect_uploads` would remove, of those that this run has not been asked for."""
        return len(await self._threads.small(self._upload_files.abandoned, ABANDONED_SECONDS))

    async def collect_uploads(self, abandoned_seconds: float = ABANDONED_SECONDS) -> int:
        """Remove the sessions that nobody wrote to for so long; how many. Happens by itself every ten minutes."""
        return await self._uploads.sweep(abandoned_seconds)

    def resolve_cached(self, repository: RepositoryName, reference: Reference) -> Descriptor | None:
        return self._repositories.resolve_cached(repository, reference)

    def promise_manifest(self, digest: Digest) -> None:
        self._promises.make(digest)

    async def resolve(self, repository: RepositoryName, reference: Reference) -> Descriptor:
        return await self._repositories.resolve(repository, reference)

    async def glance(self, repository: RepositoryName, references: Sequence[Reference]) -> Sequence[Digest | None]:
        return await self._repositories.glance(repository, references)

    async def get_manifest(self, repository: RepositoryName, reference: Reference) -> Manifest:
        return await self._repositories.get(repository, reference)

    async def put_manifest(self, repository: RepositoryName, manifest: Manifest) -> None:
        await self._repositories.put(repository, manifest)

    async def put_tag(self, repository: RepositoryName, tag: Tag, digest: Digest) -> None:
        await self._repositories.put_tag(repository, tag, digest)

    async def delete_tag(self, repository: RepositoryName, tag: Tag) -> None:
        await self._repositories.delete_tag(repository, tag)

    async def delete_manifest(self, repository: RepositoryName, digest: Digest) -> Sequence[Tag]:
        return await self._repositories.delete(repository, digest)

    async def tags(self, repository: RepositoryName, *, last: str = "", limit: int | None = None) -> Sequence[Tag]:
        return await self._repositories.tags(repository, last, limit)

    async def repositories(self, *, last: str = "", limit: int | None = None) -> Sequence[RepositoryName]:
        return await self._repositories.names(last, limit)

    async def referrers(
        self, repository: RepositoryName, digest: Digest, artifact_type: str = ""
    ) -> Sequence[Descriptor]:
        return await self._repositories.referrers(repository, digest, artifact_type)

    def blobs(self) -> AsyncIterator[Digest]:
        return self._blobs.all()

    def manifests(self) -> AsyncIterator[tuple[RepositoryName, Digest]]:
        return self._repositories.all()

    async def used_bytes(self) -> int:
        await asyncio.shield(self._counted)
        return self._tree.usage.total

    async def stock_taken(self) -> None:
        """Return when `contents` is complete, or can't be."""
        await self._stock.taken()

    def repository(self, name: RepositoryName) -> StoreTarget:
        return StoreTarget(self, name)

    def _blob_damaged(self, damage: Damage) -> None:
        _log.error("blob %s is damaged: its bytes don't hash to its name; it is %s", damage.digest, damage.whereabouts)
        if self._on_damaged is not None:
            self._on_damaged(damage, None)

    def _manifest_damaged(self, repository: RepositoryName, damage: Damage) -> None:
        _log.error("manifest %s in %s is damaged; it is %s", damage.digest, repository, damage.whereabouts)
        if self._on_damaged is not None:
            self._on_damaged(damage, repository)

    def _committed(self, digest: Digest, size: int, filling: bool) -> None:
        if not filling:
            self._owed.sent(digest)
        self._blobs.committed(digest, size, filling)

    def _usage_changed(self) -> None:
        if self._on_usage_changed is not None and self._tree.usage.complete:
            self._on_usage_changed(self._tree.usage.total)

    def _begin(self) -> None:
        for name in (BLOBS, MANIFESTS, UPLOADS):
            self._tree.make((name,))
        remove_temporaries(self._root)
        self._upload_files.remove_leftovers()
        self._upload_files.sweep(ABANDONED_SECONDS, frozenset())
        self._quarantine.load()
        TakeOver(self._tree, self._blob_files, self._quarantine).run_if_needed(self._stopping.is_set)
        started = self._run.look()
        if not self._run.previous_ended_cleanly:
            self._blob_files.make_durable(started)
        self._run.begin()

    async def _count(self) -> None:
        """Count what is there while the first requests are answered already."""
        try:
            await self._threads.read(self._count_all)
        except YarddeskError as error:
            _log.error("what is stored can't be counted: %s", error)
            self._counted.set_exception(error)
            self._counted.exception()  # looked at, also where nobody asks how much is stored
            return
        self._counted.set_result(None)
        self._usage_changed()

    def _count_all(self) -> None:
        self._blob_files.count(self._stopping.is_set)
        self._repositories.count(self._stopping.is_set)
        self._tree.finish_count()

    async def _take_stock(self) -> None:
        await asyncio.wait([self._counted])
        await self._stock.take()

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            try:
                await self.collect_uploads()
            except YarddeskError as error:
                _log.warning("abandoned uploads stay for now: %s", error)

    async def _end(self, tasks: tuple[asyncio.Task[None], asyncio.Task[None], asyncio.Task[None]]) -> None:
        self._stopping.set()
        counting, sweeping, taking_stock = tasks
        sweeping.cancel()
        taking_stock.cancel()
        await self._finishing.wait()
        await self._uploads.close()
        await self._finishing.wait()
        await self._blobs.close()
        await asyncio.wait(tasks)
        try:
            await self._threads.small(self._run.end)
        except YarddeskError as error:
            _log.warning("the next start will take this run's end for an unclean one: %s", error)
        await counting
