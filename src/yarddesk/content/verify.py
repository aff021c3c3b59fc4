"""Content on its way from a source that may lie: checked while it passes, with the last piece held back."""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from yarddesk.content.target import ContentSource, DigestMismatch
from yarddesk.content.threads import start_in_thread
from yarddesk.oci.descriptor import Descriptor
from yarddesk.oci.digest import Digest, Hasher
from yarddesk.oci.manifest import MAX_MANIFEST_BYTES

_BATCH_BYTES: Final = 256 * 1024


class RunningHash:
    """A hash that goes on in a thread, in batches, while the next piece is awaited."""

    def __init__(self, hasher: Hasher) -> None:
        self._hasher = hasher
        self._batch: list[bytes] = []
        self._batch_bytes = 0
        self._hashing: asyncio.Future[None] | None = None

    async def take(self, piece: bytes) -> None:
        self._batch.append(piece)
        self._batch_bytes += len(piece)
        if self._batch_bytes >= _BATCH_BYTES:
            await self._hashed()
            batch, self._batch, self._batch_bytes = self._batch, [], 0
            self._hashing = start_in_thread(self._update, batch)

    async def so_far(self) -> Hasher:
        """The hash of all that was taken; a copy, that goes on by itself."""
        await self._hashed()
        if self._batch:
            batch, self._batch, self._batch_bytes = self._batch, [], 0
            self._update(batch)
        return self._hasher.copy()

    def _update(self, batch: list[bytes]) -> None:
        # One call for many small pieces: each one gives the interpreter lock away and has to get it back.
        self._hasher.update(batch[0] if len(batch) == 1 else b"".join(batch))

    async def _hashed(self) -> None:
        if self._hashing is not None:
            await self._hashing
            self._hashing = None


class VerifyingReader:
    """The pieces of `source`, passed on as they come; the last of them only once size and digest are known to be right.

    Whoever copies these pieces to a client therefore never sends a complete wrong answer. Hashing goes to a thread, in
    batches, while the next piece is awaited. Raises DigestMismatch: at once when there is more than `size` bytes, at the end
    when there is less or the bytes don't hash to `digest`. Errors of the source pass through.
    """

    def __init__(self, source: AsyncIterator[bytes], digest: Digest, size: int | None = None) -> None:
        self._digest = digest
        self._size = size
        self._hash = RunningHash(digest.hasher())
        self._seen = 0
        self._pieces = self._verified(source)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._pieces

    @property
    def bytes_seen(self) -> int:
        """Bytes that came from the source so far."""
        return self._seen

    async def _verified(self, source: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        held: bytes | None = None
        async for piece in source:
            if not piece:
                continue
            await self._take(piece)
            if held is not None:
                yield held
            held = piece
        await self._check()
        if held is not None:
            yield held

    async def _take(self, piece: bytes) -> None:
        self._seen += len(piece)
        if self._size is not None and self._seen > self._size:
            raise DigestMismatch(f"There are more than the {self._size:,} bytes of {self._digest}.")
        await self._hash.take(piece)

    async def _check(self) -> None:
        if self._size is not None and self._seen < self._size:
            raise DigestMismatch(f"Only {self._seen:,} of the {self._size:,} bytes of {self._digest} came.")
        if (await self._hash.so_far()).hexdigest() != self._digest.hex:
            raise DigestMismatch(f"The bytes that came are not those of {self._digest}.")


async def whole_manifest(descriptor: Descriptor, source: ContentSource) -> bytes:
    """All of a manifest's bytes. Raises DigestMismatch."""
    content = bytearray()
    async with source(0) as pieces:
        async for piece in pieces:
            content += piece
            if len(content) > min(descriptor.size, MAX_MANIFEST_BYTES):
                break
    if len(content) != descriptor.size or not descriptor.digest.matches(bytes(content)):
        raise DigestMismatch(f"The bytes that came are not those of {descriptor.digest}.")
    return bytes(content)
