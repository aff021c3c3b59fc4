"""httpx's connections, used so that a cancelled request can't take any of them away for good.

httpcore 1.0.9 forgets a connection that was given to a request which is cancelled at that moment: it stays in the pool as busy
for ever, until a bounded pool is full of them and every request ends in PoolTimeout (httpcore issue 1093). So the pool has no
bound, and after any request that did not end as it should, the whole transport is retired: requests that run go on, new ones
get a fresh transport, and the old one is closed, with all that it still holds, when its last request has ended.
"""

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

import httpx

_log = logging.getLogger(__name__)

_LIMITS: Final = httpx.Limits(max_connections=None, max_keepalive_connections=16, keepalive_expiry=30)


class Lease:
    """The right to send one request through a transport; `retire` says that it must not be used for another."""

    __slots__ = ("retired", "transport", "users")

    def __init__(self, transport: httpx.AsyncHTTPTransport) -> None:
        self.transport = transport
        self.users = 0
        self.retired = False

    def retire(self) -> None:
        self.retired = True


class Transports:
    """The transports of one upstream, one for each proxy on the way (None: directly)."""

    def __init__(self, context: Callable[[], Awaitable[ssl.SSLContext]]) -> None:
        self._context = context
        self._current: dict[str | None, Lease] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._over = False

    @asynccontextmanager
    async def lease(self, proxy: str | None) -> AsyncIterator[Lease]:
        """A transport for one request. Whatever ends the block with an exception should have called `retire`."""
        context = await self._context()
        lease = self._current.get(proxy)
        if lease is None or lease.retired:
            lease = self._current[proxy] = Lease(_transport(context, proxy))
            lease.retired = self._over
        lease.users += 1
        try:
            yield lease
        finally:
            lease.users -= 1
            if lease.retired and lease.users == 0:
                self._close(lease)

    def forget(self) -> None:
        """Use no connection that is there now for another request; those in use are closed when their requests end."""
        current, self._current = self._current, {}
        for lease in current.values():
            if not lease.retired or lease.users == 0:
                lease.retire()
                if lease.users == 0:
                    self._close(lease)

    async def aclose(self) -> None:
        """Close what is idle now, and what is busy when its requests end. A request that comes later has its own transport."""
        self._over = True
        self.forget()
        await asyncio.gather(*self._closing)

    def _close(self, lease: Lease) -> None:
        # A task of its own: the request that ends here may have been cancelled, and must not wait.
        task = asyncio.get_running_loop().create_task(_closed(lease.transport))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


def _transport(context: ssl.SSLContext, proxy: str | None) -> httpx.AsyncHTTPTransport:
    through = httpx.Proxy(proxy, ssl_context=context) if proxy and proxy.startswith("https:") else proxy
    return httpx.AsyncHTTPTransport(verify=context, trust_env=False, http2=False, limits=_LIMITS, proxy=through)


async def _closed(transport: httpx.AsyncHTTPTransport) -> None:
    try:
        await transport.aclose()
    except (httpx.HTTPError, OSError, RuntimeError) as error:
        _log.debug("a connection could not be closed in order: %s", type(error).__name__)
