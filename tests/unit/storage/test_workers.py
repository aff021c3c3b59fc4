"""Threads whose results come back to a loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from yarddesk.storage.workers import Workers

MOST = 3


@pytest.fixture
def workers() -> Iterator[Workers]:
    made = Workers(MOST, "test-workers")
    yield made
    made.close()


def threads() -> set[str]:
    return {thread.name for thread in threading.enumerate() if thread.name.startswith("test-workers")}


async def test_each_caller_gets_what_its_own_work_gave(workers: Workers) -> None:
    numbers = range(500)
    assert await asyncio.gather(*(workers.run(pow, number, 2) for number in numbers)) == [n * n for n in numbers]


async def test_what_the_work_raises_is_raised_where_it_is_awaited(workers: Workers) -> None:
    with pytest.raises(ZeroDivisionError):
        await workers.run(divmod, 1, 0)
    assert await workers.run(divmod, 7, 2) == (3, 1)


async def test_as_many_run_at_once_as_there_are_threads_and_no_more(workers: Workers) -> None:
    together = threading.Barrier(MOST)
    running = [0]
    most = [0]
    lock = threading.Lock()

    def work() -> None:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        together.wait(30)
        with lock:
            running[0] -= 1

    await asyncio.gather(*(workers.run(work) for _ in range(2 * MOST)))
    assert most[0] == MOST
    assert len(threads()) == MOST


async def test_one_thread_is_enough_for_work_that_comes_one_after_another(workers: Workers) -> None:
    for _ in range(50):
        await workers.run(threading.get_ident)
        # It's idle a moment after it has said what came of its work.
        while workers.idle < len(threads()):
            await asyncio.sleep(0)
    assert len(threads()) == 1


async def test_what_no_thread_has_begun_is_taken_back_by_a_cancellation(workers: Workers) -> None:
    free = threading.Event()
    busy = [asyncio.ensure_future(workers.run(free.wait, 30)) for _ in range(MOST)]
    done: list[int] = []
    waiting = asyncio.ensure_future(workers.run(done.append, 1))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    free.set()
    assert await asyncio.gather(*busy) == [True] * MOST
    await asyncio.to_thread(workers.close)
    assert done == []


async def test_what_has_begun_goes_on_when_its_caller_is_cancelled(workers: Workers) -> None:
    begun, free = threading.Event(), threading.Event()
    done: list[int] = []

    def work() -> None:
        begun.set()
        free.wait(30)
        done.append(1)

    running = asyncio.ensure_future(workers.run(work))
    await asyncio.to_thread(begun.wait, 30)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    free.set()
    await asyncio.to_thread(workers.close)
    assert done == [1]


async def test_where_the_system_gives_no_more_threads_those_that_are_there_do_it_all(
    workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await workers.run(threading.get_ident)

    def fail(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", fail)
        assert len(set(await asyncio.gather(*(workers.run(threading.get_ident) for _ in range(20))))) == 1
    together = threading.Barrier(MOST)
    await asyncio.gather(*(workers.run(together.wait, 30) for _ in range(MOST)))
    assert len(threads()) == MOST, "as soon as it gives some again"


async def test_without_any_thread_it_is_said_at_once(workers: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", fail)
        with pytest.raises(RuntimeError):
            await workers.run(threading.get_ident)
    assert await workers.run(divmod, 7, 2) == (3, 1)


async def test_closing_waits_for_all_that_was_asked_for_and_ends_the_threads(workers: Workers) -> None:
    done: list[int] = []
    asked = [asyncio.ensure_future(workers.run(done.append, number)) for number in range(100)]
    await asyncio.sleep(0)
    workers.close()
    assert sorted(done) == list(range(100))
    assert threads() == set()
    await asyncio.gather(*asked)
    with pytest.raises(RuntimeError):
        await workers.run(done.append, 1)


def test_work_that_outlives_its_loop_ends_without_a_word(workers: Workers) -> None:
    begun, free = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        free.wait(30)

    async def begin() -> None:
        running = asyncio.ensure_future(workers.run(work))
        await asyncio.to_thread(begun.wait, 30)
        running.cancel()

    asyncio.run(begin())
    free.set()
    workers.close()  # what a thread raised would fail the test
    assert threads() == set()
