"""How a set-up is proved, the same for every engine: a tiny image goes to the registry and comes back."""

import asyncio
import http.client
import logging
from collections.abc import Callable
from typing import TypeVar

from yarddesk.engines.model import Proof, RegistryAddress, Sweep
from yarddesk.engines.proof_image import PROOF_REPOSITORY, ProofImage, build_proof_image
from yarddesk.engines.registry_sweep import delete_from_registry
from yarddesk.errors import YarddeskError

_log = logging.getLogger(__name__)
T = TypeVar("T")

Carry = Callable[[ProofImage], tuple[float, float]]
"""Pushes and pulls the image through the engine and removes it there; blocks; gives both durations in seconds."""


async def to_its_end(function: Callable[[], T]) -> T:
    """Run something in a thread that must not be left half done: a cancellation waits for it before it rises."""
    running = asyncio.ensure_future(asyncio.to_thread(function))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        if not running.cancelled() and (error := running.exception()) is not None:
            _log.warning("cancelled, and it failed: %s", error)
        raise


async def prove(engine: str, address: RegistryAddress, carry: Carry, sweep: Sweep | None) -> Proof:
    """Carry an image there and back and clean up behind it. Raises ProofFailed, EngineError."""
    image = build_proof_image(address)
    try:
        push_seconds, pull_seconds = await to_its_end(lambda: carry(image))
    except BaseException:
        await _clean(address, image, sweep)
        raise
    note = await _clean(address, image, sweep)
    return Proof(engine, image.reference, push_seconds, pull_seconds, note)


async def _clean(address: RegistryAddress, image: ProofImage, sweep: Sweep | None) -> str:
    """Delete the image from the registry; a sentence where it stays, which is no reason to fail."""
    try:
        if sweep is not None:
            await sweep(str(PROOF_REPOSITORY), str(image.tag))
            return ""
        gone = await to_its_end(lambda: delete_from_registry(address, PROOF_REPOSITORY, image.tag))
    except (YarddeskError, OSError, http.client.HTTPException) as error:
        _log.info("%s could not be deleted: %s", image.reference, error)
        gone = False
    return "" if gone else f"The registry keeps it, as {PROOF_REPOSITORY}:{image.tag}."
