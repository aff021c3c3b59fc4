"""The bindings keep count of Python's constants: PySide6 6.12.0 on Python 3.11 does not, and aborts in the end."""

import asyncio
import gc
import sys
import threading

import pytest
from PySide6.QtCore import QObject, QTimer, Signal
from PySide6.QtWidgets import QApplication

from tests.gui.loops import LOOPS, run_on
from yarddesk.desktop.loop_queue import QueueLoop

ROUNDS = 20_000
TOLERATED = 1000
"""How many references may go otherwise; one lost in each round would be 20 times that."""

SPARE = [None, True, False] * 20 * ROUNDS  # so that a loss is counted and reported before it ends the process


class Speaker(QObject):
    plain = Signal()
    said = Signal(object)
    counted = Signal(bool, int)


def constants() -> dict[str, int]:
    gc.collect()  # what other tests left would let go of theirs in between
    # From Python 3.12 on these never die, and what counts them may only ever add: then no loss is seen here, nor harm done.
    return {repr(constant): sys.getrefcount(constant) for constant in (None, True, False)}


@pytest.mark.parametrize("kind", LOOPS)
def test_references_to_constants_are_kept_over_many_callbacks_signals_and_timers(
    kind: type[QueueLoop], qapp: QApplication
) -> None:
    async def main() -> int:
        loop = asyncio.get_running_loop()
        speaker = Speaker()
        heard = 0
        expected = 4 * ROUNDS + ROUNDS // 100

        def hear(*_: object) -> None:
            nonlocal heard
            heard += 1

        for signal in (speaker.plain, speaker.said, speaker.counted):
            signal.connect(hear)
        timer = QTimer()
        timer.setSingleShot(True)
        for number in range(ROUNDS):
            speaker.plain.emit()
            speaker.said.emit((None, True, False)[number % 3])
            speaker.counted.emit(number % 2 == 0, number)
            timer.start(1000)
            timer.stop()
            speaker.killTimer(speaker.startTimer(1000))
            loop.call_later(0.001, hear).cancel()
            if number % 10 == 0:
                await asyncio.sleep(0)
            if number % 100 == 0:
                await asyncio.sleep(0.0001)
                await asyncio.to_thread(hear)
        thread = threading.Thread(target=lambda: [loop.call_soon_threadsafe(hear) for _ in range(ROUNDS)])
        thread.start()
        while heard < expected:
            await asyncio.sleep(0.001)
        thread.join()
        return heard

    run_on(kind, qapp, asyncio.sleep(0))
    before = constants()
    heard = run_on(kind, qapp, main())
    after = constants()
    assert heard == 4 * ROUNDS + ROUNDS // 100
    assert {name: before[name] - after[name] for name in before if before[name] - after[name] > TOLERATED} == {}
