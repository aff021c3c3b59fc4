"""One repository of a store as a `Target`: the near end of every copy."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from yarddesk.content.store import Store
from yarddesk.content.target import ContentSource, ContentStream, DigestMismatch, NotFound
from yarddesk.content.verify import whole_manifest
from yarddesk.oci.descriptor import Descriptor
from yarddesk.oci.digest import Digest
from yarddesk.oci.manifest import Manifest, parse_manifest
from yarddesk.oci.name import Reference, RepositoryName, Tag


class StoreTarget:
    """Content is shared by all repositories of the store, so a mount succeeds wherever the blob is."""

    def __init__(self, store: Store, repository: RepositoryName) -> None:
        self._store = store
        self._repository = repository

    async def resolve(self, reference: Reference) -> Descriptor:
        return await self._store.resolve(self._repository, reference)

    async def exists(self, descriptor: Descriptor) -> bool:
        if not descriptor.is_manifest:
            return await self._store.blob_size(descriptor.digest) == descriptor.size
        try:
            return (await self._store.resolve(self._repository, descriptor.digest)).size == descriptor.size
        except NotFound:
            return False

    async def fetch_manifest(self, reference: Reference) -> Manifest:
        return await self._store.get_manifest(self._repository, reference)

    def fetch(self, descriptor: Descriptor, *, offset: int = 0) -> ContentStream:
        if descriptor.is_manifest:
            return self._fetch_manifest(descriptor, offset)
        return self._store.read_blob(descriptor.digest, offset)

    async def push(self, descriptor: Descriptor, source: ContentSource) -> None:
        if descriptor.is_manifest:
            await self._push_manifest(descriptor, source)
        else:
            await self._push_blob(descriptor, source)

    async def is_readable(self, descriptor: Descriptor) -> bool:
        return await self.exists(descriptor)

    async def mount(self, descriptor: Descriptor, source: RepositoryName) -> bool:
        return await self._store.promise_blob(descriptor.digest) == descriptor.size

    async def tag(self, descriptor: Descriptor, tag: Tag) -> None:
        await self._store.put_tag(self._repository, tag, descriptor.digest)

    async def referrers(self, digest: Digest, artifact_type: str = "") -> Sequence[Descriptor]:
        return await self._store.referrers(self._repository, digest, artifact_type)

    @asynccontextmanager
    async def _fetch_manifest(self, descriptor: Descriptor, offset: int) -> AsyncIterator[AsyncIterator[bytes]]:
        manifest = await self._store.get_manifest(self._repository, descriptor.digest)
        yield _pieces(manifest.content[offset:])

    async def _push_manifest(self, descriptor: Descriptor, source: ContentSource) -> None:
        content = await whole_manifest(descriptor, source)
        await self.keep(parse_manifest(content, descriptor.media_type, digest=descriptor.digest))

    async def keep(self, manifest: Manifest) -> None:
        """Have a manifest whose bytes were checked in the repository. Raises NotFound where it lacks a blob."""
        for blob in manifest.required_blobs:
            if await self._store.promise_blob(blob.digest) is None:
                raise NotFound(f"Blob {blob.digest} of manifest {manifest.digest} is not here.")
        await self._store.put_manifest(self._repository, manifest)

    async def _push_blob(self, descriptor: Descriptor, source: ContentSource) -> None:
        if await self._store.promise_blob(descriptor.digest) == descriptor.size:
            return
        upload = await self._store.start_upload(self._repository, descriptor.digest.algorithm)
        try:
            async with source(0) as pieces:
                async for piece in pieces:
                    await upload.write(piece)
                    if upload.size > descriptor.size:
                        break
            if upload.size != descriptor.size:
                raise DigestMismatch(f"{descriptor.digest} has {descriptor.size:,} bytes, and other than that came.")
            await upload.commit(descriptor.digest)
        finally:
            await upload.cancel()


async def _pieces(content: bytes) -> AsyncIterator[bytes]:
    if content:
        yield content
