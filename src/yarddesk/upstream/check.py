"""Asking a registry whether it takes a credential, before that is kept, and how it takes us as things stand."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Final

import httpx

from yarddesk.content.credentials import Credential, CredentialStore
from yarddesk.content.upstream import Quota, UpstreamAway, UpstreamDenied, UpstreamTimeout
from yarddesk.settings.model import AuthSettings, UpstreamSettings
from yarddesk.upstream.client import NO_SCOPES, RegistryClient
from yarddesk.upstream.http import Timeouts
from yarddesk.upstream.origins import Origin

_SECONDS: Final = 30.0


async def verify_credential(settings: UpstreamSettings, credential: Credential) -> None:
    """Ask the upstream's registry (GET /v2/) with this credential; returns where it is taken, or where none is needed.

    For a registry that is no upstream: `UpstreamSettings(registry=HOST, name=HOST)`. Raises UpstreamDenied where the
    credential is refused; UpstreamAway where nobody answers, and another UpstreamFailure where what answers is no registry.
    """
    try:
        await _verify(settings, credential)
    except UpstreamTimeout:
        raise
    except UpstreamAway:
        # As for Docker, what runs on this machine may do without TLS.
        if settings.tls.plain_http or not Origin.of(httpx.URL(f"https://{settings.registry}")).is_loopback:
            raise
        await _verify(replace(settings, tls=replace(settings.tls, plain_http=True)), credential)


async def _verify(settings: UpstreamSettings, credential: Credential) -> None:
    client = RegistryClient(replace(settings, auth=AuthSettings()), OneCredential(credential))
    async with _closed_within(client, _SECONDS):
        await check(client)


@asynccontextmanager
async def _closed_within(client: RegistryClient, seconds: float) -> AsyncIterator[None]:
    """Raises UpstreamTimeout once the seconds are over."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        raise UpstreamTimeout(
            client.failures.name,
            f"{client.registry} gave no answer.",
            f"Nothing came for {seconds:g} s.",
            temporary=True,
        ) from error
    finally:
        await client.aclose()


async def check(client: RegistryClient) -> None:
    """Whether the registry is there and lets us in ("Determining Support"). Raises UpstreamFailure."""
    async with client.request("GET", client.url(""), NO_SCOPES, headers={"Accept": "application/json"}) as answer:
        if answer.status == 200:
            await client.read(answer, 64 * 1024, "its base")
            return
        if answer.status == 404:
            raise client.failures.not_a_registry("It has no /v2/.", status=404)
        raise await client.failure(answer, "its base")


@dataclass(frozen=True, slots=True)
class Standing:
    """How a registry takes us. `asks_by`: how it wants to know who we are, `bearer` or `basic`; empty where it doesn't.

    `account`: whom it takes us for, None for nobody, empty where a token doesn't tell. `denied`: why it didn't let us in.
    """

    asks_by: str
    account: str | None = None
    quota: Quota | None = None
    denied: UpstreamDenied | None = None


async def standing(settings: UpstreamSettings, credentials: CredentialStore, limit_seconds: float) -> Standing:
    """Sign in and ask for `/v2/`, which is no pull to anybody who counts them. Raises UpstreamFailure, but no UpstreamDenied."""
    client = RegistryClient(
        settings, credentials, timeouts=Timeouts(connect_seconds=limit_seconds / 2, answer_seconds=limit_seconds)
    )
    try:
        async with _closed_within(client, limit_seconds):
            await check(client)
            used = await client.signed_in()
    except UpstreamDenied as error:
        return Standing(client.asks_by, denied=error)
    return Standing(client.asks_by, used.account if used is not None else None, client.quota.left)


class OneCredential:
    """A store with the one credential that is being tried, if any."""

    def __init__(self, credential: Credential | None) -> None:
        self._credential = credential

    async def get(self, registry: str) -> Credential | None:
        return self._credential

    async def set(self, registry: str, credential: Credential) -> None:
        self._credential = credential

    async def delete(self, registry: str) -> bool:
        return False
