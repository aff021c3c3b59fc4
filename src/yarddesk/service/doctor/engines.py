"""Which container engines are here, and how they stand to our address."""

import asyncio
from collections.abc import Sequence
from typing import Final

from yarddesk.engines import ContainerEngine, EngineEnvironment, EngineStatus, RegistryAddress, SetupState, detect
from yarddesk.service.addresses import ENGINE_STATE, engine_address, engine_address_of_url
from yarddesk.service.doctor.finding import Finding, ok, warning
from yarddesk.service.doctor.running import Running
from yarddesk.settings.model import Settings

_CHECK: Final = "engine"
_LIMIT_SECONDS: Final = 20.0


async def check_engines(settings: Settings, running: Running | None) -> Sequence[Finding]:
    """All at once; reads alone."""
    address = engine_address_of_url(running.instance.url) if running is not None else engine_address(settings.server)
    engines = detect(EngineEnvironment.current(), settings.data_dir / ENGINE_STATE)
    found = await asyncio.gather(*(_look_at(engine, address) for engine in engines))
    findings = [finding for finding in found if finding is not None]
    return findings or [ok(_CHECK, "", "No container engine that could be set up is here.")]


async def _look_at(engine: ContainerEngine, address: RegistryAddress) -> Finding | None:
    try:
        async with asyncio.timeout(_LIMIT_SECONDS):
            status = await engine.status(address)
    except TimeoutError:
        hint = f"Ask {engine.title} itself whether it is well."
        return warning(_CHECK, engine.key, f"{engine.title} gave no answer for {_LIMIT_SECONDS:g} s.", hint)
    return _finding(status) if status.found else None


def _finding(status: EngineStatus) -> Finding | None:
    set_up = f"yarddesk setup {status.key}"
    if status.state is SetupState.SET_UP:
        return ok(_CHECK, status.key, status.sentence)
    if status.state is SetupState.BLOCKED:
        return warning(_CHECK, status.key, status.sentence, status.next_step or f"Then: {set_up}")
    if status.undoable:
        message = f"It was set up, and is no longer as that left it. {status.sentence}"
        return warning(_CHECK, status.key, message, f"Set it up again: {set_up}")
    if status.takes_address:
        return ok(_CHECK, status.key, status.sentence)
    return warning(_CHECK, status.key, status.sentence, f"Set it up: {set_up}")
