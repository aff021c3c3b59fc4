"""The one way in which a manifest becomes an image of a repository: by a client's push, or from a layout."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final

from yarddesk.content.listener import ManifestPush, PushListener
from yarddesk.content.store import Store
from yarddesk.errors import YarddeskError
from yarddesk.oci.descriptor import Descriptor
from yarddesk.oci.manifest import InvalidManifest, Manifest
from yarddesk.oci.name import Reference, RepositoryName, Tag
from yarddesk.registry.locks import Gate, KeyedLocks

_ASKED_AT_ONCE: Final = 64
"""Blobs that are looked for at once: a manifest may name tens of thousands."""


class BlobsMissing(YarddeskError):
    """A manifest names blobs that are not here."""

    def __init__(self, blobs: Sequence[Descriptor]) -> None:
        super().__init__(
            "The manifest names blobs that are not here.", ", ".join(str(blob.digest) for blob in blobs[:5])
        )
        self.blobs = tuple(blobs)


class ManifestIntake:
    """Manifests on their way into the store. `deletes` is closed while blobs are deleted: no manifest comes to need one meanwhile."""

    def __init__(self, store: Store, listener: PushListener, deletes: Gate) -> None:
        self._store = store
        self._listener = listener
        self._deletes = deletes
        self._locks = KeyedLocks()

    @asynccontextmanager
    async def alone(self, repository: RepositoryName, *references: Reference) -> AsyncIterator[None]:
        """Nobody else changes these of a repository meanwhile."""
        async with self._locks.hold(*(_key(repository, reference) for reference in references)):
            yield

    def is_changing(self, repository: RepositoryName, reference: Reference) -> bool:
        """Whether somebody pushes or deletes it just now."""
        return self._locks.is_wanted(_key(repository, reference))

    async def take(
        self,
        repository: RepositoryName,
        manifest: Manifest,
        tags: tuple[Tag, ...],
        *,
        check: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """The manifest, then the listener (its sync job is in the journal), then the tags; all is durable on return.

        `check` may refuse, while nobody else changes these references. Raises BlobsMissing, InvalidManifest, StorageError.
        """
        async with self._deletes.passed(), self.alone(repository, manifest.digest, *tags):
            if check is not None:
                await check()
            await self._check_blobs(manifest)
            await self._store.put_manifest(repository, manifest)
            push = ManifestPush(repository, manifest, tags)
            try:
                await self._listener.manifest_pushed(push)
                for tag in tags:
                    await self._store.put_tag(repository, tag, manifest.digest)
            except Exception:
                # Whoever pushed is told that it failed, so what is queued must be what the tags name still.
                await self._listener.push_failed(push)
                raise
            await self._listener.push_done(push)

    async def _check_blobs(self, manifest: Manifest) -> None:
        blobs = manifest.required_blobs
        sizes: list[int | None] = []
        for begin in range(0, len(blobs), _ASKED_AT_ONCE):
            asked = blobs[begin : begin + _ASKED_AT_ONCE]
            sizes += await asyncio.gather(*(self._store.blob_size(blob.digest) for blob in asked))
        missing = [blob for blob, size in zip(blobs, sizes, strict=True) if size is None]
        if missing:
            raise BlobsMissing(missing)
        for blob, size in zip(blobs, sizes, strict=True):
            if size != blob.size:
                raise InvalidManifest(f"The manifest gives {blob.digest} {blob.size:,} bytes; it has {size:,}.")


def _key(repository: RepositoryName, reference: Reference) -> str:
    return f"{repository} {reference}"
