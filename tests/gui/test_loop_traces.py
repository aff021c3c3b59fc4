"""The same script leaves the same trace on asyncio's own loop and on ours."""

import asyncio
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PySide6.QtWidgets import QApplication

from tests.gui.loops import LOOPS, closing
from yarddesk.desktop.loop_queue import QueueLoop


class Soon(NamedTuple):
    then: tuple["Step", ...]


class Later(NamedTuple):
    milliseconds: int
    then: tuple["Step", ...]


class Task(NamedTuple):
    yields: int
    then: tuple["Step", ...]


class Cancel(NamedTuple):
    which: int  # of the handles made so far, from the end


class Fail(NamedTuple):
    pass


Step = Soon | Later | Task | Cancel | Fail


def scripts() -> st.SearchStrategy[tuple[Step, ...]]:
    leaves = st.one_of(st.builds(Cancel, st.integers(0, 5)), st.builds(Fail), st.builds(Soon, st.just(())))

    def grow(steps: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        then = st.lists(steps, max_size=4).map(tuple)
        return st.one_of(
            st.builds(Soon, then),
            st.builds(Later, st.sampled_from([0, 3, 6]), then),
            st.builds(Task, st.integers(0, 3), then),
        )

    return st.lists(st.recursive(leaves, grow, max_leaves=12), min_size=1, max_size=6).map(tuple)


def play(loop: asyncio.AbstractEventLoop, script: tuple[Step, ...]) -> list[str]:
    """Perform `script` on `loop`; what happened, in order.

    A millisecond passes with each round of callbacks and not otherwise, so that no timer depends on the machine.
    """
    trace: list[str] = []
    handles: list[asyncio.Handle | asyncio.Task[None]] = []
    called: set[str] = set()
    names: dict[asyncio.Handle, str] = {}
    now = 1000.0
    pending = 0
    made = 0

    def perform(name: str, steps: tuple[Step, ...]) -> None:
        nonlocal pending, made
        for step in steps:
            made += 1
            label = str(made)
            match step:
                case Soon(then):
                    pending += 1
                    handle = loop.call_soon(call, label, then)
                    names[handle] = label
                    handles.append(handle)
                case Later(milliseconds, then):
                    pending += 1
                    when = now + milliseconds / 1000 + made * 1e-8  # no two the same: their order would be undefined
                    handle = loop.call_at(when, call, label, then)
                    names[handle] = label
                    handles.append(handle)
                case Task(yields, then):
                    pending += 1
                    task = loop.create_task(work(label, yields, then))
                    task.add_done_callback(finish)
                    handles.append(task)
                case Cancel(which) if handles:
                    cancel(handles[-1 - which % len(handles)])
                case Fail():
                    trace.append(f"{name} fails")
                    raise LookupError(label)

    def cancel(handle: asyncio.Handle | asyncio.Task[None]) -> None:
        nonlocal pending
        trace.append("cancel")
        if isinstance(handle, asyncio.Task):
            handle.cancel()
        elif not handle.cancelled() and names[handle] not in called:
            pending -= 1
            handle.cancel()

    def call(name: str, steps: tuple[Step, ...]) -> None:
        nonlocal pending
        called.add(name)
        pending -= 1
        trace.append(name)
        perform(name, steps)

    async def work(name: str, yields: int, steps: tuple[Step, ...]) -> None:
        for number in range(yields):
            trace.append(f"{name} step {number}")
            await asyncio.sleep(0)
        trace.append(f"{name} ends")
        perform(name, steps)

    def finish(task: asyncio.Task[None]) -> None:
        nonlocal pending
        pending -= 1
        trace.append("cancelled" if task.cancelled() else f"done {task.exception()!r}")

    def pass_time() -> None:
        nonlocal now
        now += 0.001
        if pending:
            loop.call_soon(pass_time)
        else:
            loop.stop()

    loop.time = lambda: now  # type: ignore[method-assign]
    loop.set_exception_handler(lambda _, context: trace.append(f"handled {context.get('exception')!r}"))
    loop.call_soon(perform, "script", script)
    loop.call_soon(pass_time)
    loop.run_forever()
    return trace


@pytest.mark.parametrize("kind", LOOPS)
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(script=scripts(), slice_seconds=st.sampled_from([0.0, 0.00001, 1.0]))
def test_scripts_run_as_on_asyncios_loop(
    kind: type[QueueLoop], qapp: QApplication, script: tuple[Step, ...], slice_seconds: float
):
    with closing(asyncio.SelectorEventLoop) as theirs, closing(lambda: kind(qapp, slice_seconds)) as ours:
        assert play(ours, script) == play(theirs, script)
