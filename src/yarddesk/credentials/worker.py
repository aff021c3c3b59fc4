"""A thread for calls that may hang for ever, and the patience that callers have with it."""

import asyncio
import queue
import threading
import time
from collections.abc import Callable
from typing import Final, TypeVar

from yarddesk.content.credentials import CredentialUnavailable

T = TypeVar("T")

_GIVEN_UP_SECONDS: Final = 120.0
_Call = tuple[Callable[[], object], asyncio.AbstractEventLoop, "asyncio.Future[object]"]


class PatientThread:
    """Runs calls one after another in one thread. While one hangs, others fail at once in place of queueing behind it.

    A call that hangs for minutes is given up, and the next gets a new thread: an unanswered prompt must not end sign-in for
    good. The threads are daemons, so that none of them keeps the process from ending.
    """

    def __init__(self, name: str, limit_seconds: float, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._name = name
        self._limit = limit_seconds
        self._monotonic = monotonic
        self._calls: queue.SimpleQueue[_Call | None] | None = None
        self._hanging_since: float | None = None

    async def run(self, call: Callable[[], T]) -> T:
        """What `call` gives or raises. Raises CredentialUnavailable when it takes longer than the limit."""
        if self._hanging_since is not None:
            if self._monotonic() - self._hanging_since < _GIVEN_UP_SECONDS:
                raise self._silent()
            self.close()
        calls = self._calls or self._start()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[object] = loop.create_future()
        calls.put((call, loop, future))
        try:
            async with asyncio.timeout(self._limit):
                result = await asyncio.shield(future)
        except TimeoutError as error:
            if future.done() and not future.cancelled() and future.exception() is error:
                raise
            self._hang(future)
            raise self._silent() from None
        except asyncio.CancelledError:
            future.add_done_callback(_seen)
            raise
        return result  # type: ignore[return-value]  # what the call gave

    def close(self) -> None:
        """End the thread once its calls are done; a later call starts another."""
        if self._calls is not None:
            self._calls.put(None)
        self._calls = None
        self._hanging_since = None

    def _start(self) -> "queue.SimpleQueue[_Call | None]":
        self._calls = queue.SimpleQueue()
        threading.Thread(target=_work, args=(self._calls,), name=self._name, daemon=True).start()
        return self._calls

    def _hang(self, future: "asyncio.Future[object]") -> None:
        self._hanging_since = self._monotonic()
        calls = self._calls

        def answered(done: "asyncio.Future[object]") -> None:
            _seen(done)
            if self._calls is calls:
                self._hanging_since = None

        future.add_done_callback(answered)

    def _silent(self) -> CredentialUnavailable:
        return CredentialUnavailable(
            "The keychain gives no answer.",
            f"It was asked for {self._limit:g} s: it may wait for somebody to unlock it.",
            hint="Unlock the keychain, and try again.",
        )


def _work(calls: "queue.SimpleQueue[_Call | None]") -> None:
    while (entry := calls.get()) is not None:
        call, loop, future = entry
        try:
            result, error = call(), None
        except Exception as raised:  # noqa: BLE001 - handed to whoever awaits the call
            result, error = None, raised
        try:
            loop.call_soon_threadsafe(_settle, future, result, error)
        except RuntimeError:
            return  # the loop is closed: nobody waits any more


def _settle(future: "asyncio.Future[object]", result: object, error: Exception | None) -> None:
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)


def _seen(future: "asyncio.Future[object]") -> None:
    """Nobody waits for it any more, so its error must not be reported as forgotten."""
    if not future.cancelled():
        future.exception()
