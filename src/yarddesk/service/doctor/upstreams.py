"""Whether each upstream is reached, and as whom."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

from yarddesk.content.credentials import Credential, CredentialUnavailable
from yarddesk.content.upstream import Quota, UpstreamFailure, UpstreamTrouble
from yarddesk.service.accounts import Accounts
from yarddesk.service.doctor.finding import Finding, State, broken, of_error, ok, warning
from yarddesk.service.doctor.running import Running
from yarddesk.settings.model import AuthType, Settings, UpstreamSettings
from yarddesk.upstream.check import OneCredential, Standing, standing

_CHECK: Final = "upstream"
_LIMIT_SECONDS: Final = 15.0
_LOOK_UP_SECONDS: Final = 25.0
"""Longer than a credential helper of Docker's may take, so that its own words are heard."""
_AT_ONCE: Final = 64


async def check_upstreams(
    settings: Settings, accounts: Accounts, keychain_error: CredentialUnavailable | None, running: Running | None
) -> tuple[Sequence[Finding], Sequence[Credential]]:
    """All at once; with the credentials that were found, which nobody must see.

    keychain_error: what asking the keychain came to just now.
    """
    if not settings.upstreams:
        return [ok(_CHECK, "", "There are none: all stays local.")], []
    turn = asyncio.Semaphore(_AT_ONCE)
    quotas = _quotas(running)

    async def look(upstream: UpstreamSettings) -> tuple[Finding, Credential | None]:
        async with turn:
            credential, source, reason = await _credential(upstream, accounts, keychain_error)
            if settings.cache.offline:
                return _not_asked(upstream), credential
            return await _finding(upstream, credential, source, reason, quotas.get(upstream.name)), credential

    looked = await asyncio.gather(*(look(upstream) for upstream in settings.upstreams))
    return [finding for finding, _ in looked], [credential for _, credential in looked if credential is not None]


def _not_asked(upstream: UpstreamSettings) -> Finding:
    hint = "Take cache.offline out of the settings once it is to be asked."
    return warning(_CHECK, upstream.name, "It is not asked: cache.offline is set.", hint)


async def _credential(
    upstream: UpstreamSettings, accounts: Accounts, keychain_error: CredentialUnavailable | None
) -> tuple[Credential | None, str, str]:
    """What is signed in with, where it is from, and why there may be another one that could not be read."""
    auth = upstream.auth
    if auth.type is AuthType.ANONYMOUS:
        return None, "", ""
    if auth.is_configured:
        return Credential(auth.username, auth.password), f"upstreams[].auth of {upstream.name}", ""
    try:
        async with asyncio.timeout(_LOOK_UP_SECONDS):
            found = await accounts.find(upstream.registry, keychain_error)
    except TimeoutError:
        return None, "", f" Its credentials could not be looked for within {_LOOK_UP_SECONDS:g} s."
    except CredentialUnavailable as error:
        return None, "", f" Its credentials could not be looked for: {error.title}"
    return (found.credential, found.source, "") if found is not None else (None, "", "")


async def _finding(
    upstream: UpstreamSettings, credential: Credential | None, source: str, reason: str, quota: Quota | None
) -> Finding:
    try:
        found = await standing(upstream, OneCredential(credential), _LIMIT_SECONDS)
    except UpstreamTrouble as error:
        return of_error(State.WARNING, _CHECK, upstream.name, error, "It will be asked again by itself.")
    except UpstreamFailure as error:
        hint = (
            "Look at the network, and at its registry in the settings. What waits goes on by itself once it is reached."
        )
        return of_error(State.BROKEN, _CHECK, upstream.name, error, hint)
    if found.denied is not None:
        return _denied(upstream, found, source, reason)
    return _let_in(upstream, found, source, reason, quota)


def _denied(upstream: UpstreamSettings, found: Standing, source: str, reason: str) -> Finding:
    assert found.denied is not None
    error = found.denied
    if not source and found.asks_by == "bearer" and not upstream.push:
        return ok(_CHECK, upstream.name, f"Reached. Nobody is signed in: what is public there can be pulled.{reason}")
    finding = of_error(State.BROKEN, _CHECK, upstream.name, error)
    where = f" It was found in {source}." if source else reason
    return broken(_CHECK, upstream.name, f"{finding.message}{where}", finding.hint)


def _let_in(upstream: UpstreamSettings, found: Standing, source: str, reason: str, quota: Quota | None) -> Finding:
    left = found.quota or quota
    pulls = (
        f" {left.remaining} of {left.limit} pulls are left in {left.window_seconds // 60} minutes."
        if left is not None
        else ""
    )
    if not found.asks_by:
        return ok(_CHECK, upstream.name, f"Reached. It asks nobody who they are.{pulls}")
    if found.account is not None:
        whom = f"as `{found.account}`" if found.account else "by a token"
        return ok(_CHECK, upstream.name, f"Reached, and signed in {whom}, with what {source} holds.{pulls}")
    message = f"Reached. Nobody is signed in.{reason}{pulls}"
    if not upstream.push:
        return ok(_CHECK, upstream.name, message)
    hint = f"Most such registries take no push from nobody. Sign in: yarddesk login {upstream.registry}"
    return warning(_CHECK, upstream.name, message, hint)


def _quotas(running: Running | None) -> Mapping[str, Quota]:
    """What the running instance was last told, which a question for `/v2/` alone seldom is."""
    quotas: dict[str, Quota] = {}
    upstreams: Sequence[Mapping[str, Any]] = running.status.get("upstreams", ()) if running is not None else ()
    for upstream in upstreams:
        if said := upstream["pulls"]["quota"]:
            quotas[upstream["name"]] = Quota(said["limit"], said["remaining"], said["window_seconds"])
    return quotas
