"""The loop of the desktop app, and how to run it."""

import asyncio
import logging
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

from PySide6.QtWidgets import QApplication

from yarddesk.desktop.loop_delay import DelayReport, LoopDelay
from yarddesk.desktop.loop_descriptor import DescriptorLoop
from yarddesk.desktop.loop_garbage import GarbageHere
from yarddesk.desktop.loop_queue import QueueLoop

__all__ = ["DelayReport", "DesktopLoop", "LoopDelay", "run"]

logger = logging.getLogger(__name__)

T = TypeVar("T")

DesktopLoop: type[QueueLoop] = DescriptorLoop if hasattr(selectors.DefaultSelector, "fileno") else QueueLoop
"""The quickest loop for this system: `DescriptorLoop` with epoll or kqueue, else `QueueLoop` (Windows: qasync's IOCP)."""


def run(main: Coroutine[Any, Any, T], app: QApplication) -> T:
    """Run `main` on a new loop inside `app`'s and return what it returns, or raise what it raises.

    When it has ended, the tasks it left are cancelled and waited for, asynchronous generators and the default
    executor's threads are ended, and the loop is closed. Until then garbage is collected in this thread alone. When Qt
    quits first (`QApplication.exit`), `main` is cancelled and Qt runs on until it has cleaned up;
    `asyncio.CancelledError` is raised where it lets that pass.
    """
    loop = DesktopLoop(app)
    with GarbageHere() as garbage:
        loop.after_turn = garbage.collect_if_due
        return _run_and_close(loop, main)


def _run_and_close(loop: QueueLoop, main: Coroutine[Any, Any, T]) -> T:
    try:
        asyncio.set_event_loop(loop)  # for libraries that ask before the loop runs
        task = loop.create_task(_main_then_clean_up(main), name="main")
        task.add_done_callback(lambda _: loop.stop())
        escaped: BaseException | None = None
        while not task.done():
            try:
                loop.run_forever()
            except (SystemExit, KeyboardInterrupt) as raised:
                escaped = raised
            if not task.done() and not task.cancelling():
                logger.info("Qt quits while the main task runs: cancelling it")
                task.cancel()
        if escaped is not None:
            task.cancelled() or task.exception()  # looked at, so that it isn't reported as forgotten
            raise escaped
        return task.result()
    finally:
        asyncio.set_event_loop(None)
        loop.close()


async def _main_then_clean_up(main: Coroutine[Any, Any, T]) -> T:
    # One coroutine for both, so that Qt's exec() is entered, and `aboutToQuit` sent, once.
    try:
        return await main
    finally:
        await _clean_up()


async def _clean_up() -> None:
    loop = asyncio.get_running_loop()
    remaining = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in remaining:
        task.cancel()
    await asyncio.gather(*remaining, return_exceptions=True)
    for task in remaining:
        if not task.cancelled() and task.exception() is not None:
            context = {"message": "A task failed while it was cancelled", "exception": task.exception(), "task": task}
            loop.call_exception_handler(context)
    await loop.shutdown_asyncgens()
    await loop.shutdown_default_executor()
