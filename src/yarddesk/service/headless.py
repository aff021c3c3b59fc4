"""`yarddesk serve`: a yard without a window, until a signal ends it."""

import asyncio
import signal

from yarddesk.service.leaving import last_yard
from yarddesk.service.memory import settle_memory
from yarddesk.service.reload import SettingsSource
from yarddesk.settings.model import Settings


async def serve_until_stopped(settings: Settings, source: SettingsSource) -> None:
    """Run until SIGTERM or SIGINT. Raises YarddeskError where it can't start."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        try:
            loop.add_signal_handler(number, stopped.set)
        except NotImplementedError:  # Windows' loop has no signal handlers
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(stopped.set))
    async with last_yard(settings, source):
        settle_memory()
        await stopped.wait()
