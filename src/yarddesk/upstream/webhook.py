"""A POST to an address of the user's. The address may hold a secret: beyond its host it is never repeated."""

import asyncio
import base64
import ssl
from collections.abc import Iterator
from typing import Final

import httpx

from yarddesk.content.credentials import Secret
from yarddesk.content.threads import in_thread
from yarddesk.settings.model import TlsSettings
from yarddesk.upstream.failures import Failures
from yarddesk.upstream.http import USER_AGENT
from yarddesk.upstream.origins import Origin
from yarddesk.upstream.proxies import Proxies
from yarddesk.upstream.tls import create_context
from yarddesk.upstream.words import clean

_LIMIT_SECONDS: Final = 10.0


async def post(address: Secret, content: bytes, key: str, *, limit_seconds: float = _LIMIT_SECONDS) -> str:
    """Send JSON there; empty where it was taken (2xx), else why not, in words. Redirects are not followed.

    `key` is the same each time the same is sent. Every call has connections of its own: arrivals are rare.
    """
    url = httpx.URL(address.reveal())
    host = Origin.of(url).shown
    headers = {"Content-Type": "application/json", "User-Agent": USER_AGENT, "Idempotency-Key": key}
    if url.userinfo:
        headers["Authorization"] = f"Basic {base64.b64encode(f'{url.username}:{url.password}'.encode()).decode()}"
    timeouts = {"timeout": httpx.Timeout(limit_seconds).as_dict()}
    request = httpx.Request("POST", url, content=content, headers=headers, extensions=timeouts)
    try:
        async with asyncio.timeout(limit_seconds):
            context = await in_thread(create_context, TlsSettings())
            async with _transport(context, Proxies.from_environment().proxy_for(Origin.of(url))) as transport:
                answer = await transport.handle_async_request(request)
                await answer.aclose()
    except (httpx.HTTPError, TimeoutError, OSError) as error:
        failure = Failures(host, host).of_transport(error, host)
        return clean(f"{failure.title} {failure.message}".strip(), _secrets(url))
    return "" if answer.is_success else f"{host} answered with status {answer.status_code}."


def _transport(context: ssl.SSLContext, proxy: str | None) -> httpx.AsyncHTTPTransport:
    """Not a client: those write every address into the log."""
    through = httpx.Proxy(proxy, ssl_context=context) if proxy and proxy.startswith("https:") else proxy
    return httpx.AsyncHTTPTransport(verify=context, trust_env=False, proxy=through)


def _secrets(url: httpx.URL) -> Iterator[str]:
    yield str(url)
    yield from (part for part in (url.password, url.query.decode("ascii", "replace")) if part)
    yield from (segment for segment in url.path.split("/") if segment)
