"""Upload sessions: begun, continued, asked, ended and cancelled; mounts (distribution specification v1.1, "Pushing blobs")."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from starlette.requests import ClientDisconnect, Request

from yarddesk.content.store import Store, UploadSession
from yarddesk.oci.digest import HEX_LENGTHS, Digest, InvalidDigest
from yarddesk.oci.error_codes import ErrorCode
from yarddesk.oci.name import RepositoryName
from yarddesk.oci.ranges import InvalidRange, parse_content_range
from yarddesk.registry.answers import Answer
from yarddesk.registry.locks import KeyedLocks
from yarddesk.registry.paths import Route
from yarddesk.registry.requests import content_length, pieces_of_body
from yarddesk.registry.wire import Header, Refused

_BUSY_SECONDS: Final = 10.0


class Uploads:
    """Blobs on their way in. Pieces go to the session as they come; it hashes and writes them off the loop."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._locks = KeyedLocks()

    async def begin(self, request: Request, route: Route) -> Answer:
        """POST: a session; or the blob at once, where it's here already (mount) or in the body (`digest`)."""
        query, repository = request.query_params, route.name
        mounted = query.get("mount")
        if mounted is not None:
            digest = Digest.parse(mounted)
            # Content is shared by all repositories, so `from` has nothing to say.
            if await self._store.promise_blob(digest) is not None:
                return _created(repository, digest)
        elif "digest" in query:
            digest = Digest.parse(query["digest"])
            session = await self._store.start_upload(repository, digest.algorithm)
            return await self._take_whole(request, session, digest)
        algorithm = query.get("digest-algorithm", "sha256")
        if algorithm not in HEX_LENGTHS:
            raise InvalidDigest(f"“{algorithm[:40]}” is not a digest algorithm that is known here.")
        session = await self._store.start_upload(repository, algorithm)
        return _accepted(session, 202)

    async def add(self, request: Request, route: Route) -> Answer:
        """PATCH: the next chunk, or all that there is (without Content-Range)."""
        async with self._session(route) as session:
            await _take_body(request, session)
            await session.flush()
            return _accepted(session, 202)

    async def end(self, request: Request, route: Route) -> Answer:
        """PUT: the last bytes, where there are any left, and the digest of the whole."""
        text = request.query_params.get("digest")
        if text is None:
            raise Refused(ErrorCode.DIGEST_INVALID, "The request says no digest.")
        digest = Digest.parse(text)
        async with self._session(route) as session:
            await _take_body(request, session)
            await session.commit(digest)
            return _created(route.name, digest)

    async def status(self, _request: Request, route: Route) -> Answer:
        """GET: how far it has come."""
        async with self._session(route) as session:
            return _accepted(session, 204)

    async def cancel(self, _request: Request, route: Route) -> Answer:
        """DELETE."""
        async with self._session(route) as session:
            await session.cancel()
            return Answer(204)

    async def _take_whole(self, request: Request, session: UploadSession, digest: Digest) -> Answer:
        try:
            await _take_body(request, session)
            await session.commit(digest)
        except BaseException:
            # Nobody knows this session's address, so nobody can go on with it.
            await session.cancel()
            raise
        return _created(session.repository, digest)

    @asynccontextmanager
    async def _session(self, route: Route) -> AsyncIterator[UploadSession]:
        """The session, for one request at a time: one whose client has gone may still be writing its last piece."""
        entered = False
        patience = _BUSY_SECONDS if self._locks.is_wanted(route.rest) else None
        try:
            async with asyncio.timeout(patience) as limit, self._locks.hold_one(route.rest):
                limit.reschedule(None)
                entered = True
                yield await self._store.find_upload(route.name, route.rest)
        except TimeoutError:
            if entered:
                raise
            raise Refused(
                ErrorCode.BLOB_UPLOAD_INVALID, "Another request is writing to this upload.", status=409
            ) from None


async def _take_body(request: Request, session: UploadSession) -> None:
    """Hand the body on; where it breaks off or is wrong, what came of it is kept, so that the client can go on there."""
    end = _expected_end(request, session)
    try:
        async for piece in pieces_of_body(request):
            if end is not None and session.size + len(piece) > end:
                raise Refused(ErrorCode.SIZE_INVALID, "The body is longer than its Content-Range.")
            if piece:
                await session.write(piece)
            del piece  # not to be kept while the client takes its time with the next one
        if end is not None and session.size != end:
            raise Refused(ErrorCode.SIZE_INVALID, "The body is shorter than its Content-Range.")
    except (ClientDisconnect, Refused, asyncio.CancelledError):
        await session.flush()
        raise


def _expected_end(request: Request, session: UploadSession) -> int | None:
    """Where the session will be after this body, in bytes, as far as the request says. Raises Refused."""
    header, length = request.headers.get("content-range"), content_length(request)
    if header is None or length == 0:
        return None
    try:
        part = parse_content_range(header)
    except InvalidRange:
        raise Refused(ErrorCode.BLOB_UPLOAD_INVALID, "Content-Range reads START-END.", status=400) from None
    if part.start != session.size:
        raise Refused(
            ErrorCode.BLOB_UPLOAD_INVALID,
            f"The next byte of this upload is {session.size:,}, not {part.start:,}.",
            status=416,
            headers=_whereabouts(session),
        )
    if length is not None and length != part.length:
        raise Refused(ErrorCode.SIZE_INVALID, "Content-Length and Content-Range don't fit each other.")
    return part.end + 1


def _whereabouts(session: UploadSession) -> tuple[Header, ...]:
    location = f"/v2/{session.repository}/blobs/uploads/{session.id}"
    return (
        (b"location", location.encode()),
        # Both ends count, so that nothing and one byte read the same; clients expect it so.
        (b"range", b"0-%d" % max(0, session.size - 1)),
        (b"docker-upload-uuid", session.id.encode()),
    )


def _accepted(session: UploadSession, status: int) -> Answer:
    return Answer(status, list(_whereabouts(session)))


def _created(repository: RepositoryName, digest: Digest) -> Answer:
    location = f"/v2/{repository}/blobs/{digest}"
    return Answer(201, [(b"location", location.encode()), (b"docker-content-digest", digest.encode())])
