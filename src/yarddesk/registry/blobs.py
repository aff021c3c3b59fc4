"""Blobs: read, whole or in part, and deleted (distribution specification v1.1, end-2, end-10)."""

import asyncio
import logging
import os
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from typing import BinaryIO, Final

from starlette.requests import Request

from yarddesk.content.errors import StorageError
from yarddesk.content.pull_through import BlobContent, BlobNowhere, GrowingBlob, PullThrough
from yarddesk.content.store import Store
from yarddesk.content.target import Damaged, DigestMismatch, NotFound
from yarddesk.content.threads import in_thread, in_thread_to_the_end
from yarddesk.errors import YarddeskError
from yarddesk.oci.digest import Digest
from yarddesk.oci.error_codes import ErrorCode
from yarddesk.oci.media_types import OCTET_STREAM
from yarddesk.oci.name import RepositoryName
from yarddesk.oci.ranges import ByteRange, UnsatisfiableRange, parse_range
from yarddesk.registry.answers import SOURCE, Answer, FileAnswer, GrowingAnswer, GrowingPart, StreamAnswer
from yarddesk.registry.exchange import SENDFILE
from yarddesk.registry.locks import Gate
from yarddesk.registry.paths import Route
from yarddesk.registry.requests import check_if_match, names_etag
from yarddesk.registry.wire import Header, Refused

logger = logging.getLogger(__name__)

_SENT_WHILE_CHECKED_BYTES: Final = 64 * 1024 * 1024
"""Larger blobs are hashed while they leave, smaller ones before."""

_SMALL_BYTES: Final = 64 * 1024
"""Of these nothing would leave before all is verified: so what goes wrong is said in words, and not by a cut."""

_PIECE_BYTES: Final = 1024 * 1024
_CHECKED_AT_MOST: Final = 3

BlobAnswer = Answer | FileAnswer | GrowingAnswer | StreamAnswer


class Blobs:
    """A blob is shared by all repositories and can be read through any of them."""

    def __init__(self, store: Store, pull_through: PullThrough, deletes: Gate) -> None:
        self._store = store
        self._pull_through = pull_through
        self._deletes = deletes

    async def head(self, request: Request, route: Route) -> Answer:
        digest = Digest.parse(route.rest)
        check_if_match(request, digest)
        if names_etag(request.headers.get("if-none-match"), digest) and await self._store.blob_size(digest) is not None:
            return Answer(304, _headers(digest))
        size = await self._store.promise_blob(digest)
        if size is None:
            size = await self._pull_through.blob_size(route.name, digest)
        if size is None:
            raise self._damaged(digest) or BlobNowhere(digest)
        return Answer(200, _headers(digest), body_size=size)

    async def get(self, request: Request, route: Route) -> BlobAnswer:
        digest = Digest.parse(route.rest)
        check_if_match(request, digest)
        opened = await in_thread(_open, self._store, digest) if self._store.keeps_files else None
        if opened is not None and not self._store.is_verified(digest, opened.found):
            plain = "range" not in request.headers and "if-none-match" not in request.headers
            if plain and opened.size > _SENT_WHILE_CHECKED_BYTES:
                return self._while_checked(digest, opened)
            opened = await self._once_checked(digest, opened)
        if opened is not None:
            return _from_file(request, digest, opened.file, opened.size)
        size = None if self._store.keeps_files else await self._store.blob_size(digest)
        if size is not None:
            return await self._from_store(request, digest, size)
        return await self._from_upstream(request, route.name, digest)

    async def delete(self, _request: Request, route: Route) -> Answer:
        """Refused while a stored manifest needs it: content is shared, and the queue's manifests are stored ones."""
        digest = Digest.parse(route.rest)
        async with self._deletes.closed():
            if self._pull_through.is_filling(digest):
                raise _in_use(f"{digest} is coming in from its upstream just now.")
            if await self._store.blob_size(digest) is None:
                raise NotFound(f"There is no blob {digest}.")
            if await self._store.blob_is_used(digest):
                raise _in_use(f"A manifest that is stored here refers to {digest}: delete the manifests first.")
            await self._store.delete_blob(digest)
        return Answer(202)

    async def _once_checked(self, digest: Digest, opened: "_Opened") -> "_Opened | None":
        """The file once it's known to be whole; None where the blob is not here (any more)."""
        for _ in range(_CHECKED_AT_MOST):
            opened.file.close()
            if not await self._store.check_blob(digest):
                return None
            again = await in_thread(_open, self._store, digest)
            if again is None or self._store.is_verified(digest, again.found):
                return again
            opened = again
        opened.file.close()
        raise StorageError(f"The file of blob {digest} is being changed by somebody.", temporary=True)

    def _while_checked(self, digest: Digest, opened: "_Opened") -> BlobAnswer:
        """All of a large file, whose last piece waits until the whole is known to be right."""
        stack = AsyncExitStack()
        stack.callback(opened.file.close)
        pieces = self._held_back(digest, opened)
        stack.push_async_callback(pieces.aclose)
        return StreamAnswer(200, _headers(digest), pieces, opened.size, stack)

    async def _held_back(self, digest: Digest, opened: "_Opened") -> AsyncGenerator[bytes, None]:
        checking = asyncio.ensure_future(self._store.check_blob(digest))
        try:
            left = opened.size
            while left > _PIECE_BYTES:
                piece = await in_thread_to_the_end(opened.file.read, _PIECE_BYTES)
                if not piece:
                    break
                left -= len(piece)
                yield piece
            await checking
            # Another file may have come into its place meanwhile: it's ours that must be the one that was hashed.
            if not self._store.is_verified(digest, os.fstat(opened.file.fileno())):
                raise DigestMismatch(f"The file of blob {digest} is damaged.")
            yield await in_thread_to_the_end(opened.file.read, left)
        finally:
            checking.cancel()
            # What it found, or failed by, concerns nobody any more who doesn't wait for it above.
            await asyncio.gather(checking, return_exceptions=True)

    async def _from_store(self, request: Request, digest: Digest, size: int) -> BlobAnswer:
        part = _wanted_part(request, digest, size)
        if isinstance(part, Answer):
            return part
        whole = part is None
        part = part or ByteRange(0, size - 1)
        async with AsyncExitStack() as stack:
            pieces = await stack.enter_async_context(self._store.read_blob(digest, part.start, part.length))
            status = 200 if whole else 206
            return StreamAnswer(
                status, _headers(digest, None if whole else part, size), pieces, part.length, stack.pop_all()
            )

    async def _from_upstream(self, request: Request, repository: RepositoryName, digest: Digest) -> BlobAnswer:
        async with AsyncExitStack() as stack:
            try:
                blob = await stack.enter_async_context(self._pull_through.open_blob(repository, digest))
            except NotFound as error:
                raise self._damaged(digest) or error from error
            part = _wanted_part(request, digest, blob.size)
            if isinstance(part, Answer):
                return part
            whole = part is None
            part = part or ByteRange(0, blob.size - 1)
            headers = _headers(digest, None if whole else part, blob.size)
            status = 200 if whole else 206
            if part.length <= _SMALL_BYTES:
                # It's given once the whole is verified anyway: where that fails, it's said in words.
                request.scope[SOURCE] = "upstream"
                return Answer(status, headers, await _read(blob, part))
            # Before the answer begins something of it is there, so that what it fails by until then is said in words.
            file = None
            if blob.growing is not None and SENDFILE in request.scope.get("extensions", {}):
                file = await _begun(blob.growing, part, stack)
            pieces = blob.read(part.start, part.end + 1)
            stack.push_async_callback(pieces.aclose)
            first = b"" if file is not None else await anext(pieces, b"")
            growing = GrowingPart(blob.growing, file, first, pieces, part.start, part.end + 1)
            return GrowingAnswer(status, headers, growing, stack.pop_all())

    def _damaged(self, digest: Digest) -> Damaged | None:
        """What the store has to say of a blob that was here and was damaged."""
        missing = self._store.missing_blob(digest)
        return missing if isinstance(missing, Damaged) else None


async def _begun(growing: GrowingBlob, part: ByteRange, stack: AsyncExitStack) -> BinaryIO | None:
    """The file that a blob comes into, once some of the part is there; None where `read` must tell, or have it in another way."""
    file = await growing.file()
    if file is None:
        return None
    stack.enter_context(file)
    try:
        await growing.reach(part.start, part.end + 1)
    except YarddeskError as error:
        logger.debug("a blob is not there as it grows: %s", error)
        return None
    return file


async def _read(blob: BlobContent, part: ByteRange) -> bytes:
    async with aclosing(blob.read(part.start, part.end + 1)) as pieces:
        return b"".join([piece async for piece in pieces])


def _from_file(request: Request, digest: Digest, file: BinaryIO, size: int) -> BlobAnswer:
    try:
        part = _wanted_part(request, digest, size)
    except BaseException:
        file.close()
        raise
    if isinstance(part, Answer):
        file.close()
        return part
    if part is None:
        return FileAnswer(200, _headers(digest), file, 0, size)
    return FileAnswer(206, _headers(digest, part, size), file, part.start, part.length)


def _wanted_part(request: Request, digest: Digest, size: int) -> ByteRange | Answer | None:
    """The range that is asked for, None for the whole, or the answer that needs no body (304, 416)."""
    if names_etag(request.headers.get("if-none-match"), digest):
        return Answer(304, _headers(digest))
    if not _range_holds(request, digest):
        return None
    try:
        return parse_range(request.headers["range"], size)
    except UnsatisfiableRange:
        unsatisfied: Header = (b"content-range", b"bytes */%d" % size)
        raise Refused(
            ErrorCode.SIZE_INVALID, f"The blob has {size:,} bytes.", status=416, headers=(unsatisfied,)
        ) from None


def _range_holds(request: Request, digest: Digest) -> bool:
    condition = request.headers.get("if-range")
    return "range" in request.headers and (condition is None or names_etag(condition, digest, strong=True))


def _headers(digest: Digest, part: ByteRange | None = None, size: int = 0) -> list[Header]:
    encoded = digest.encode()
    headers: list[Header] = [
        (b"content-type", OCTET_STREAM.encode()),
        (b"docker-content-digest", encoded),
        (b"etag", b'"%b"' % encoded),
        (b"accept-ranges", b"bytes"),
        (b"cache-control", b"max-age=31536000, immutable"),
    ]
    if part is not None:
        headers.append((b"content-range", b"bytes %d-%d/%d" % (part.start, part.end, size)))
    return headers


def _in_use(message: str) -> Refused:
    return Refused(ErrorCode.UNSUPPORTED, message, headers=((b"allow", b"GET, HEAD"),))


@dataclass(frozen=True, slots=True)
class _Opened:
    """A blob's file. What is open is read to its end, whatever is deleted."""

    file: BinaryIO
    found: os.stat_result

    @property
    def size(self) -> int:
        return self.found.st_size


def _open(store: Store, digest: Digest) -> _Opened | None:
    """None where it's not there."""
    try:
        file = store.open_blob(digest)
    except NotFound:
        return None
    return _Opened(file, os.fstat(file.fileno()))
