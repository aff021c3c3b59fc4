"""Reading a blob from a registry: raw, of exactly the length that it should have, going on where a connection broke."""

import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Final, Self

import httpx

from yarddesk.content.upstream import UpstreamAway, UpstreamBroken
from yarddesk.oci.descriptor import Descriptor
from yarddesk.oci.ranges import InvalidRange, parse_content_range
from yarddesk.upstream.client import RegistryClient
from yarddesk.upstream.http import Answer
from yarddesk.upstream.tokens import Scopes
from yarddesk.upstream.words import is_page

_log = logging.getLogger(__name__)

_OCTETS: Final = "application/octet-stream, */*"


class Download:
    """The bytes of `descriptor` from `offset` on, as a ContentStream. The digest is for the reader to check.

    Entering raises NotFound or UpstreamFailure, so that who opens it knows whether there is anything to read.
    """

    def __init__(
        self, client: RegistryClient, url: httpx.URL, scopes: Scopes, descriptor: Descriptor, offset: int
    ) -> None:
        self._client = client
        self._url = url
        self._scopes = scopes
        self._size = descriptor.size
        self._what = f"blob {descriptor.digest.short}"
        self._position = offset
        self._skip = 0
        self._opened_at = offset
        self._resumes = 0
        self._idle_breaks = 0
        self._stack = AsyncExitStack()
        self._answer: Answer | None = None

    async def __aenter__(self) -> Self:
        if self._position < self._size:
            try:
                await self._open()
            except BaseException as error:
                # Who could not enter does not leave either: nobody else would let go of the connection.
                await self._stack.__aexit__(type(error), error, error.__traceback__)
                raise
        return self

    async def __aexit__(self, *exception: object) -> None:
        # The exception, if any, is passed on so that a cancelled request's connection is not used again.
        await self._stack.__aexit__(*exception)  # type: ignore[arg-type]

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        while True:
            if self._position >= self._size:
                await self._end()
                raise StopAsyncIteration
            try:
                piece = self._kept(await self._next())
            except (UpstreamAway, UpstreamBroken) as failure:
                await self._resume(failure)
                continue
            if piece:
                return piece

    async def _end(self) -> None:
        """Read the answer's end, so that its connection can be used again, and nothing came after what we wanted."""
        answer, self._answer = self._answer, None
        if answer is None or not {"content-length", "transfer-encoding"} & answer.headers.keys():
            return
        try:
            async for piece in answer:
                self._kept(piece)
        except (UpstreamAway, UpstreamBroken) as failure:
            _log.debug("%s came whole, and then: %s", self._what, failure)

    async def _next(self) -> bytes:
        if self._answer is None:
            await self._open()
        assert self._answer is not None
        try:
            return await anext(self._answer)
        except StopAsyncIteration:
            raise self._client.failures.broken(
                f"The connection to {self._client.registry} broke.",
                f"It ended after {self._position:,} of {self._size:,} bytes.",
            ) from None

    def _kept(self, piece: bytes) -> bytes:
        if self._skip:
            skipped = min(self._skip, len(piece))
            self._skip -= skipped
            piece = piece[skipped:]
        if self._position + len(piece) > self._size:
            raise self._client.failures.not_a_registry(f"It sent more than the {self._size:,} bytes of {self._what}.")
        self._position += len(piece)
        return piece

    async def _resume(self, failure: UpstreamAway | UpstreamBroken) -> None:
        self._idle_breaks = 0 if self._position > self._opened_at else self._idle_breaks + 1
        self._resumes += 1
        idle = self._idle_breaks and not self._client.retry.again(failure, self._idle_breaks)
        if idle or self._resumes > self._client.retry.resumes:
            raise failure
        _log.info("%s of %s goes on at byte %d: %s", self._what, self._client.registry, self._position, failure)
        self._answer = None
        await self._stack.aclose()

    async def _open(self) -> None:
        self._opened_at = self._position
        answer = await self._ask(self._position)
        if answer.status == 416 and self._position:
            # What gives no parts of what it has may still give all of it.
            await self._stack.aclose()
            answer = await self._ask(0)
        if answer.status not in (200, 206):
            raise await self._client.failure(answer, self._what)
        self._check(answer)
        self._answer = answer

    async def _ask(self, start: int) -> Answer:
        headers = {"Accept": _OCTETS} | ({"Range": f"bytes={start}-"} if start else {})
        request = self._client.request("GET", self._url, self._scopes, headers=headers)
        return await self._stack.enter_async_context(request)

    def _check(self, answer: Answer) -> None:
        failures = self._client.failures
        if is_page(answer.headers.get("content-type", "")):
            raise failures.page(f"It sent a web page for {self._what}.", status=answer.status)
        encoding = answer.headers.get("content-encoding", "identity").lower()
        if encoding != "identity":
            raise failures.not_a_registry(f"It sent {self._what} in another encoding ({encoding[:40]}).")
        start = _start(answer)
        if start is None or start not in (0, self._position):
            raise failures.not_a_registry(
                f"It sent another part of {self._what} than was asked for.", status=answer.status
            )
        # A registry without ranges starts again: what we have is passed over.
        self._skip = self._position - start
        length = answer.headers.get("content-length", "")
        if length.isascii() and length.isdecimal() and int(length[:20]) != self._size - start:
            raise failures.not_a_registry(
                f"It has {int(length[:20]) + start:,} bytes for {self._what}, which has {self._size:,}.",
                status=answer.status,
            )


def _start(answer: Answer) -> int | None:
    """The first byte that an answer holds; None where it can't be told."""
    if answer.status == 200:
        return 0
    try:
        return parse_content_range(answer.headers.get("content-range", "")).start
    except InvalidRange:
        return None
