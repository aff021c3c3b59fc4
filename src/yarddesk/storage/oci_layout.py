"""An OCI image layout as a target, whether it's a folder or a tar archive: what export writes and import reads."""

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import BinaryIO, Final, Protocol

from yarddesk.content.target import ContentSource, ContentStream, DigestMismatch, NotFound
from yarddesk.content.threads import in_thread, in_thread_or_undone, in_thread_to_the_end
from yarddesk.oci import media_types
from yarddesk.oci.descriptor import Descriptor
from yarddesk.oci.digest import Digest
from yarddesk.oci.image_layout import InvalidLayout, LayoutIndex
from yarddesk.oci.manifest import MAX_MANIFEST_BYTES, InvalidManifest, Manifest, parse_manifest
from yarddesk.oci.name import Reference, RepositoryName, Tag
from yarddesk.storage.blobs import PIECE_BYTES

_MOST_TYPES: Final = 100_000


class Incoming(Protocol):
    """A blob on its way into a layout. Blocks: for threads."""

    def write(self, piece: bytes) -> None: ...

    def finish(self) -> None:
        """It's whole: let it have its name."""
        ...

    def abandon(self) -> None:
        """Throw away what came; does nothing after `finish`."""
        ...


class LayoutFiles(Protocol):
    """A layout's files, found by digest alone. Blocks: for threads. Raises StorageError."""

    @property
    def place(self) -> str:
        """How a person calls the layout."""
        ...

    def size(self, digest: Digest) -> int | None:
        """The size of a blob in bytes; None where it's not there."""
        ...

    def holds(self, descriptor: Descriptor) -> bool:
        """Whether the blob is there, and as large as the descriptor says."""
        ...

    def open(self, digest: Digest) -> BinaryIO:
        """A blob's bytes, from the first; beyond its last there may be others'. Raises NotFound."""
        ...


class WritableFiles(LayoutFiles, Protocol):
    """A layout that grows. `holds` then says whether a blob need not be written any more."""

    @property
    def at_once(self) -> int:
        """How many blobs can be written at a time."""
        ...

    def begin(self, digest: Digest, size: int) -> Incoming:
        """Room for a blob; nobody has written it, or it's damaged."""
        ...

    def save(self, index: bytes) -> None:
        """Let index.json, and with it all that was written, be there, durably and at once."""
        ...


class OciLayout:
    """A Target for reading. `index` is what index.json says."""

    def __init__(self, files: LayoutFiles, index: LayoutIndex) -> None:
        self._files = files
        self.index = index
        # A digest does not tell a manifest's media type, and not every manifest does: who names it does.
        self._types: dict[Digest, str] = {}
        self._learn(*(entry.descriptor for entry in index.entries))

    @property
    def place(self) -> str:
        return self._files.place

    async def resolve(self, reference: Reference) -> Descriptor:
        return (await self.fetch_manifest(reference)).descriptor

    async def exists(self, descriptor: Descriptor) -> bool:
        return await in_thread(self._files.holds, descriptor)

    async def fetch_manifest(self, reference: Reference) -> Manifest:
        """Raises InvalidManifest, too, since a layout may come from anywhere; NotFound for a blob that doesn't claim to be one."""
        digest = reference if isinstance(reference, Digest) else self._named(reference)
        media_type = self._types.get(digest, "")
        claims_it = media_type in media_types.ALL_MANIFESTS
        content = await in_thread(self._read, digest)
        if content is None:
            if claims_it:
                raise InvalidManifest(
                    f"{digest} in {self.place} has more than the {MAX_MANIFEST_BYTES:,} bytes of a manifest."
                )
            raise NotFound(f"{digest} in {self.place} is no manifest.")
        if not digest.matches(content):
            raise DigestMismatch(f"The bytes of {digest} in {self.place} are not those of its digest.")
        try:
            manifest = await in_thread(parse_manifest, content, media_type, digest=digest)
        except InvalidManifest as error:
            if claims_it:
                raise
            raise NotFound(f"{digest} in {self.place} is no manifest.", error.title) from error
        self._learn(*manifest.manifests)
        return manifest

    def fetch(self, descriptor: Descriptor, *, offset: int = 0) -> ContentStream:
        return self._fetched(descriptor, offset)

    async def push(self, descriptor: Descriptor, source: ContentSource) -> None:
        raise InvalidLayout(f"{self.place} was opened for reading.")

    async def tag(self, descriptor: Descriptor, tag: Tag) -> None:
        raise InvalidLayout(f"{self.place} was opened for reading.")

    async def referrers(self, digest: Digest, artifact_type: str = "") -> Sequence[Descriptor]:
        """Those of the manifests that index.json itself lists."""
        found = []
        for entry in self.index.entries:
            if not entry.is_image:
                continue
            manifest = await self.fetch_manifest(entry.descriptor.digest)
            subject = manifest.subject
            if subject is not None and subject.digest == digest and artifact_type in ("", manifest.artifact_type):
                found.append(manifest.descriptor)
        return list(dict.fromkeys(found))

    def _named(self, tag: Tag) -> Digest:
        for entry in self.index.entries:
            if entry.ref_name == tag:
                return entry.descriptor.digest
        raise NotFound(f"There is no {tag} in {self.place}.")

    def _learn(self, *descriptors: Descriptor) -> None:
        for descriptor in descriptors:
            if descriptor.is_manifest and len(self._types) < _MOST_TYPES:
                self._types[descriptor.digest] = descriptor.media_type

    def _read(self, digest: Digest) -> bytes | None:
        """All bytes; None where there are more than a manifest may have."""
        size = self._files.size(digest)
        if size is None:
            raise NotFound(f"There is no {digest} in {self.place}.")
        if size > MAX_MANIFEST_BYTES:
            return None
        with self._files.open(digest) as stream:
            return _read_at_most(stream, size)

    @asynccontextmanager
    async def _fetched(self, descriptor: Descriptor, offset: int) -> AsyncIterator[AsyncIterator[bytes]]:
        stream = await in_thread_or_undone(lambda opened: opened.close(), self._files.open, descriptor.digest)
        try:
            size = await in_thread(self._files.size, descriptor.digest)
            if offset:
                await in_thread(stream.seek, offset, os.SEEK_CUR)
            async with aclosing(self._pieces(stream, min(size or 0, descriptor.size + 1) - offset)) as pieces:
                yield pieces
        finally:
            await in_thread_to_the_end(stream.close)

    async def _pieces(self, stream: BinaryIO, left: int) -> AsyncGenerator[bytes, None]:
        # One byte more than the descriptor says is read at most: enough for its reader to see that it lies.
        while left > 0:
            piece = await in_thread(stream.read, min(PIECE_BYTES, left))
            if not piece:
                return
            left -= len(piece)
            yield piece


class WritableLayout(OciLayout):
    """A Target. What `tag` and `name` change in the index is there once `save` returned."""

    def __init__(self, files: WritableFiles, index: LayoutIndex) -> None:
        super().__init__(files, index)
        self._writable = files
        self._turns = asyncio.Semaphore(files.at_once)

    async def push(self, descriptor: Descriptor, source: ContentSource) -> None:
        async with self._turns:
            if await self.exists(descriptor):
                return
            incoming = await in_thread_or_undone(
                lambda begun: begun.abandon(), self._writable.begin, descriptor.digest, descriptor.size
            )
            try:
                async with source(0) as pieces:
                    await self._take(descriptor, pieces, incoming)
                await in_thread(incoming.finish)
            finally:
                await in_thread_to_the_end(incoming.abandon)

    async def tag(self, descriptor: Descriptor, tag: Tag) -> None:
        self.index = self.index.with_image(await self.fetch_manifest(descriptor.digest), None, tag)

    async def put_manifest(self, manifest: Manifest) -> None:
        """Have a manifest of our own making there."""
        await self.push(manifest.descriptor, lambda offset: _whole(manifest.content[offset:]))

    def name(
        self,
        manifest: Manifest,
        repository: RepositoryName | None,
        reference: Reference | None,
        *,
        original: Digest | None = None,
    ) -> None:
        """List a manifest that is there as the image of a repository; with None as one that others refer to."""
        self.index = self.index.with_image(manifest, repository, reference, original=original)
        self._learn(manifest.descriptor)

    async def save(self) -> None:
        """Make index.json and all that it lists durable. Raises InvalidLayout where it would be too long to be read."""
        index = await in_thread(self.index.render)
        if len(index) > MAX_MANIFEST_BYTES:
            raise InvalidLayout(
                f"The layout would list {len(self.index.entries):,} images in {len(index):,} bytes; "
                f"{MAX_MANIFEST_BYTES:,} is the most.",
                hint="Export to several layouts.",
            )
        # Nobody else may begin to write there before a thread that is at it is through, also where we are cancelled.
        await in_thread_to_the_end(self._writable.save, index)

    async def _take(self, descriptor: Descriptor, pieces: AsyncIterator[bytes], incoming: Incoming) -> None:
        hasher, size = descriptor.digest.hasher(), 0

        def keep(piece: bytes) -> None:
            hasher.update(piece)
            incoming.write(piece)

        async for piece in pieces:
            size += len(piece)
            if size > descriptor.size:
                break
            await in_thread(keep, piece)
        if size != descriptor.size or hasher.hexdigest() != descriptor.digest.hex:
            raise DigestMismatch(f"What came is not {descriptor.digest} of {descriptor.size:,} bytes.")


def _read_at_most(stream: BinaryIO, size: int) -> bytes:
    pieces = []
    while size > 0 and (piece := stream.read(size)):
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)


@asynccontextmanager
async def _whole(content: bytes) -> AsyncIterator[AsyncIterator[bytes]]:
    async def piece() -> AsyncIterator[bytes]:
        yield content

    yield piece()
