"""`MemoryStore`: the promises of content.store.Store without a disk, for tests of what stands on a store."""

import os
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import BinaryIO, Final

from yarddesk.content.store import UploadSession
from yarddesk.content.target import DigestMismatch, NotFound
from yarddesk.oci.descriptor import Descriptor
from yarddesk.oci.digest import Digest, InvalidDigest
from yarddesk.oci.manifest import Manifest
from yarddesk.oci.name import Reference, RepositoryName, Tag, format_reference
from yarddesk.storage.layout import ALGORITHMS
from yarddesk.storage.listed import page_of
from yarddesk.storage.references import needs
from yarddesk.storage.target import StoreTarget

_PIECE_BYTES: Final = 1024 * 1024


class MemoryStore:
    """Everything in dictionaries; it lives as long as the object. Nothing bounds it."""

    keeps_files: Final = False

    def __init__(self) -> None:
        self._blobs: dict[Digest, bytes] = {}
        self._manifests: dict[RepositoryName, dict[Digest, Manifest]] = {}
        self._tags: dict[RepositoryName, dict[Tag, Digest]] = {}
        self._uploads: dict[str, MemoryUpload] = {}

    async def blob_size(self, digest: Digest) -> int | None:
        content = self._blobs.get(digest)
        return None if content is None else len(content)

    def open_blob(self, digest: Digest) -> BinaryIO:
        raise NotFound(f"There is no file of blob {digest} here.")

    def missing_blob(self, digest: Digest) -> NotFound:
        return NotFound(f"There is no blob {digest} here.")

    async def promise_blob(self, digest: Digest) -> int | None:
        return await self.blob_size(digest)

    def is_verified(self, digest: Digest, found: os.stat_result) -> bool:
        return False

    async def check_blob(self, digest: Digest) -> bool:
        return digest in self._blobs

    @asynccontextmanager
    async def read_blob(
        self, digest: Digest, offset: int = 0, length: int | None = None
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        if digest not in self._blobs:
            raise self.missing_blob(digest)
        content = self._blobs[digest]
        yield _pieces(content[offset : None if length is None else offset + length])

    async def delete_blob(self, digest: Digest) -> None:
        if self._blobs.pop(digest, None) is None:
            raise self.missing_blob(digest)

    async def blob_is_used(self, digest: Digest) -> bool:
        manifests = (manifest for held in self._manifests.values() for manifest in held.values())
        return any(needs(manifest, digest) for manifest in manifests)

    async def start_upload(
        self, repository: RepositoryName, algorithm: str = "sha256", *, filling: bool = False
    ) -> UploadSession:
        if algorithm not in ALGORITHMS:
            raise InvalidDigest(f"“{algorithm[:40]}” is not an algorithm for digests.")
        upload = MemoryUpload(self._blobs, self._uploads, repository)
        self._uploads[upload.id] = upload
        return upload

    async def find_upload(self, repository: RepositoryName, upload_id: str) -> UploadSession:
        upload = self._uploads.get(upload_id)
        if upload is None or upload.repository != repository:
            raise NotFound(f"There is no upload session {upload_id[:64]} in {repository}.")
        return upload

    def resolve_cached(self, repository: RepositoryName, reference: Reference) -> Descriptor | None:
        manifest = self._find(repository, reference)
        return None if manifest is None else manifest.descriptor

    def promise_manifest(self, digest: Digest) -> None:
        """Nothing is ever collected."""

    async def resolve(self, repository: RepositoryName, reference: Reference) -> Descriptor:
        return (await self.get_manifest(repository, reference)).descriptor

    async def glance(self, repository: RepositoryName, references: Sequence[Reference]) -> Sequence[Digest | None]:
        found = (self._find(repository, reference) for reference in references)
        return [None if manifest is None else manifest.digest for manifest in found]

    async def get_manifest(self, repository: RepositoryName, reference: Reference) -> Manifest:
        manifest = self._find(repository, reference)
        if manifest is None:
            raise _missing(repository, reference)
        return manifest

    async def put_manifest(self, repository: RepositoryName, manifest: Manifest) -> None:
        if not manifest.digest.matches(manifest.content):
            raise DigestMismatch(f"The bytes of the manifest are not those of {manifest.digest}.")
        self._manifests.setdefault(repository, {})[manifest.digest] = manifest

    async def put_tag(self, repository: RepositoryName, tag: Tag, digest: Digest) -> None:
        if digest not in self._manifests.get(repository, {}):
            raise _missing(repository, digest)
        self._tags.setdefault(repository, {})[tag] = digest

    async def delete_tag(self, repository: RepositoryName, tag: Tag) -> None:
        if self._tags.get(repository, {}).pop(tag, None) is None:
            raise _missing(repository, tag)

    async def delete_manifest(self, repository: RepositoryName, digest: Digest) -> Sequence[Tag]:
        held = self._manifests.get(repository, {})
        if held.pop(digest, None) is None:
            raise _missing(repository, digest)
        if not held:
            del self._manifests[repository]
        tags = self._tags.get(repository, {})
        gone = sorted(tag for tag, named in tags.items() if named == digest)
        for tag in gone:
            del tags[tag]
        return gone

    async def tags(self, repository: RepositoryName, *, last: str = "", limit: int | None = None) -> Sequence[Tag]:
        if repository not in self._manifests:
            raise NotFound(f"There is no repository {repository} here.")
        return page_of(sorted(self._tags.get(repository, {})), last, limit)

    async def repositories(self, *, last: str = "", limit: int | None = None) -> Sequence[RepositoryName]:
        return page_of(sorted(self._manifests), last, limit)

    async def referrers(
        self, repository: RepositoryName, digest: Digest, artifact_type: str = ""
    ) -> Sequence[Descriptor]:
        held = self._manifests.get(repository, {})
        found = [
            held[name].referrer for name in sorted(held) if (subject := held[name].subject) and subject.digest == digest
        ]
        return [one for one in found if artifact_type in ("", one.artifact_type)]

    async def blobs(self) -> AsyncIterator[Digest]:
        for digest in tuple(self._blobs):
            yield digest

    async def manifests(self) -> AsyncIterator[tuple[RepositoryName, Digest]]:
        for repository in sorted(self._manifests):
            for digest in tuple(self._manifests.get(repository, {})):
                yield repository, digest

    async def used_bytes(self) -> int:
        manifests = (manifest for held in self._manifests.values() for manifest in held.values())
        return sum(map(len, self._blobs.values())) + sum(len(manifest.content) for manifest in manifests)

    def repository(self, name: RepositoryName) -> StoreTarget:
        return StoreTarget(self, name)

    def _find(self, repository: RepositoryName, reference: Reference) -> Manifest | None:
        digest = reference if isinstance(reference, Digest) else self._tags.get(repository, {}).get(reference)
        return None if digest is None else self._manifests.get(repository, {}).get(digest)


class MemoryUpload:
    """An UploadSession in memory."""

    def __init__(
        self, blobs: dict[Digest, bytes], uploads: dict[str, "MemoryUpload"], repository: RepositoryName
    ) -> None:
        self.id = str(uuid.uuid4())
        self.repository = repository
        self._blobs = blobs
        self._uploads = uploads
        self._content = bytearray()

    @property
    def size(self) -> int:
        """Bytes taken so far."""
        return len(self._content)

    async def write(self, piece: bytes | bytearray | memoryview, *, at_once: bool = False) -> None:
        self._check_open()
        self._content += piece

    async def flush(self) -> None:
        self._check_open()

    async def read(self, offset: int, length: int) -> bytes:
        self._check_open()
        return bytes(self._content[offset : offset + length])

    def grow(self, _told: Callable[[], None]) -> None:
        return None

    async def commit(self, digest: Digest, verified: Callable[[], None] | None = None) -> int:
        self._check_open()
        await self.cancel()
        content = bytes(self._content)
        if not digest.matches(content):
            raise DigestMismatch(f"The bytes that came are not those of {digest}.")
        self._blobs[digest] = content
        if verified is not None:
            verified()
        return len(content)

    async def cancel(self) -> None:
        self._uploads.pop(self.id, None)

    def _check_open(self) -> None:
        if self.id not in self._uploads:
            raise NotFound(f"The upload session {self.id} is over.")


async def _pieces(content: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(content), _PIECE_BYTES):
        yield content[start : start + _PIECE_BYTES]


def _missing(repository: RepositoryName, reference: Reference) -> NotFound:
    return NotFound(f"There is no {format_reference(repository, reference)} here.")
