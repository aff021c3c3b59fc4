"""Qt gets its turn however busy the tasks are, and the tasks get theirs."""

import asyncio
import math
import socket
import time

import pytest
from PySide6.QtCore import QEvent, QObject, Qt, QTimer, Signal, Slot
from PySide6.QtGui import QPaintEvent
from PySide6.QtWidgets import QApplication, QWidget
from pytestqt.qtbot import QtBot

from tests.gui.loops import LOOPS, closing, run_on
from tests.support.waiting import until_async
from yarddesk.desktop.loop import LoopDelay
from yarddesk.desktop.loop_queue import QueueLoop


def work_for(seconds: float) -> None:
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        math.sqrt(2)


@pytest.mark.parametrize("kind", LOOPS)
def test_a_timer_of_10_ms_stays_on_time_while_50_tasks_spin(kind: type[QueueLoop], qapp: QApplication) -> None:
    """It waits for two slices, of at most five of these steps and the one that ends them; not for a round of 50.

    Steps are counted and not seconds, so that other programs' load does not matter.
    """
    begun: list[float] = []
    waited_for: list[int] = []

    rounds = 0

    async def spin() -> None:
        nonlocal rounds
        while True:
            rounds += 1
            begun.append(time.monotonic())
            work_for(0.0004)
            await asyncio.sleep(0)

    class Metronome(QTimer):
        due = 0.0

        def arm(self) -> None:
            self.due = time.monotonic() + 0.010
            self.start(10)

        def beat(self) -> None:
            waited_for.append(sum(step > self.due for step in begun))
            begun.clear()
            self.arm()

    async def main() -> None:
        spinning = [asyncio.create_task(spin()) for _ in range(50)]
        metronome = Metronome()
        metronome.setSingleShot(True)
        metronome.setTimerType(Qt.TimerType.PreciseTimer)
        metronome.timeout.connect(metronome.beat)
        metronome.arm()
        while len(waited_for) < 60:
            await asyncio.sleep(0.01)
        metronome.stop()
        for task in spinning:
            task.cancel()
        await asyncio.gather(*spinning, return_exceptions=True)

    run_on(kind, qapp, main())
    assert max(waited_for) <= 25
    assert rounds > 100


@pytest.mark.parametrize("kind", LOOPS)
def test_a_window_is_painted_while_sockets_are_busy(kind: type[QueueLoop], qapp: QApplication, qtbot: QtBot) -> None:
    class Painted(QWidget):
        paints = 0

        def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802
            self.paints += 1
            self.update()

    async def pass_on(end: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while piece := await loop.sock_recv(end, 4096):
            work_for(0.0004)
            await loop.sock_sendall(end, piece)

    async def main() -> None:
        pairs = [socket.socketpair() for _ in range(25)]
        ends = [end for pair in pairs for end in pair]
        for end in ends:
            end.setblocking(False)
        for one, _ in pairs:
            one.send(b"x")
        busy = [asyncio.create_task(pass_on(end)) for end in ends]
        timers = 0

        def tick() -> None:
            nonlocal timers
            timers += 1

        timer = QTimer()
        timer.timeout.connect(tick)
        timer.start(10)
        window.show()
        await until_async(lambda: window.paints >= 30 and timers >= 30, 20)
        timer.stop()
        window.close()
        for task in busy:
            task.cancel()
        await asyncio.gather(*busy, return_exceptions=True)
        for end in ends:
            end.close()

    window = Painted()
    qtbot.addWidget(window)
    run_on(kind, qapp, main())


@pytest.mark.parametrize("kind", LOOPS)
def test_tasks_go_on_while_qt_is_flooded(kind: type[QueueLoop], qapp: QApplication) -> None:
    async def main() -> int:
        flood = QTimer()
        flood.timeout.connect(lambda: work_for(0.001))
        flood.start(0)
        end = asyncio.get_running_loop().time() + 0.5
        steps = 0
        while asyncio.get_running_loop().time() < end:
            await asyncio.sleep(0.001)
            steps += 1
        flood.stop()
        return steps

    assert run_on(kind, qapp, main()) > 20


@pytest.mark.parametrize("kind", LOOPS)
def test_tasks_go_on_while_events_are_posted_without_end(kind: type[QueueLoop], qapp: QApplication) -> None:
    class Flood(QObject):
        again = Signal()
        going = True

        @Slot()
        def on_again(self) -> None:
            work_for(0.001)
            if self.going:
                self.again.emit()

    async def main() -> int:
        flood = Flood()
        flood.again.connect(flood.on_again, Qt.ConnectionType.QueuedConnection)
        flood.again.emit()
        spun = 0
        end = time.monotonic() + 0.5
        while time.monotonic() < end:
            work_for(0.0004)
            await asyncio.sleep(0)
            spun += 1
        for _ in range(20):
            await asyncio.sleep(0.001)
        flood.going = False
        return spun

    assert run_on(kind, qapp, main()) > 50


class EventCounter(QObject):
    """Counts the events by which Qt can start a turn of the loop."""

    events = 0

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802
        self.events += event.type() in (QEvent.Type.MetaCall, QEvent.Type.Timer, QEvent.Type.SockAct)
        return False


@pytest.mark.parametrize("kind", LOOPS)
def test_a_thousand_callbacks_cost_qt_a_few_events(kind: type[QueueLoop], qapp: QApplication) -> None:
    """What made qasync slow: a Qt timer for each."""

    async def main() -> int:
        called = 0

        def call() -> None:
            nonlocal called
            called += 1

        loop = asyncio.get_running_loop()
        counter = EventCounter()
        qapp.installEventFilter(counter)
        for _ in range(1000):
            loop.call_soon(call)
        await asyncio.sleep(0)
        qapp.removeEventFilter(counter)
        assert called == 1000
        return counter.events

    with closing(lambda: kind(qapp, slice_seconds=10)) as loop:
        assert loop.run_until_complete(main()) <= 3


@pytest.mark.parametrize("kind", LOOPS)
def test_nothing_stirs_while_nothing_happens(kind: type[QueueLoop], qapp: QApplication) -> None:
    async def main() -> int:
        counter = EventCounter()
        async with await asyncio.start_server(lambda *_: None, "127.0.0.1", 0):
            await asyncio.sleep(0.1)
            qapp.installEventFilter(counter)
            await asyncio.sleep(0.5)
            qapp.removeEventFilter(counter)
        return counter.events

    assert run_on(kind, qapp, main()) <= 3


@pytest.mark.parametrize("kind", LOOPS)
def test_a_rush_of_connections_is_let_in_by_and_by(kind: type[QueueLoop], qapp: QApplication) -> None:
    """One callback that accepts them all would hold up the window for as long as that takes."""

    async def main() -> tuple[int, int]:
        made = 0
        most = 0

        class Counted(asyncio.Protocol):
            def __init__(self) -> None:
                nonlocal made
                made += 1

        loop = asyncio.get_running_loop()
        server = await loop.create_server(Counted, "127.0.0.1", 0, backlog=500)
        async with server:
            clients = [socket.create_connection(server.sockets[0].getsockname()) for _ in range(200)]
            while made < len(clients):
                before = made
                await asyncio.sleep(0)
                most = max(most, made - before)
            for client in clients:
                client.close()
            await asyncio.sleep(0.05)
        return made, most

    made, most = run_on(kind, qapp, main())
    assert made == 200
    assert most <= 32


def test_the_delay_meter_sees_a_stall_of_its_length(qapp: QApplication, qtbot: QtBot) -> None:
    with LoopDelay(0.005) as delay:
        QTimer.singleShot(50, lambda: work_for(0.1))
        qtbot.waitUntil(lambda: delay.report().max_seconds > 0.05 and delay.report().samples > 20)
    report = delay.report()
    assert 0.09 <= report.max_seconds < 1
    assert report.p50_seconds <= report.p99_seconds <= report.max_seconds


def test_the_delay_meter_reports_nothing_before_its_first_sample(qapp: QApplication) -> None:
    assert LoopDelay().report().samples == 0
    assert LoopDelay().report().max_seconds == 0
