"""What the tests of upstreams share: settings, credentials and content."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from yarddesk.content.credentials import Credential, CredentialUnavailable, Secret
from yarddesk.oci.descriptor import Descriptor
from yarddesk.oci.digest import Digest
from yarddesk.oci.media_types import OCI_MANIFEST, OCTET_STREAM
from yarddesk.oci.name import RepositoryName
from yarddesk.settings.model import TlsSettings, UpstreamSettings
from yarddesk.upstream.client import RegistryClient
from yarddesk.upstream.http import Timeouts
from yarddesk.upstream.learned import Learned
from yarddesk.upstream.profiles import Profile
from yarddesk.upstream.proxies import Proxies
from yarddesk.upstream.routes import UpstreamRoutes
from yarddesk.upstream.target import RegistryRepository


@dataclass
class GivenCredentials:
    """A credential store in memory. asked: the registries that it was asked for."""

    known: dict[str, Credential] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    unavailable: CredentialUnavailable | None = None

    async def get(self, registry: str) -> Credential | None:
        self.asked.append(registry)
        if self.unavailable is not None:
            raise self.unavailable
        return self.known.get(registry)

    async def set(self, registry: str, credential: Credential) -> None:
        self.known[registry] = credential

    async def delete(self, registry: str) -> bool:
        return self.known.pop(registry, None) is not None


def credential(username: str, password: str) -> Credential:
    return Credential(username, Secret(password))


def settings_for(host: str, *, plain_http: bool = True, **more: Any) -> UpstreamSettings:
    """An upstream that takes pushes and pulls, under the empty prefix."""
    tls = more.pop("tls", TlsSettings(plain_http=plain_http))
    return UpstreamSettings(registry=host, name=more.pop("name", "corp"), push=more.pop("push", True), tls=tls, **more)


@asynccontextmanager
async def opened_upstream(
    host: str,
    credentials: GivenCredentials | None = None,
    *,
    timeouts: Timeouts | None = None,
    proxies: Proxies | None = None,
    repository: str = "team/app",
    monotonic: Callable[[], float] = time.monotonic,
    **more: Any,
) -> AsyncIterator[RegistryRepository]:
    """One repository of an upstream at `host`, closed at the end."""
    opened = opened_routes(host, credentials, timeouts=timeouts, proxies=proxies, monotonic=monotonic, **more)
    async with opened as routes:
        yield routes.all()[0].repository(RepositoryName.parse(repository))  # type: ignore[misc]  # the concrete class


@asynccontextmanager
async def opened_routes(
    host: str,
    credentials: GivenCredentials | None = None,
    *,
    timeouts: Timeouts | None = None,
    proxies: Proxies | None = None,
    monotonic: Callable[[], float] = time.monotonic,
    **more: Any,
) -> AsyncIterator[UpstreamRoutes]:
    """The way to an upstream at `host`, closed at the end."""

    def make(settings: UpstreamSettings, store: Any) -> RegistryClient:
        return RegistryClient(settings, store, timeouts=timeouts, proxies=proxies or Proxies({}), monotonic=monotonic)

    store = credentials or GivenCredentials()
    routes = UpstreamRoutes([settings_for(host, **more)], store, check_timeout=timedelta(0), make_client=make)
    try:
        yield routes
    finally:
        await routes.aclose()


@asynccontextmanager
async def learned_upstream(host: str, learned: Learned, profile: Profile) -> AsyncIterator[RegistryRepository]:
    """`team/app` of an upstream at `host` that is taken for what the profile says, with what was learned of it before."""

    def make(settings: UpstreamSettings, store: Any) -> RegistryClient:
        client = RegistryClient(settings, store, proxies=Proxies({}))
        client.profile = profile
        return client

    routes = UpstreamRoutes([settings_for(host)], GivenCredentials(), make_client=make, learned=learned)
    try:
        yield routes.all()[0].repository(RepositoryName.parse("team/app"))  # type: ignore[misc]  # the concrete class
    finally:
        await routes.aclose()


def blob(content: bytes) -> Descriptor:
    return Descriptor(OCTET_STREAM, Digest.of(content), len(content))


def manifest(content: bytes) -> Descriptor:
    return Descriptor(OCI_MANIFEST, Digest.of(content), len(content))


def source_of(
    content: bytes, *, piece_bytes: int = 1024 * 1024, opened: list[int] | None = None
) -> Callable[[int], AbstractAsyncContextManager[AsyncIterator[bytes]]]:
    """A ContentSource over bytes in memory; `opened` gets the offset of every opening."""

    @asynccontextmanager
    async def open_at(offset: int) -> AsyncIterator[AsyncIterator[bytes]]:
        if opened is not None:
            opened.append(offset)

        async def pieces() -> AsyncIterator[bytes]:
            for start in range(offset, len(content), piece_bytes):
                yield content[start : start + piece_bytes]

        iterator = pieces()
        try:
            yield iterator
        finally:
            await iterator.aclose()  # type: ignore[attr-defined]  # it is a generator

    return open_at
