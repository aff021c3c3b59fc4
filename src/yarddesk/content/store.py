"""`Store`: what the registry, the cache and the sync worker ask of the content on disk (or in S3)."""

import os
from collections.abc import AsyncIterator, Callable, Sequence
from typing import BinaryIO, Protocol

from yarddesk.content.target import ContentStream, NotFound, Target
from yarddesk.oci.descriptor import Descriptor
from yarddesk.oci.digest import Digest
from yarddesk.oci.manifest import Manifest
from yarddesk.oci.name import Reference, RepositoryName, Tag


class UploadSession(Protocol):
    """A blob on its way in. One caller at a time; survives the process until it's committed, cancelled or collected."""

    @property
    def id(self) -> str: ...

    @property
    def repository(self) -> RepositoryName: ...

    @property
    def size(self) -> int:
        """Bytes taken so far."""
        ...

    async def write(self, piece: bytes | bytearray | memoryview, *, at_once: bool = False) -> None:
        """Take the next bytes. May return before they are on disk, never before there is room for more.

        `at_once`: somebody waits for them (`grow`), so they are not gathered for long. The caller hands `piece` over and
        doesn't change it any more. Raises StorageFull or another StorageError; that ends the session, and its bytes make
        room. Raises NotFound when the session is over.
        """
        ...

    async def flush(self) -> None:
        """Return when everything taken is written (not yet fsynced), so that `size` is what a restart would find.

        To be called at the end of each request: a flushed session holds no file open.
        """
        ...

    async def read(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes from `offset` on, of what was flushed; may be called while others write. Raises NotFound when it's over."""
        ...

    def grow(self, told: Callable[[], None]) -> "GrowingFile | None":
        """What comes in, for those who read along; `told` is called whenever there is more of it.

        None where a file can't be read by others while it's being written.
        """
        ...

    async def commit(self, digest: Digest, verified: Callable[[], None] | None = None) -> int:
        """Make the bytes the blob `digest`, durable under its final name; its size in bytes.

        `verified` is told, on the loop, once they are known to be right; that may be well before they are durable.
        Raises DigestMismatch (the session is then over).
        """
        ...

    async def cancel(self) -> None:
        """Throw the bytes away; does nothing after a commit or another cancel."""
        ...


class GrowingFile(Protocol):
    """The file of an upload session, while it grows."""

    @property
    def written(self) -> int:
        """How many of its bytes can be read, from the first on."""
        ...

    async def open(self) -> BinaryIO:
        """The file, to be read and closed by the caller; it outlives the session. Raises NotFound when that is over."""
        ...


class Store(Protocol):
    """Content by digest, shared by all repositories, and manifests and tags by repository. Every write is durable on return."""

    async def blob_size(self, digest: Digest) -> int | None:
        """Size in bytes; None where it's not here."""
        ...

    @property
    def keeps_files(self) -> bool:
        """Whether blobs are files, which `open_blob` opens for sendfile."""
        ...

    def open_blob(self, digest: Digest) -> BinaryIO:
        """A blob's own file, not looked at yet (`is_verified`). Blocks: for threads. Raises NotFound, StorageError."""
        ...

    async def promise_blob(self, digest: Digest) -> int | None:
        """`blob_size`, for whoever tells a client that it need not send the blob: it's not collected for a while."""
        ...

    def is_verified(self, digest: Digest, found: os.stat_result) -> bool:
        """Whether a blob's file, open as `found`, was verified in this process and is as it was. Synchronous and quick."""
        ...

    def missing_blob(self, digest: Digest) -> NotFound:
        """What there is to say of a blob that is not here: Damaged where it was. Synchronous and quick."""
        ...

    async def check_blob(self, digest: Digest) -> bool:
        """Whether the blob is here and whole: hashed, once however many ask, unless it was verified since its file changed.

        A damaged one is moved aside, and is not here any more.
        """
        ...

    def read_blob(self, digest: Digest, offset: int = 0, length: int | None = None) -> ContentStream:
        """Only what was verified: a blob that wasn't is hashed first. A blob that is deleted while it's being read is read to its end.

        Raises NotFound on entering, Damaged where it was here and is not whole.
        """
        ...

    async def delete_blob(self, digest: Digest) -> None:
        """Raises NotFound."""
        ...

    async def start_upload(
        self, repository: RepositoryName, algorithm: str = "sha256", *, filling: bool = False
    ) -> UploadSession:
        """`filling`: it comes through an upstream, so that it may go before a manifest names it; no client is told that it's here.

        Nobody goes on with such a session in another run, so what a run that was cut off left of it goes at the next start.
        """
        ...

    async def blob_is_used(self, digest: Digest) -> bool:
        """Whether a stored manifest refers to this blob. Reads every manifest: for deletes, not for pushes."""
        ...

    async def find_upload(self, repository: RepositoryName, upload_id: str) -> UploadSession:
        """A session begun earlier, in this run or before. Raises NotFound."""
        ...

    def resolve_cached(self, repository: RepositoryName, reference: Reference) -> Descriptor | None:
        """What `resolve` would answer, where memory knows it: synchronous, for the busiest requests. None: ask `resolve`."""
        ...

    def promise_manifest(self, digest: Digest) -> None:
        """For whoever tells a client that a manifest is here, and need not be sent: it's not collected for a while."""
        ...

    async def resolve(self, repository: RepositoryName, reference: Reference) -> Descriptor:
        """The manifest's descriptor. Raises NotFound. From memory where it was asked for before."""
        ...

    async def glance(self, repository: RepositoryName, references: Sequence[Reference]) -> Sequence[Digest | None]:
        """What each names, where that manifest's file is here: a look at names, for thousands at once, that reads no manifest.

        None where it takes more to tell: `resolve` does.
        """
        ...

    async def get_manifest(self, repository: RepositoryName, reference: Reference) -> Manifest:
        """Raises NotFound."""
        ...

    async def put_manifest(self, repository: RepositoryName, manifest: Manifest) -> None:
        """Keep a manifest by digest; moves no tag, and doesn't look for what it refers to (the registry does)."""
        ...

    async def put_tag(self, repository: RepositoryName, tag: Tag, digest: Digest) -> None:
        """Let `tag` name a manifest that is here. Raises NotFound for one that isn't."""
        ...

    async def delete_tag(self, repository: RepositoryName, tag: Tag) -> None:
        """Raises NotFound."""
        ...

    async def delete_manifest(self, repository: RepositoryName, digest: Digest) -> Sequence[Tag]:
        """Also deletes the tags that name it, and returns them. Raises NotFound."""
        ...

    async def tags(self, repository: RepositoryName, *, last: str = "", limit: int | None = None) -> Sequence[Tag]:
        """In lexical order, those after `last`. Raises NotFound for a repository that is not here."""
        ...

    async def repositories(self, *, last: str = "", limit: int | None = None) -> Sequence[RepositoryName]:
        """In lexical order, those after `last`, that hold a manifest."""
        ...

    async def referrers(
        self, repository: RepositoryName, digest: Digest, artifact_type: str = ""
    ) -> Sequence[Descriptor]: ...

    def blobs(self) -> AsyncIterator[Digest]:
        """Every blob, in no order."""
        ...

    def manifests(self) -> AsyncIterator[tuple[RepositoryName, Digest]]:
        """Every manifest of every repository, in lexical order of the repositories."""
        ...

    async def used_bytes(self) -> int:
        """Bytes of all blobs and manifests; kept up to date, no walk (the first call may wait for the count at the start)."""
        ...

    def repository(self, name: RepositoryName) -> Target:
        """One repository of this store as a target."""
        ...
