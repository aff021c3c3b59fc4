"""The light question whether a registry can be reached, asked about twice a second while it can't.

A TCP connection to it (or to its proxy) is all that is tried at first; only where that comes about is a request sent, since a
proxy, a VPN or what terminates TLS may answer for a registry that is gone. Who takes connections and then has no answer is
asked ever less often.
"""

import asyncio
import logging
import socket
import threading
from contextlib import suppress
from typing import Any, Final

import httpx

from yarddesk.content.upstream import UpstreamAway, UpstreamFailure, UpstreamPortal, UpstreamUntrusted
from yarddesk.upstream.encodings import read_short
from yarddesk.upstream.failures import Failures
from yarddesk.upstream.http import REDIRECTS, Answer, Wire
from yarddesk.upstream.origins import Origin, may_be_reached_from, web_url
from yarddesk.upstream.words import is_page

_log = logging.getLogger(__name__)

_CONNECT_SECONDS: Final = 3.0
_ANSWER_SECONDS: Final = 5.0
_MOST_LOOKUPS: Final = 2
"""Name lookups that go on at once: without an answer of the name server each takes long and can't be called back."""

_MOST_ADDRESSES: Final = 8
_START_BYTES: Final = 1024
_MOST_REDIRECTS: Final = 6
_FIRST_AGAIN_SECONDS: Final = 0.5
_AGAIN_AT_MOST_SECONDS: Final = 5.0

_Address = tuple[Any, ...]


class Reach:
    """Probes of the registry whose base (`/v2/`) is at `url`."""

    def __init__(self, wire: Wire, failures: Failures, url: httpx.URL) -> None:
        self._wire = wire
        self._failures = failures
        self._url = url
        self._lookups = 0
        self._asking = False
        self._in_vain = 0
        self._ask_again = 0.0

    async def probe(self) -> bool:
        """Whether it answers, whatever it says; no longer than some seconds."""
        try:
            await self.ask()
        except (UpstreamAway, UpstreamUntrusted) as error:
            _log.debug("%s is out of reach: %s", self._url.host, error)
            return False
        except UpstreamFailure as error:
            _log.debug("%s is there, and in trouble: %s", self._url.host, error)
        return True

    async def ask(self) -> None:
        """Return where it answers as a registry does, whoever asks, within some seconds. Raises UpstreamFailure."""
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                host, port = self._wire.first_hop(self._url)
                connected = await self._connects(host, port)
        except (OSError, TimeoutError) as error:
            raise self._failures.away(f"{self._url.host} could not be reached.", str(error)) from error
        if not connected:
            raise self._failures.away(f"{self._url.host} could not be reached.")
        await self._answers()

    async def _connects(self, host: str, port: int) -> bool:
        """Whether any of its addresses takes a connection; the first that does decides."""
        addresses = await self._addresses(host, port)
        attempts = [asyncio.ensure_future(_connected(address)) for address in addresses[:_MOST_ADDRESSES]]
        try:
            for attempt in asyncio.as_completed(attempts):
                if await attempt:
                    return True
        finally:
            for each in attempts:
                each.cancel()
        return False

    async def _answers(self) -> None:
        loop = asyncio.get_running_loop()
        if self._asking or loop.time() < self._ask_again:
            raise self._failures.away(f"{self._url.host} takes connections and gave no answer.")
        self._asking = True
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                await self._ask_base()
        except UpstreamPortal:
            self._in_vain = 0  # its answer comes at once, and so will be seen that it's gone
            raise
        except (UpstreamAway, UpstreamUntrusted, TimeoutError) as error:
            again = min(_FIRST_AGAIN_SECONDS * 2.0 ** min(self._in_vain, 10), _AGAIN_AT_MOST_SECONDS)
            self._in_vain, self._ask_again = self._in_vain + 1, loop.time() + again
            if isinstance(error, TimeoutError):
                raise self._failures.away(f"{self._url.host} takes connections and gives no answer.") from error
            raise
        except UpstreamFailure:
            self._in_vain = 0
            raise
        finally:
            self._asking = False
        self._in_vain = 0

    async def portal(self) -> UpstreamPortal | None:
        """The login page that answers in its place; None where none does, or nobody."""
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                await self._ask_base()
        except UpstreamPortal as portal:
            return portal
        except (UpstreamFailure, TimeoutError) as error:
            _log.debug("whether a login page answers for %s can't be told: %s", self._url.host, error)
        return None

    async def _ask_base(self) -> None:
        """Ask for `/v2/`, where it leads to, too. Raises UpstreamFailure: UpstreamPortal where that is no registry's place."""
        url = self._url
        for _ in range(_MOST_REDIRECTS):
            async with self._wire.exchange("GET", url, {}) as answer:
                _log.debug("%s answers: %d", self._url.host, answer.status)
                await self._check(answer)
                if answer.status not in REDIRECTS:
                    return
                url = self._way_on(answer)
        raise self._failures.portal()

    def _way_on(self, answer: Answer) -> httpx.URL:
        url = web_url(answer.headers.get("location", ""), answer.url)
        if url is None:
            raise self._failures.portal()
        target = Origin.of(url)
        is_open = answer.origin.scheme == "https" and target.scheme == "http"
        if is_open or not may_be_reached_from(Origin.of(self._url), target):
            raise self._failures.portal(target.shown)
        return url

    async def _check(self, answer: Answer) -> None:
        if answer.status == 429 or answer.status >= 500:
            failure = self._failures.of_answer(answer.status, answer.headers, await read_short(answer), "its `/v2/`")
            if isinstance(failure, UpstreamFailure):
                raise failure
        if answer.status == 200 and is_page(answer.headers.get("content-type", ""), await answer.read(_START_BYTES)):
            raise self._failures.portal("" if answer.url == self._url else answer.origin.shown)

    async def _addresses(self, host: str, port: int) -> list[_Address]:
        """Of the host by its name, looked up in a thread that ends with the process at the latest. Raises OSError."""
        with suppress(OSError, UnicodeError):  # it is a name, no address
            return list(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST))
        if self._lookups >= _MOST_LOOKUPS:
            return []
        loop = asyncio.get_running_loop()
        found: asyncio.Future[list[_Address]] = loop.create_future()
        self._lookups += 1

        def came(addresses: list[_Address], error: OSError | None) -> None:
            self._lookups -= 1
            if found.done():
                return
            if error is not None:
                found.set_exception(error)
            else:
                found.set_result(addresses)

        def look_up() -> None:
            addresses: list[_Address] = []
            failure = None
            try:
                addresses = list(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
            except OSError as error:
                failure = error
            except UnicodeError as error:  # no name that could be looked up
                failure = OSError(str(error))
            with suppress(RuntimeError):  # the loop was closed meanwhile
                loop.call_soon_threadsafe(came, addresses, failure)

        threading.Thread(target=look_up, name="yarddesk-lookup", daemon=True).start()
        return await found


async def _connected(address: _Address) -> bool:
    family, kind, protocol, _, where = address
    with socket.socket(family, kind, protocol) as connection:
        connection.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(connection, where)
        except OSError:
            return False
    return True
