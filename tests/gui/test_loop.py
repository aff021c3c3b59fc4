"""The loop calls back what was asked, when it was asked, in asyncio's order."""

import asyncio
import contextvars
import gc
import logging
import math
import os
import queue
import sys
import threading
import time
import weakref
from collections.abc import AsyncIterator
from typing import Any

import pytest
from PySide6.QtCore import QEventLoop, QTimer
from PySide6.QtWidgets import QApplication

from tests.gui.loops import LOOPS, closing, run_on
from tests.support.descriptors import open_descriptors, opened_since
from yarddesk.desktop.loop import DesktopLoop
from yarddesk.desktop.loop_descriptor import DescriptorLoop
from yarddesk.desktop.loop_queue import QueueLoop

pytestmark = pytest.mark.parametrize("kind", LOOPS)


@pytest.fixture
def loop(kind: type[QueueLoop], qapp: QApplication):
    with closing(lambda: kind(qapp)) as loop:
        yield loop


def run_ready(loop: asyncio.AbstractEventLoop) -> None:
    """Run what is ready, as asyncio does when stop() was called before it runs."""
    loop.stop()
    loop.run_forever()


def test_linux_has_the_loop_with_one_notifier(kind):
    assert DesktopLoop is DescriptorLoop


def test_callbacks_run_in_the_order_they_were_asked_for(loop):
    seen: list[int] = []
    for number in range(1000):
        loop.call_soon(seen.append, number)
    run_ready(loop)
    assert seen == list(range(1000))


def test_a_callback_asked_for_by_a_callback_comes_after_those_that_wait(loop):
    seen: list[str] = []

    def first() -> None:
        seen.append("first")
        loop.call_soon(seen.append, "third")
        loop.call_soon(loop.stop)

    loop.call_soon(first)
    loop.call_soon(seen.append, "second")
    loop.run_forever()
    assert seen == ["first", "second", "third"]


def test_stop_lets_ready_callbacks_run_and_leaves_later_ones_for_the_next_run(loop):
    seen: list[str] = []

    def ready() -> None:
        seen.append("ready")
        loop.call_soon(seen.append, "later")

    loop.call_soon(loop.stop)
    loop.call_soon(ready)
    loop.run_forever()
    assert seen == ["ready"]
    run_ready(loop)
    assert seen == ["ready", "later"]


def test_a_cancelled_callback_is_not_called(loop):
    seen: list[str] = []
    cancelled = loop.call_soon(seen.append, "cancelled")
    loop.call_soon(seen.append, "kept")
    cancelled.cancel()
    run_ready(loop)
    assert seen == ["kept"]


def test_a_callback_can_cancel_the_next_one(loop):
    seen: list[str] = []
    following: asyncio.Handle
    loop.call_soon(lambda: following.cancel())
    following = loop.call_soon(seen.append, "cancelled")
    run_ready(loop)
    assert seen == []


def test_callbacks_keep_the_context_they_were_asked_in(loop):
    who = contextvars.ContextVar("who", default="nobody")
    seen: list[str] = []
    other = contextvars.copy_context()
    other.run(who.set, "other")
    who.set("me")
    loop.call_soon(lambda: seen.append(who.get()))
    loop.call_soon(lambda: seen.append(who.get()), context=other)
    loop.call_soon_threadsafe(lambda: seen.append(who.get()), context=other)
    loop.call_later(0, lambda: seen.append(who.get()), context=other)
    loop.call_later(0.01, loop.stop)
    who.set("later")
    loop.run_forever()
    assert seen == ["me", "other", "other", "other"]


def test_an_exception_goes_to_the_exception_handler_and_the_loop_goes_on(loop):
    reports: list[dict[str, Any]] = []
    seen: list[str] = []
    loop.set_exception_handler(lambda _, context: reports.append(context))
    loop.call_soon(lambda: 1 / 0)
    loop.call_soon(seen.append, "after")
    run_ready(loop)
    assert seen == ["after"]
    assert isinstance(reports[0]["exception"], ZeroDivisionError)


def test_without_an_exception_handler_the_exception_is_logged(loop, caplog):
    loop.call_soon(lambda: 1 / 0)
    run_ready(loop)
    assert "ZeroDivisionError" in caplog.text


def test_a_failing_exception_handler_is_logged(loop, caplog):
    loop.set_exception_handler(lambda *_: [][0])
    loop.call_soon(lambda: 1 / 0)
    run_ready(loop)
    assert "Unhandled error in exception handler" in caplog.text


@pytest.mark.parametrize("kind_of_end", [SystemExit, KeyboardInterrupt])
def test_what_ends_a_program_is_raised_where_the_loop_was_started(loop, kind_of_end):
    seen: list[str] = []

    def end() -> None:
        raise kind_of_end(7)

    loop.call_soon(end)
    loop.call_soon(seen.append, "kept for the next run")
    with pytest.raises(kind_of_end):
        loop.run_forever()
    assert not loop.is_running()
    run_ready(loop)
    assert seen == ["kept for the next run"]


def test_later_callbacks_come_in_the_order_of_their_times_and_never_early(loop):
    seen: list[tuple[int, float]] = []
    began = loop.time()
    for milliseconds in (30, 10, 20, 1, 0):
        # Not `call_later`, which begins to count anew at each: on a slow machine their times could be in another order.
        loop.call_at(began + milliseconds / 1000, lambda ms=milliseconds: seen.append((ms, loop.time() - began)))
    loop.call_at(began + 0.04, loop.stop)
    loop.run_forever()
    assert [ms for ms, _ in seen] == [0, 1, 10, 20, 30]
    assert all(elapsed >= ms / 1000 for ms, elapsed in seen)


def test_a_timer_set_from_a_qt_slot_while_the_loop_sleeps_is_kept(loop):
    QTimer.singleShot(20, lambda: loop.call_later(0.01, loop.stop))
    loop.call_later(30, lambda: pytest.fail("the far deadline was waited for"))
    began = time.monotonic()
    loop.run_forever()
    assert time.monotonic() - began < 5


def test_call_soon_from_a_qt_slot_while_the_loop_sleeps_is_run(loop):
    QTimer.singleShot(20, lambda: loop.call_soon(loop.stop))
    loop.run_forever()


def test_a_cancelled_timer_does_not_fire(loop):
    seen: list[str] = []
    timer = loop.call_later(0.01, seen.append, "cancelled")
    loop.call_later(0.03, loop.stop)
    loop.call_soon(timer.cancel)
    loop.run_forever()
    assert seen == []
    assert timer.cancelled()


def test_cancelled_timers_do_not_pile_up(loop):
    class Payload:
        pass

    async def set_and_cancel() -> int:
        alive: weakref.WeakSet[Payload] = weakref.WeakSet()
        loop.call_later(3600, lambda: None).cancel()
        for _ in range(100):
            for _ in range(100):
                payload = Payload()
                alive.add(payload)
                loop.call_later(3600, id, payload).cancel()
            await asyncio.sleep(0)
        del payload
        await asyncio.sleep(0)
        gc.collect()
        return len(alive)

    assert loop.run_until_complete(set_and_cancel()) <= 100


def test_a_timer_without_end_or_far_away_is_fine(loop):
    loop.call_later(10**7, lambda: None)
    loop.call_at(math.inf, lambda: None)
    loop.call_later(0.01, loop.stop)
    loop.run_forever()


def test_threads_can_call_back_while_the_loop_sleeps(loop):
    main_thread = threading.get_ident()

    async def answered_in() -> float:
        longest = 0.0
        for _ in range(200):
            future = loop.create_future()
            thread = threading.Thread(target=loop.call_soon_threadsafe, args=(answer, future))
            began = time.monotonic()
            thread.start()
            await future
            longest = max(longest, time.monotonic() - began)
            thread.join()
        return longest

    def answer(future: asyncio.Future[None]) -> None:
        assert threading.get_ident() == main_thread
        future.set_result(None)

    assert loop.run_until_complete(answered_in()) < 1


def test_threads_that_call_back_all_at_once_lose_nothing_and_keep_their_order(loop):
    threads, calls = 16, 2000
    seen: dict[int, list[int]] = {number: [] for number in range(threads)}
    left = threads * calls

    def count(thread: int, call: int) -> None:
        nonlocal left
        seen[thread].append(call)
        left -= 1
        if not left:
            loop.stop()

    def call_back(thread: int) -> None:
        for call in range(calls):
            loop.call_soon_threadsafe(count, thread, call)
            if call % 100 == 0:
                os.sched_yield()

    running = [threading.Thread(target=call_back, args=(number,)) for number in range(threads)]
    for thread in running:
        thread.start()
    loop.run_forever()
    for thread in running:
        thread.join()
    assert all(calls_seen == list(range(calls)) for calls_seen in seen.values())


def test_no_wake_up_is_lost_when_threads_answer_just_as_the_loop_goes_to_sleep(loop):
    answers = 5000

    async def ping() -> None:
        questions: queue.SimpleQueue[asyncio.Future[None] | None] = queue.SimpleQueue()

        def answer() -> None:
            while (future := questions.get()) is not None:
                loop.call_soon_threadsafe(future.set_result, None)

        thread = threading.Thread(target=answer)
        thread.start()
        for _ in range(answers):
            future = loop.create_future()
            questions.put(future)
            await future
        questions.put(None)
        thread.join()

    async def pings() -> None:
        await asyncio.wait_for(asyncio.gather(ping(), ping()), 60)

    switching = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # threads take turns in the midst of everything
    try:
        loop.run_until_complete(pings())
    finally:
        sys.setswitchinterval(switching)


def test_the_executor_is_asyncios(loop):
    name = loop.run_until_complete(loop.run_in_executor(None, lambda: threading.current_thread().name))
    assert name.startswith("asyncio_")
    loop.run_until_complete(loop.shutdown_default_executor())


def test_an_executors_exception_reaches_the_awaiter(loop):
    with pytest.raises(ValueError, match="invalid literal"):
        loop.run_until_complete(loop.run_in_executor(None, int, "x"))
    loop.run_until_complete(loop.shutdown_default_executor())


def test_debug_mode_refuses_call_soon_from_another_thread(kind, qapp):
    async def from_another_thread() -> None:
        await asyncio.to_thread(asyncio.get_running_loop().call_soon, print)

    with pytest.raises(RuntimeError, match="Non-thread-safe"):
        run_on(kind, qapp, from_another_thread(), debug=True)


def test_debug_mode_refuses_a_coroutine_function_as_callback(loop):
    async def coroutine() -> None:
        """Never called."""

    loop.set_debug(True)
    for schedule in (loop.call_soon, loop.call_soon_threadsafe, lambda callback: loop.call_later(1, callback)):
        with pytest.raises(TypeError, match="coroutines cannot be used"):
            schedule(coroutine)


def test_debug_mode_names_slow_callbacks(loop, caplog):
    async def slow_step() -> None:
        end = time.monotonic() + 0.02
        while time.monotonic() < end:
            pass

    loop.set_debug(True)
    loop.slow_callback_duration = 0.01
    with caplog.at_level(logging.WARNING):
        loop.run_until_complete(slow_step())
    assert "slow_step" in caplog.text
    assert " took " in caplog.text


def test_debug_mode_remembers_where_a_callback_was_asked_for(loop):
    reports: list[dict[str, Any]] = []
    loop.set_debug(True)
    loop.set_exception_handler(lambda _, context: reports.append(context))
    for handle in (loop.call_soon(lambda: 1 / 0), loop.call_later(0, lambda: 1 / 0)):
        assert "loop.call_soon(lambda" in handle._source_traceback[-1].line
    loop.call_later(0.01, loop.stop)
    loop.run_forever()
    assert all("source_traceback" in report for report in reports)
    assert len(reports) == 2


def test_a_running_loop_can_be_asked_for_in_a_qt_slot(kind, qapp):
    async def main() -> str:
        future: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        async def work() -> None:
            future.set_result("done")

        tasks = []
        QTimer.singleShot(0, lambda: tasks.append(asyncio.get_running_loop().create_task(work())))
        return await future

    assert run_on(kind, qapp, main()) == "done"


def test_a_loop_can_run_again_but_not_twice_at_once(loop):
    async def nested() -> None:
        with pytest.raises(RuntimeError, match="already running"):
            loop.run_forever()
        assert loop.is_running()

    loop.run_until_complete(nested())
    loop.run_until_complete(nested())
    assert not loop.is_running()


def test_a_closed_loop_takes_no_callbacks(loop):
    loop.close()
    assert loop.is_closed()
    for schedule in (loop.call_soon, loop.call_soon_threadsafe):
        with pytest.raises(RuntimeError, match="Event loop is closed"):
            schedule(print)
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        loop.call_later(1, print)


def test_a_running_loop_cannot_be_closed(kind, qapp):
    async def close() -> None:
        with pytest.raises(RuntimeError, match="Cannot close a running event loop"):
            asyncio.get_running_loop().close()
        await asyncio.sleep(0.01)

    run_on(kind, qapp, close())


def test_closed_loops_leave_nothing_behind(kind, qapp):
    async def use() -> None:
        await asyncio.sleep(0.001)
        await asyncio.to_thread(int)

    def make_and_close() -> weakref.ref[asyncio.AbstractEventLoop]:
        before = open_descriptors()
        run_on(kind, qapp, use())
        assert opened_since(before) == {}
        with closing(lambda: kind(qapp)) as loop:
            loop.run_until_complete(use())
            loop.run_until_complete(loop.shutdown_default_executor())
            return weakref.ref(loop)

    make_and_close()
    remains = [make_and_close() for _ in range(5)]
    gc.collect()
    assert [remain() for remain in remains] == [None] * 5


def test_asynchronous_generators_are_finalized(kind, qapp):
    ended: list[str] = []

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            await asyncio.sleep(0)
            ended.append("ended")

    async def leave_early() -> None:
        async for _ in numbers():
            break
        gc.collect()
        await asyncio.sleep(0.01)

    run_on(kind, qapp, leave_early())
    assert ended == ["ended"]


def test_a_nested_qt_loop_in_a_slot_keeps_tasks_going(loop):
    steps: list[int] = []

    def open_nested() -> None:
        nested = QEventLoop()
        QTimer.singleShot(60, nested.quit)
        before = len(steps)
        nested.exec()
        assert len(steps) > before
        loop.call_soon(loop.stop)

    async def step() -> None:
        while True:
            steps.append(1)
            await asyncio.sleep(0.001)

    task = loop.create_task(step())
    QTimer.singleShot(10, open_nested)
    loop.run_forever()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(task)


def test_a_nested_qt_loop_in_a_callback_suspends_tasks_and_breaks_none(loop):
    async def nest() -> float:
        read, write = os.pipe()
        loop.add_reader(read, os.read, read, 1)
        nested = QEventLoop()
        QTimer.singleShot(50, nested.quit)
        os.write(write, b"x")
        loop.call_soon_threadsafe(int)
        used = time.process_time()
        nested.exec()
        used = time.process_time() - used
        await asyncio.sleep(0.02)
        loop.remove_reader(read)
        os.close(read)
        os.close(write)
        return used

    async def other() -> None:
        for _ in range(100):
            await asyncio.sleep(0.001)

    async def both() -> float:
        used, _ = await asyncio.gather(nest(), other())
        return used

    assert loop.run_until_complete(both()) < 0.04
