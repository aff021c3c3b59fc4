"""That an instance runs, said in its data folder for the commands and for a second start: also where the disk is full."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from yarddesk.content.credentials import Secret
from yarddesk.content.errors import StorageError
from yarddesk.content.threads import in_thread_to_the_end
from yarddesk.control.instance import announce, withdraw
from yarddesk.storage.durable import is_full, storage_error
from yarddesk.storage.lock import InstanceLock
from yarddesk.storage.reserve import give_up_reserve, hold_reserve

_log = logging.getLogger(__name__)

_AGAIN_SECONDS: Final = 1.0
_RESERVE_SECONDS: Final = 60.0


@asynccontextmanager
async def announced(data_dir: Path, url: str, token: Secret, lock: InstanceLock) -> AsyncIterator[None]:
    """It's said inside. Where the disk has not even room for that, it's said as soon as it has."""
    keeping_up: asyncio.Task[None] | None = None
    try:
        said = await in_thread_to_the_end(_say, data_dir, url, token, lock)
        if not said:
            _log.error(
                "the disk of %s is full: what is stored is served, but no command finds this instance, and pushes are refused, "
                "until there is room",
                data_dir,
            )
        keeping_up = asyncio.create_task(_keep_up(data_dir, url, token, lock, said=said), name="announcement")
        yield
    finally:
        if keeping_up is not None:
            keeping_up.cancel()
            await asyncio.wait([keeping_up])
        await in_thread_to_the_end(_withdraw, data_dir)


async def _keep_up(data_dir: Path, url: str, token: Secret, lock: InstanceLock, *, said: bool) -> None:
    while not said:
        await asyncio.sleep(_AGAIN_SECONDS)
        try:
            said = await in_thread_to_the_end(_say, data_dir, url, token, lock)
        except StorageError as error:
            _log.error("no command finds this instance yet: %s", error)
    while True:
        await asyncio.sleep(_RESERVE_SECONDS)
        await in_thread_to_the_end(_hold_reserve, data_dir)


def _say(data_dir: Path, url: str, token: Secret, lock: InstanceLock) -> bool:
    """False where the disk has no room for it. There is a reserve afterwards, where there is room for that."""
    while True:
        try:
            announce(data_dir, url, token)
            lock.announce(url)
        except OSError as error:
            if not is_full(error):
                raise storage_error(error, str(data_dir)) from error
            if not give_up_reserve(data_dir):
                return False
        else:
            _hold_reserve(data_dir)
            return True


def _withdraw(data_dir: Path) -> None:
    try:
        withdraw(data_dir)
    except OSError as error:  # the disk fails, or is read-only by now: we end all the same
        _log.warning("%s still says that this instance runs: %s", data_dir, error.strerror or error)


def _hold_reserve(data_dir: Path) -> None:
    try:
        hold_reserve(data_dir)
    except OSError as error:
        if not is_full(error):
            _log.warning("no room is kept in %s for a start on a full disk: %s", data_dir, error.strerror or error)
