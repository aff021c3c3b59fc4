"""All checks, beside a running instance or without one."""

import asyncio
from dataclasses import dataclass

from yarddesk.content.clock import SystemClock
from yarddesk.content.credentials import Credential
from yarddesk.service.accounts import Accounts
from yarddesk.service.backend import refuse_s3
from yarddesk.service.doctor.engines import check_engines
from yarddesk.service.doctor.finding import Finding
from yarddesk.service.doctor.folder import check_data_folder
from yarddesk.service.doctor.keychain import check_keychain
from yarddesk.service.doctor.port import check_port
from yarddesk.service.doctor.running import Running, ask_instance, check_queue
from yarddesk.service.doctor.settings import check_settings
from yarddesk.service.doctor.upstreams import check_upstreams
from yarddesk.settings.loader import LoadedSettings
from yarddesk.settings.model import Settings


@dataclass(frozen=True, slots=True)
class Examination:
    """What was found, who runs, and the credentials that were met on the way."""

    findings: tuple[Finding, ...]
    running: Running | None
    credentials: tuple[Credential, ...]


async def examine(loaded: LoadedSettings) -> Examination:
    """Takes no lock and changes nothing. Raises SettingsError for what no start could use."""
    settings = loaded.settings
    refuse_s3(settings)
    running, instance = await asyncio.to_thread(ask_instance, settings)
    async with Accounts() as accounts:
        local, ((keychain, upstreams), credentials), engines = await asyncio.gather(
            asyncio.to_thread(_local, loaded, running),
            _remote(settings, accounts, running),
            check_engines(settings, running),
        )
    before, after = local
    findings = (*before, instance, *after, keychain, *upstreams, *engines)
    return Examination(findings, running, tuple(credentials))


def _local(loaded: LoadedSettings, running: Running | None) -> tuple[list[Finding], list[Finding]]:
    """What is looked at here alone: before who runs is told of, and after."""
    settings = loaded.settings
    return list(check_settings(loaded)), [
        *check_port(settings.server, running),
        *check_data_folder(settings),
        *check_queue(running, settings, SystemClock().now()),
    ]


async def _remote(
    settings: Settings, accounts: Accounts, running: Running | None
) -> tuple[tuple[Finding, list[Finding]], list[Credential]]:
    keychain, error = await check_keychain(accounts)
    upstreams, credentials = await check_upstreams(settings, accounts, error, running)
    return (keychain, list(upstreams)), list(credentials)
