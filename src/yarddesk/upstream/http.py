"""One HTTP request to a registry and its answer: timed by progress, read raw, with every failure classified."""

import asyncio
import logging
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from dataclasses import dataclass
from typing import Final, Self

import httpx
from h2.exceptions import H2Error

from yarddesk import __version__
from yarddesk.content.target import ContentStream
from yarddesk.content.threads import in_thread
from yarddesk.content.upstream import UpstreamAway, UpstreamBroken, UpstreamUntrusted
from yarddesk.errors import YarddeskError
from yarddesk.settings.model import TlsSettings
from yarddesk.upstream.certificates import issuer_at
from yarddesk.upstream.failures import Failures, wants_http1
from yarddesk.upstream.origins import Origin
from yarddesk.upstream.proxies import Proxies
from yarddesk.upstream.tls import create_context
from yarddesk.upstream.transports import Lease, Transports, Use

_log = logging.getLogger(__name__)

USER_AGENT: Final = f"yarddesk/{__version__}"
MAX_WORDS_BYTES: Final = 64 * 1024
"""What is read of an error's body, in bytes."""

REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})

_PIECE_BYTES: Final = 256 * 1024
_SETTLE_SECONDS: Final = 1.0
_CONNECTION_FAILURES: Final = (UpstreamAway, UpstreamBroken, UpstreamUntrusted)
_TRANSPORT_ERRORS: Final = (httpx.HTTPError, H2Error, ssl.SSLError)


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds. `answer`: from the end of the request to the head of the answer; `stall`: without any progress, in either
    direction; `commit`: as `answer`, where a registry may hash a whole layer first. Slower than `least_bytes_per_second`
    over `stall_seconds` counts as no progress."""

    connect_seconds: float = 10.0
    answer_seconds: float = 60.0
    stall_seconds: float = 60.0
    commit_seconds: float = 900.0
    least_bytes_per_second: int = 1024


@dataclass(frozen=True, slots=True)
class Body:
    """A request's body: `content`, and then what `open` gives, which is opened anew each time it is sent; exactly `length` bytes."""

    open: Callable[[], ContentStream]
    length: int
    content: bytes = b""

    @classmethod
    def of(cls, content: bytes) -> Self:
        """A body that is in memory."""
        return cls(lambda: nullcontext(_Nothing()), len(content), content)


class _Nothing:
    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        raise StopAsyncIteration


class Answer:
    """The head of an answer, and its body to be read once. `asked`: the headers that it was asked with; a secret may be in them."""

    def __init__(
        self, method: str, response: httpx.Response, origin: Origin, url: httpx.URL, clock: "_Progress"
    ) -> None:
        self.method = method
        self.status = response.status_code
        self.headers = response.headers
        self.origin = origin
        self.url = url
        self.sent_elsewhere = False
        self.asked: Mapping[str, str] = {}
        self._raw: AsyncIterator[bytes] = response.aiter_raw()
        self._clock = clock
        self.finished = False

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        """The next piece of the body as it comes from the wire. Raises UpstreamFailure."""
        try:
            return await self._clock.next_piece(self._raw)
        except StopAsyncIteration:
            self.finished = True
            raise

    async def read(self, limit: int = MAX_WORDS_BYTES) -> bytes:
        """The body's first `limit` bytes; `finished` tells whether that is all of it."""
        pieces, size = [], 0
        async for piece in self:
            pieces.append(piece)
            size += len(piece)
            if size > limit:
                break
        return b"".join(pieces)[:limit]

    async def aclose(self) -> None:
        if isinstance(self._raw, AsyncGenerator):
            await self._raw.aclose()


class Wire:
    """Sends requests for one upstream. Knows no registry: neither credentials nor redirects."""

    def __init__(self, tls: TlsSettings, failures: Failures, *, timeouts: Timeouts, proxies: Proxies) -> None:
        self._tls = tls
        self._failures = failures
        self._timeouts = timeouts
        self._proxies = proxies
        self._contexts: dict[Use, ssl.SSLContext] = {}
        self._reading = asyncio.Lock()
        self._transports = Transports(self._ssl_context)

    @asynccontextmanager
    async def exchange(
        self,
        method: str,
        url: httpx.URL,
        headers: Mapping[str, str],
        *,
        body: Body | None = None,
        answer_seconds: float | None = None,
        bulk: bool = False,
    ) -> AsyncIterator[Answer]:
        """Send one request; its answer, whatever the status. bulk: its body, or its answer's, may be large.

        Raises UpstreamAway, UpstreamBroken, UpstreamUntrusted or UpstreamUntrue.
        """
        origin = Origin.of(url)
        progress = _Progress(self._failures, origin, self._timeouts)
        async with AsyncExitStack() as stack:
            proxy = self._proxy(origin)
            lease = await stack.enter_async_context(self._transports.lease(origin, proxy, bulk=bulk))
            answer: Answer | None = None
            try:
                pieces = await stack.enter_async_context(body.open()) if body else None
                async with progress.limit(answer_seconds or self._timeouts.answer_seconds) as limit:
                    sent = _Sent(body.content, pieces, limit, self._timeouts.stall_seconds) if body and pieces else None
                    request = _request(method, url, headers, sent, body.length if body else None, self._timeouts)
                    request.extensions.update(lease.extensions)
                    response = await lease.transport.handle_async_request(request)
                response.request = request
                stack.push_async_callback(response.aclose)
                answer = Answer(method, response, origin, url, progress)
                stack.push_async_callback(answer.aclose)
                _log.debug("%s %s://%s%s: %d", method, url.scheme, origin.shown, url.path, answer.status)
                if method == "HEAD" or answer.status in (204, 304):
                    await answer.read()
                yield answer
                if lease.is_shared and not answer.finished:
                    await _settle(lease, answer)
            except BaseException as error:
                # A caller's own error leaves the connection in order, but where others share it; anything else may not have.
                given_up = lease.is_shared and answer is not None and not answer.finished
                if not isinstance(error, YarddeskError) or isinstance(error, _CONNECTION_FAILURES) or given_up:
                    lease.retire()
                if isinstance(error, UpstreamUntrusted):
                    # Read anew for the next request: what a person does about it is to change what is trusted.
                    self._contexts.clear()
                    told = answer is None and proxy is None
                    if told and (issuer := await issuer_at(origin.host, origin.port)):
                        error.message = f"It was issued by {issuer}: {error.message}"
                if lease.is_shared and wants_http1(error):
                    self._transports.speaks_http1(origin, proxy)
                raise

    def first_hop(self, url: httpx.URL) -> tuple[str, int]:
        """Host and port of whom a request for this URL connects to: its own, or its proxy's. Raises UpstreamAway."""
        origin = Origin.of(url)
        proxy = self._proxy(origin)
        hop = Origin.of(httpx.URL(proxy)) if proxy is not None else origin
        return hop.host, hop.port

    def forget_connections(self) -> None:
        self._transports.forget()

    async def aclose(self) -> None:
        """Close the connections; those in use when their requests end."""
        await self._transports.aclose()

    def _proxy(self, origin: Origin) -> str | None:
        proxy = self._proxies.proxy_for(origin)
        if proxy is not None and not proxy.lower().startswith(("http://", "https://")):
            raise self._failures.away(
                f"The proxy on the way to {origin.shown} can't be used.",
                f"It is a {proxy.partition('://')[0]} proxy; only http and https ones are spoken to.",
                hint="Look at HTTPS_PROXY, ALL_PROXY and NO_PROXY.",
            )
        if proxy is not None and not _is_address(proxy):
            raise self._failures.away(
                f"The proxy on the way to {origin.shown} can't be used.",
                "Its address can't be read. A # or / in its password reads %23 or %2F there.",
                hint="Look at HTTPS_PROXY, ALL_PROXY and NO_PROXY.",
            )
        return proxy

    async def _ssl_context(self, use: Use) -> ssl.SSLContext:
        async with self._reading:
            if use not in self._contexts:
                try:
                    self._contexts[use] = await in_thread(create_context, self._tls)
                except OSError as error:
                    reason = error.strerror or str(error)
                    raise self._failures.untrusted(
                        "The certificates in ca_file can't be used.", f"{self._tls.ca_file}: {reason}"
                    ) from error
            return self._contexts[use]


async def _settle(lease: Lease, answer: Answer) -> None:
    """Read the end of an answer that nobody wanted more of: given up, its stream would go on at the cost of all others."""
    try:
        async with asyncio.timeout(_SETTLE_SECONDS):
            await answer.read()
    except (YarddeskError, TimeoutError) as error:
        _log.debug("%s: the end of an answer didn't come: %s", answer.origin.shown, error)
    if not answer.finished:
        lease.retire()


class _Progress:
    """Sees to it that a request gets somewhere: time limits that move with every piece, and an end to slow drips."""

    def __init__(self, failures: Failures, origin: Origin, timeouts: Timeouts) -> None:
        self._failures = failures
        self._host = origin.shown
        self._timeouts = timeouts
        self._waited = 0.0
        self._received = 0

    @asynccontextmanager
    async def limit(self, answer_seconds: float) -> AsyncIterator["_Limit"]:
        """Around the sending of a request, up to the answer's head."""
        limit = _Limit(answer_seconds)
        try:
            async with limit.timeout:
                limit.allow(self._timeouts.connect_seconds + answer_seconds)
                yield limit
        except TimeoutError as error:
            raise self._failures.of_transport(
                TimeoutError(f"Nothing came for {limit.seconds:g} s."), self._host
            ) from error
        except (*_TRANSPORT_ERRORS, httpx.InvalidURL) as error:
            raise self._failures.of_transport(error, self._host) from error

    async def next_piece(self, raw: AsyncIterator[bytes]) -> bytes:
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            async with asyncio.timeout(self._timeouts.stall_seconds):
                piece = await anext(raw)
        except TimeoutError as error:
            raise self._stalled() from error
        except _TRANSPORT_ERRORS as error:
            raise self._failures.of_transport(error, self._host) from error
        # Only the time that we waited counts, not what the reader needs in between.
        self._waited += loop.time() - began
        self._received += len(piece)
        if self._waited >= self._timeouts.stall_seconds:
            if self._received < self._waited * self._timeouts.least_bytes_per_second:
                raise self._stalled()
            self._waited, self._received = 0.0, 0
        return piece

    def _stalled(self) -> YarddeskError:
        words = f"It sent next to nothing for {self._timeouts.stall_seconds:g} s."
        return self._failures.of_transport(TimeoutError(words), self._host)


class _Limit:
    """A time limit that can be set anew and lifted."""

    def __init__(self, answer_seconds: float) -> None:
        self.timeout = asyncio.timeout(None)
        self.answer_seconds = answer_seconds
        self.seconds = answer_seconds

    def allow(self, seconds: float | None) -> None:
        self.seconds = seconds or 0.0
        self.timeout.reschedule(None if seconds is None else asyncio.get_running_loop().time() + seconds)


class _Sent(httpx.AsyncByteStream):
    """A body on its way: in pieces small enough for progress to be seen, large enough to cost little."""

    def __init__(self, content: bytes, pieces: AsyncIterator[bytes], limit: _Limit, stall_seconds: float) -> None:
        self._content = content
        self._pieces = pieces
        self._limit = limit
        self._stall_seconds = stall_seconds
        self._rest = memoryview(b"")

    def __aiter__(self) -> AsyncIterator[bytes]:
        # Begun anew by httpcore where an HTTP/2 server closes and says that it hasn't looked at the request.
        self._rest = memoryview(self._content)
        return self

    async def __anext__(self) -> bytes:
        # The time that our own source needs (disk, bandwidth limit) is not the registry's.
        self._limit.allow(None)
        while not self._rest:
            try:
                self._rest = memoryview(await anext(self._pieces))
            except StopAsyncIteration:
                self._limit.allow(self._limit.answer_seconds)
                raise
        piece, self._rest = self._rest[:_PIECE_BYTES], self._rest[_PIECE_BYTES:]
        self._limit.allow(self._stall_seconds)
        return piece  # type: ignore[return-value]  # h11 and h2 take any buffer, and a slice costs no copy


def _is_address(proxy: str) -> bool:
    try:
        return bool(httpx.URL(proxy).host)
    except httpx.InvalidURL:
        return False  # the error's text may hold a part of the password


def _request(
    method: str,
    url: httpx.URL,
    headers: Mapping[str, str],
    sent: _Sent | None,
    length: int | None,
    timeouts: Timeouts,
) -> httpx.Request:
    own = {
        "Host": url.netloc.decode("ascii"),
        "User-Agent": USER_AGENT,
        # Blobs and manifests must come as they are: their digest is of these bytes.
        "Accept-Encoding": "identity",
        **headers,
    }
    if length is not None:
        own["Content-Length"] = str(length)
    elif method in ("POST", "PUT", "PATCH"):
        own["Content-Length"] = "0"
    # Stalls while a body is sent are ours to see, so httpx's own limit for writing must not come first.
    limits = httpx.Timeout(
        connect=timeouts.connect_seconds, read=None, write=None, pool=timeouts.connect_seconds
    ).as_dict()
    stream = sent if sent is not None else httpx.ByteStream(b"")
    return httpx.Request(method, url, headers=own, stream=stream, extensions={"timeout": limits})
