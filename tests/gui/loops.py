"""Running coroutines on the loops under test."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from PySide6.QtWidgets import QApplication

from yarddesk.desktop.loop_descriptor import DescriptorLoop
from yarddesk.desktop.loop_queue import QueueLoop

T = TypeVar("T")

LOOPS = [DescriptorLoop, QueueLoop]
"""The loop with one notifier for all sockets, and the one that leaves sockets to qasync."""


@contextmanager
def closing(make: Callable[[], asyncio.AbstractEventLoop]) -> Iterator[asyncio.AbstractEventLoop]:
    loop = make()
    try:
        yield loop
    finally:
        loop.close()


def run_on(kind: type[QueueLoop], app: QApplication, main: Coroutine[Any, Any, T], debug: bool = False) -> T:
    """Run `main` to its end on a new loop of `kind`, for 30 s at most."""
    with closing(lambda: kind(app)) as loop:
        loop.set_debug(debug)
        asyncio.set_event_loop(loop)
        try:
            return loop.run_until_complete(asyncio.wait_for(main, 30))
        finally:
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.run_until_complete(loop.shutdown_default_executor())
            asyncio.set_event_loop(None)
