"""`yarddesk serve`: a yard without a window, until a signal ends it."""

import asyncio
import signal

from yarddesk.service.leaving import last_yard
from yarddesk.service.memory import settle_memory
from yarddesk.service.reload import SettingsSource
from yarddesk.settings.model import Settings


async def serve_until_stopped(settings: Settings, source: SettingsSource) -> None:
    """Run until SIGTERM or SIGINT. Raises YarddeskError where it can't start, CancelledError where a signal comes before it did."""
    stopped = asyncio.Event()
    is_open = False
    loop, starting = asyncio.get_running_loop(), asyncio.current_task()
    assert starting is not None

    def stop() -> None:
        stopped.set()
        if not is_open:
            starting.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        try:
            loop.add_signal_handler(number, stop)
        except NotImplementedError:  # Windows' loop has no signal handlers
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(stop))
    async with last_yard(settings, source):
        is_open = True
        settle_memory()
        await stopped.wait()
