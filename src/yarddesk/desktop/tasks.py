"""Coroutines that slots start: each has an owner, and what goes wrong in one is told to the person."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from PySide6.QtCore import QObject, Signal

from yarddesk.errors import YarddeskError

T = TypeVar("T")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Failure:
    """What to tell the person: `title` says what did not work, `hint` what to do, `details` the whole answer."""

    title: str
    hint: str = ""
    details: str = ""


class Tasks(QObject):
    """Holds on to every task until it ends (the loop itself keeps weak references), and cancels the rest on `close`."""

    failed = Signal(object)
    """A Failure that nobody else took."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._running: set[asyncio.Task[None]] = set()
        self._closed = False

    def spawn(
        self,
        coroutine: Coroutine[Any, Any, T],
        *,
        what: str,
        done: Callable[[T], None] | None = None,
        failed: Callable[[YarddeskError], None] | None = None,
    ) -> None:
        """Run a coroutine from a slot. `what` begins the sentence when it fails: “Pausing the queue”.

        `done` is called with its result; `failed`, where given, takes its YarddeskError in place of the signal.
        """
        if self._closed:
            coroutine.close()
            return
        task = asyncio.get_running_loop().create_task(self._run(coroutine, what, done, failed), name=what)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        # Cancelled before its first step, the task has not touched the coroutine; else this does nothing.
        task.add_done_callback(lambda _: coroutine.close())

    @property
    def count(self) -> int:
        return len(self._running)

    async def close(self) -> None:
        """Cancel what still runs and wait for it."""
        self._closed = True
        running = tuple(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def _run(
        self,
        coroutine: Coroutine[Any, Any, T],
        what: str,
        done: Callable[[T], None] | None,
        failed: Callable[[YarddeskError], None] | None,
    ) -> None:
        try:
            result = await coroutine
            if done is not None:
                done(result)
        except YarddeskError as error:
            logger.warning("%s failed: %s", what, error)
            if failed is not None:
                failed(error)
            else:
                self.failed.emit(failure_of(error, what))
        except Exception as error:
            logger.exception("%s failed", what)
            self.failed.emit(
                Failure(
                    title=f"{what} did not work: yarddesk itself made a mistake.",
                    hint="The log has the details; a report of it would help.",
                    details=f"{type(error).__name__}: {error}",
                )
            )


def failure_of(error: YarddeskError, what: str) -> Failure:
    """The error in words for the window."""
    return Failure(
        title=f"{what} did not work. {error.title}",
        hint=error.hint,
        details="\n\n".join(part for part in (error.title, error.message, error.hint) if part),
    )
