"""The end of the process, when all that must be kept is kept."""

import os
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from yarddesk.service.opening import open_yard
from yarddesk.service.reload import SettingsSource
from yarddesk.service.yard import Yard
from yarddesk.settings.model import Settings

_CLOSE_SECONDS: Final = 4.5
"""Longer than any part of a yard takes to close; beyond that it hangs, and what it promised is on disk already."""
_LEAVE_SECONDS: Final = 0.5


@asynccontextmanager
async def last_yard(settings: Settings, source: SettingsSource) -> AsyncIterator[Yard]:
    """`open_yard` for a process that ends with it.

    Python waits at its end for threads that look up a name or read a dead disk, which can take long. Nothing in them
    matters any more once the yard is closed, so they are not waited for.
    """
    async with open_yard(settings, source) as yard:
        status = 1
        try:
            yield yard
            status = 0
        finally:
            _leave_after(_CLOSE_SECONDS, status)
    leave_soon(status)


def leave_soon(status: int) -> None:
    """Nothing is to be done any more: the process ends with this status, whatever its threads still wait for."""
    _leave_after(_LEAVE_SECONDS, status)


def _leave_after(seconds: float, status: int) -> None:
    end = threading.Timer(seconds, _leave, (status,))
    end.daemon = True
    end.start()


def _leave(status: int) -> None:
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    os._exit(status)
