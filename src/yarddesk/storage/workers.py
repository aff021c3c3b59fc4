"""Threads whose results come back to a loop: with fewer locks and wake-ups than an executor's, as there are three hops to a small layer."""

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Final, TypeVar

Result = TypeVar("Result")

_Outcome = tuple["asyncio.Future[object]", object, BaseException | None]


class Workers:
    """At most so many threads, started when they are needed. For one loop; `submit` for any thread."""

    def __init__(self, most: int, name: str) -> None:
        self._most: Final = most
        self._name: Final = name
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._free = 0  # threads beyond the jobs that are there; below zero: jobs that wait for one
        self._closed = False
        self._ended: deque[_Outcome] = deque()
        self._is_told = False

    @property
    def idle(self) -> int:
        """How many threads wait for something to do."""
        return max(0, self._free)

    def submit(self, job: Callable[[], None]) -> None:
        """Have a thread call `job`, which raises nothing."""
        with self._lock:
            if self._closed:
                raise RuntimeError("the threads have ended")
            if self._free <= 0 and len(self._threads) < self._most:
                self._begin_thread()
            self._free -= 1
            self._jobs.put(job)  # still with the lock: after `close` no thread would come to it

    async def run(self, work: Callable[..., Result], *arguments: object) -> Result:
        """What `work` gives or raises. A caller that is cancelled takes it back as long as no thread has begun it."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[object] = loop.create_future()

        def job() -> None:
            if not future.cancelled():
                self._ended.append((future, *_outcome(work, arguments)))
                # Whoever ends after us and before the loop has looked need not tell it once more.
                if not self._is_told:
                    self._is_told = True
                    with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                        loop.call_soon_threadsafe(self._settle)

        self.submit(job)
        return await future  # type: ignore[return-value]  # what the work gave

    def close(self) -> None:
        """Blocks until all that was asked for is done and every thread has ended."""
        with self._lock:
            self._closed = True
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join()

    def _begin_thread(self) -> None:
        # Daemons: what has begun is waited for by `close`, and a process that never comes to that ends all the same.
        thread = threading.Thread(target=self._work, name=f"{self._name}_{len(self._threads)}", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the system has no more of them: those that are there come to it
            if not self._threads:
                raise
        else:
            self._threads.append(thread)
            self._free += 1

    def _settle(self) -> None:
        self._is_told = False  # first: what ends from now on may not be seen below
        while self._ended:
            future, result, error = self._ended.popleft()
            if future.done():
                continue  # cancelled meanwhile
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(result)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()
            del job  # what it refers to must not wait for the next one
            with self._lock:
                self._free += 1


def _outcome(work: Callable[..., object], arguments: tuple[object, ...]) -> tuple[object, BaseException | None]:
    try:
        return work(*arguments), None
    except BaseException as error:  # noqa: BLE001 - raised again where it's awaited
        return None, error
