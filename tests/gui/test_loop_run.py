"""`run`: a main coroutine inside Qt's loop, from its start to a clean end."""

import asyncio
import gc
import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator

import pytest
from PySide6.QtCore import QTimer
from PySide6.QtWidgets import QApplication

from yarddesk.desktop.loop import DesktopLoop, run


def test_what_main_returns_is_returned_and_the_loop_is_closed(qapp: QApplication) -> None:
    async def main() -> asyncio.AbstractEventLoop:
        await asyncio.sleep(0.01)
        return asyncio.get_running_loop()

    loop = run(main(), qapp)
    assert isinstance(loop, DesktopLoop)
    assert loop.is_closed()


def test_what_main_raises_is_raised(qapp: QApplication) -> None:
    async def main() -> None:
        await asyncio.sleep(0)
        raise LookupError("lost")

    with pytest.raises(LookupError, match="lost"):
        run(main(), qapp)


def test_mains_exit_status_is_raised_after_the_clean_up(qapp: QApplication) -> None:
    ended: list[str] = []

    async def side() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("side")

    async def main() -> None:
        task = asyncio.create_task(side())
        await asyncio.sleep(0)
        assert not task.done()
        raise SystemExit(3)

    with pytest.raises(SystemExit, match="3"):
        run(main(), qapp)
    assert ended == ["side"]


def test_a_tasks_exit_ends_main_too(qapp: QApplication) -> None:
    ended: list[str] = []

    async def leave() -> None:
        raise SystemExit(4)

    async def main() -> None:
        task = asyncio.create_task(leave())
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.01)
            ended.append("main")
            assert task.done()

    with pytest.raises(SystemExit, match="4"):
        run(main(), qapp)
    assert ended == ["main"]


def test_tasks_that_main_left_are_cancelled_and_waited_for(qapp: QApplication) -> None:
    ended: list[str] = []

    async def side() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.01)
            ended.append("side")

    async def main() -> None:
        task = asyncio.create_task(side())
        await asyncio.sleep(0)
        assert not task.done()

    run(main(), qapp)
    assert ended == ["side"]


def test_a_task_that_fails_while_it_is_cancelled_is_reported(
    qapp: QApplication, caplog: pytest.LogCaptureFixture
) -> None:
    async def side() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise LookupError("lost on the way out")

    async def main() -> None:
        task = asyncio.create_task(side())
        await asyncio.sleep(0)
        assert not task.done()

    run(main(), qapp)
    assert "lost on the way out" in caplog.text


def test_generators_and_the_executors_threads_are_ended(qapp: QApplication) -> None:
    ended: list[str] = []

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            await asyncio.sleep(0)
            ended.append("generator")

    async def main() -> AsyncIterator[int]:
        left_open = numbers()
        await anext(left_open)
        await asyncio.to_thread(int)
        return left_open

    before = threading.active_count()
    run(main(), qapp)
    assert ended == ["generator"]
    assert threading.active_count() == before


def test_main_is_cancelled_when_qt_quits_and_may_take_its_time_to_clean_up(qapp: QApplication) -> None:
    async def main() -> str:
        QTimer.singleShot(10, qapp.exit)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0.05)
            return "cleaned up"
        return "not cancelled"

    assert run(main(), qapp) == "cleaned up"


def test_main_that_lets_the_cancellation_pass_raises_it(qapp: QApplication) -> None:
    async def main() -> None:
        QTimer.singleShot(10, qapp.exit)
        await asyncio.Event().wait()

    with pytest.raises(asyncio.CancelledError):
        run(main(), qapp)


def test_qt_may_quit_again_during_the_clean_up(qapp: QApplication) -> None:
    async def main() -> str:
        QTimer.singleShot(10, qapp.exit)
        try:
            await asyncio.Event().wait()
        finally:
            for _ in range(3):
                qapp.exit()
                await asyncio.sleep(0.01)
            return "cleaned up"  # noqa: B012 - the cancellation ends here

    assert run(main(), qapp) == "cleaned up"


def test_main_is_kept_alive_by_run_alone(qapp: QApplication) -> None:
    """A task is held weakly by its loop; one that waits for something nobody else holds would vanish."""

    async def main() -> str:
        QTimer.singleShot(10, gc.collect)
        await asyncio.get_running_loop().create_task(asyncio.sleep(0.05))
        return "alive"

    assert run(main(), qapp) == "alive"


def test_run_can_be_called_again(qapp: QApplication) -> None:
    async def main(number: int) -> int:
        await asyncio.sleep(0.001)
        return number

    assert [run(main(number), qapp) for number in range(3)] == [0, 1, 2]


def test_about_to_quit_is_sent_once(qapp: QApplication) -> None:
    sent: list[str] = []

    def note() -> None:
        sent.append("about to quit")

    async def main() -> None:
        task = asyncio.create_task(asyncio.Event().wait())
        await asyncio.to_thread(int)
        assert not task.done()

    qapp.aboutToQuit.connect(note)
    try:
        run(main(), qapp)
    finally:
        qapp.aboutToQuit.disconnect(note)
    assert sent == ["about to quit"]


def test_a_setting_for_another_programs_qt_binding_does_not_matter() -> None:
    code = "import yarddesk.desktop.loop, qasync; print(qasync.QtModuleName)"
    environment = {**os.environ, "QT_API": "pyqt5"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.stdout == "PySide6\n", done.stderr
