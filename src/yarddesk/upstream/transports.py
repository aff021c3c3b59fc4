"""httpx's connections, used so that a cancelled request can't take any of them away for good.

httpcore 1.0.9 forgets a connection that was given to a request which is cancelled at that moment: it stays in the pool as busy
for ever, until a bounded pool is full of them and every request ends in PoolTimeout (httpcore issue 1093). So the pool has no
bound, and after any request that did not end as it should, the whole transport is retired: requests that run go on, new ones
get a fresh transport, and the old one is closed, with all that it still holds, when its last request has ended.

Over TLS, requests without large bodies share one HTTP/2 connection to a host where that host speaks it. Blobs stay on HTTP/1.1,
each on a connection of its own: in Python HTTP/2's framing costs more than the network does, a stream that is given up leaves
the others with less of their common window, and a break would take all of them.
"""

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from enum import Enum
from functools import partial
from importlib import import_module
from typing import Any, Final

import httpx

from yarddesk.content.upstream import UpstreamFailure
from yarddesk.upstream.origins import Origin

_log = logging.getLogger(__name__)

_IDLE_SECONDS: Final = 30.0
_SEPARATE_LIMITS: Final = httpx.Limits(
    max_connections=None, max_keepalive_connections=16, keepalive_expiry=_IDLE_SECONDS
)
_SHARED_LIMITS: Final = httpx.Limits(max_connections=None, max_keepalive_connections=16, keepalive_expiry=None)


def load_connections() -> None:
    """Load what makes connections, for which the first request would have to wait (20 ms, so in a thread)."""
    import_module("yarddesk.upstream.pool")


class Use(Enum):
    """What a TLS context is for. httpcore sets the protocols to offer on the context at each connect: uses share none."""

    SEPARATE = "HTTP/1.1"
    SHARED = "HTTP/2"
    PROXY = "proxy"


_Context = Callable[[Use], Awaitable[ssl.SSLContext]]
_Way = tuple[str | None, Origin]


class Lease:
    """The right to send one request through a transport; `retire` says that it must not be used for another."""

    def __init__(self, transport: httpx.AsyncBaseTransport) -> None:
        self.transport = transport
        self.users = 0
        self.retired = False

    @property
    def is_shared(self) -> bool:
        """Whether requests on their way share a connection."""
        return False

    @property
    def extensions(self) -> dict[str, Any]:
        """What httpx is given with each request."""
        return {}

    def retire(self) -> None:
        self.retired = True

    async def aclose(self) -> None:
        await self.transport.aclose()


class SharedLease(Lease):
    """A transport to one host, whose first request finds out what is spoken there, while others wait.

    What httpcore 1.0.9 connects for several requests it drops, open, when the one that connects is cancelled: so we know the
    connections, too, and close them.
    """

    def __init__(
        self, transport: httpx.AsyncHTTPTransport, secured: str, found: Callable[["SharedLease", bool], None]
    ) -> None:
        """`secured`: the event of httpcore after which it is known; `found` is told whether it is HTTP/2."""
        super().__init__(transport)
        self.known = asyncio.Event()
        self.connected = False
        self.failure: UpstreamFailure | None = None
        self.idle_since = asyncio.get_running_loop().time()
        self._secured = secured
        self._found = found
        self._streams: list[Any] = []

    @property
    def is_shared(self) -> bool:
        return True

    @property
    def extensions(self) -> dict[str, Any]:
        return {"trace": self._trace}

    async def aclose(self) -> None:
        await super().aclose()
        for stream in self._streams:
            await stream.aclose()

    async def _trace(self, event: str, told: Mapping[str, Any]) -> None:
        if event == "connection.connect_tcp.complete":
            self._streams.append(told["return_value"])
        elif event == self._secured:
            tls = told["return_value"].get_extra_info("ssl_object")
            self._found(self, tls is not None and tls.selected_alpn_protocol() == "h2")
            self.connected = True
            self.known.set()


class Transports:
    """The transports of one upstream: one for each proxy on the way (None: directly), and one for each host that speaks HTTP/2."""

    def __init__(self, context: _Context) -> None:
        self._context = context
        self._separate: dict[str | None, Lease] = {}
        self._shared: dict[_Way, SharedLease] = {}
        self._speak_http1: set[_Way] = set()
        self._closing: set[asyncio.Task[None]] = set()
        self._over = False

    @asynccontextmanager
    async def lease(self, origin: Origin, proxy: str | None, *, bulk: bool) -> AsyncIterator[Lease]:
        """A transport for one request; `bulk`: one with a large body. Whatever ends the block with an exception should have
        called `retire`. Raises UpstreamFailure where the connection that this request was to share didn't come about."""
        shared = None if bulk or origin.scheme != "https" else await self._shared_to((proxy, origin))
        lease = shared or await self._separate_through(proxy)
        lease.users += 1
        try:
            yield lease
        except UpstreamFailure as failure:
            if shared is not None and not shared.connected:
                shared.failure = failure
            raise
        finally:
            lease.users -= 1
            if shared is not None:
                shared.idle_since = asyncio.get_running_loop().time()
                shared.known.set()
            if lease.retired and lease.users == 0:
                self._close(lease)

    def speaks_http1(self, origin: Origin, proxy: str | None) -> None:
        """It was found out that HTTP/2 leads nowhere there."""
        self._speak_http1.add((proxy, origin))

    def forget(self) -> None:
        """Use no connection that is there now for another request; those in use are closed when their requests end."""
        leases = [*self._separate.values(), *self._shared.values()]
        for shared in self._shared.values():
            shared.known.set()
        self._separate, self._shared = {}, {}
        self._speak_http1.clear()
        for lease in leases:
            if not lease.retired or lease.users == 0:
                lease.retire()
                if lease.users == 0:
                    self._close(lease)

    async def aclose(self) -> None:
        """Close what is idle now, and what is busy when its requests end. A request that comes later has its own transport."""
        self._over = True
        self.forget()
        await asyncio.gather(*self._closing)

    async def _separate_through(self, proxy: str | None) -> Lease:
        context, for_proxy = await self._context(Use.SEPARATE), await self._context_for(proxy)
        lease = self._separate.get(proxy)
        if lease is None or lease.retired:
            # With httpcore, which takes its megabytes where there is an upstream, and not where there is none.
            from yarddesk.upstream.pool import PoolTransport

            lease = self._separate[proxy] = Lease(PoolTransport(context, _SEPARATE_LIMITS, _proxy(proxy, for_proxy)))
            lease.retired = self._over
        return lease

    async def _shared_to(self, way: _Way) -> SharedLease | None:
        """None where no HTTP/2 is spoken."""
        proxy, _ = way
        context, for_proxy = await self._context(Use.SHARED), await self._context_for(proxy)
        self._end_stale()
        while way not in self._speak_http1:
            lease = self._shared.get(way)
            if lease is None or lease.retired:
                transport = httpx.AsyncHTTPTransport(
                    verify=context, trust_env=False, http2=True, limits=_SHARED_LIMITS, proxy=_proxy(proxy, for_proxy)
                )
                secured = "connection.start_tls.complete" if proxy is None else "proxy.start_tls.complete"
                lease = self._shared[way] = SharedLease(transport, secured, partial(self._found, way))
                lease.retired = self._over
                return lease
            if lease.known.is_set():
                return lease
            await lease.known.wait()
            if lease.failure is not None:
                raise lease.failure
        return None

    def _end_stale(self) -> None:
        """Close what has been idle for so long that something on the way may have forgotten it, whichever host it leads to."""
        latest = asyncio.get_running_loop().time() - _IDLE_SECONDS
        for way, lease in list(self._shared.items()):
            if lease.users == 0 and lease.idle_since < latest:
                del self._shared[way]
                if not lease.retired:
                    lease.retire()
                    self._close(lease)

    def _found(self, way: _Way, lease: SharedLease, is_http2: bool) -> None:
        if not is_http2:
            self._speak_http1.add(way)
            lease.retire()

    async def _context_for(self, proxy: str | None) -> ssl.SSLContext | None:
        return await self._context(Use.PROXY) if proxy and proxy.startswith("https:") else None

    def _close(self, lease: Lease) -> None:
        # A task of its own: the request that ends here may have been cancelled, and must not wait.
        task = asyncio.get_running_loop().create_task(_closed(lease))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


def _proxy(proxy: str | None, context: ssl.SSLContext | None) -> httpx.Proxy | None:
    return httpx.Proxy(proxy, ssl_context=context) if proxy is not None else None


async def _closed(lease: Lease) -> None:
    try:
        await lease.aclose()
    except (httpx.HTTPError, OSError, RuntimeError) as error:
        _log.debug("a connection could not be closed in order: %s", type(error).__name__)
