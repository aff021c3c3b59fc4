"""httpcore's pool of HTTP/1.1 connections as a transport of httpx, over connections of ours.

httpx's own transport has no place for a network backend, so this is it once more, for what we use of it.
"""

import ssl
from collections.abc import AsyncIterable, AsyncIterator, Iterator
from contextlib import aclosing, contextmanager
from typing import Any, Final

import httpcore
import httpx

from yarddesk.upstream.network import Connection, LargeReads

_LARGE_BYTES: Final = 1024 * 1024


class PoolTransport(httpx.AsyncBaseTransport):
    """Sends requests through one pool, directly or through `proxy`; `limits` as httpx has them."""

    def __init__(self, context: ssl.SSLContext, limits: httpx.Limits, proxy: httpx.Proxy | None) -> None:
        options: dict[str, Any] = {
            "ssl_context": context,
            "max_connections": limits.max_connections,
            "max_keepalive_connections": limits.max_keepalive_connections,
            "keepalive_expiry": limits.keepalive_expiry,
            "http2": False,
            "network_backend": LargeReads(),
        }
        if proxy is None:
            self._pool = httpcore.AsyncConnectionPool(**options)
        else:
            self._pool = httpcore.AsyncHTTPProxy(
                proxy_url=_core_url(proxy.url),
                proxy_auth=proxy.raw_auth,
                proxy_headers=proxy.headers.raw,
                proxy_ssl_context=proxy.ssl_context,
                **options,
            )

    @property
    def open_connections(self) -> int:
        """How many connections it has, idle ones too."""
        return len(self._pool.connections)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        asked = httpcore.Request(
            request.method,
            _core_url(request.url),
            headers=request.headers.raw,
            content=request.stream,
            extensions=request.extensions,
        )
        with _as_httpx():
            answer = await self._pool.handle_async_request(asked)
        return httpx.Response(
            answer.status, headers=answer.headers, stream=_Body(answer), extensions=dict(answer.extensions)
        )

    async def aclose(self) -> None:
        await self._pool.aclose()


class _Body(httpx.AsyncByteStream):
    """An answer's body. A large one whose length is known is read past httpcore once the head's reader has given all it has;
    its connection is not used again."""

    def __init__(self, answer: httpcore.Response) -> None:
        self._answer = answer

    async def __aiter__(self) -> AsyncIterator[bytes]:
        connection, left = self._answer.extensions.get("network_stream"), _length(self._answer)
        assert isinstance(self._answer.stream, AsyncIterable)
        with _as_httpx():
            async with aclosing(self._answer.stream.__aiter__()) as pieces:  # type: ignore[type-var]  # a generator
                async for piece in pieces:
                    yield piece
                    left -= len(piece)
                    if left < _LARGE_BYTES or not isinstance(connection, Connection):
                        continue
                    while left and (large := await connection.receive(left)):
                        left -= len(large)
                        yield large  # type: ignore[misc]  # a view of bytes, which whoever reads a blob takes as well
                    if left:
                        raise httpcore.ReadError(f"The connection ended {left:,} bytes before the body did.")
                    return

    async def aclose(self) -> None:
        with _as_httpx():
            await self._answer.aclose()


def _length(answer: httpcore.Response) -> int:
    """Content-Length in bytes, 0 where the body has another framing."""
    headers = {name.lower(): value for name, value in answer.headers}
    length = headers.get(b"content-length", b"")
    return int(length) if length.isdigit() and b"transfer-encoding" not in headers else 0


def _core_url(url: httpx.URL) -> httpcore.URL:
    return httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)


@contextmanager
def _as_httpx() -> Iterator[None]:
    """httpx's exception for each of httpcore's: those of the same name."""
    try:
        yield
    except tuple(_NAMES) as error:
        kind = next(_NAMES[each] for each in type(error).__mro__ if each in _NAMES)
        raise kind(str(error)) from error


_NAMES: Final[dict[type[BaseException], type[httpx.TransportError]]] = {
    getattr(httpcore, name): getattr(httpx, name)
    for name in (
        "TimeoutException",
        "ConnectTimeout",
        "ReadTimeout",
        "WriteTimeout",
        "PoolTimeout",
        "NetworkError",
        "ConnectError",
        "ReadError",
        "WriteError",
        "ProxyError",
        "UnsupportedProtocol",
        "ProtocolError",
        "LocalProtocolError",
        "RemoteProtocolError",
    )
}
