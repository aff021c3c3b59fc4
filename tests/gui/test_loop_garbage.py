"""Garbage is collected while the app runs, and never in another thread than the window's."""

import asyncio
import gc
import subprocess
import sys
import threading
import weakref

from PySide6.QtWidgets import QApplication

from yarddesk.desktop.loop import run

# Alone in its process: where a widget is destroyed by another thread, that process crashes.
WIDGETS_AND_THREADS = """
import asyncio, threading
from PySide6.QtCore import QTimer
from PySide6.QtWidgets import QApplication, QLabel
from yarddesk.desktop.loop import run

destroyed_by = set()

class Clock(QLabel):
    def __init__(self):
        super().__init__("12:00")
        self.itself = self
        self.timer = QTimer()
        self.timer.start(1)

    def __del__(self):
        destroyed_by.add(threading.current_thread())

def allocate():
    for _ in range(3000):
        cycle = []
        cycle.append(cycle)

async def main():
    for _ in range(50):
        for _ in range(5):
            Clock()
        await asyncio.gather(*(asyncio.to_thread(allocate) for _ in range(4)))

run(main(), QApplication([]))
print("by the main thread alone:", destroyed_by == {threading.main_thread()})
"""


class Node:
    def __init__(self) -> None:
        self.itself = self


def test_threads_that_allocate_do_not_destroy_widgets() -> None:
    done = subprocess.run([sys.executable, "-c", WIDGETS_AND_THREADS], capture_output=True, text=True)
    assert done.stdout == "by the main thread alone: True\n", done.stderr
    assert done.stderr == ""


def test_cycles_are_collected_while_the_app_runs(qapp: QApplication) -> None:
    async def main() -> int:
        nodes: weakref.WeakSet[Node] = weakref.WeakSet()
        most = 0
        for _ in range(100):
            for _ in range(100):
                nodes.add(Node())
            most = max(most, len(nodes))
            await asyncio.sleep(0.001)
        return most

    assert run(main(), qapp) < 3000


def test_what_threads_leave_is_collected_when_the_loop_turns(qapp: QApplication) -> None:
    collected_by: set[threading.Thread] = set()

    class Noted(Node):
        def __del__(self) -> None:
            collected_by.add(threading.current_thread())

    def leave() -> None:
        for _ in range(5000):
            Noted()

    async def main() -> None:
        await asyncio.to_thread(leave)
        await asyncio.sleep(0.01)

    run(main(), qapp)
    assert collected_by == {threading.main_thread()}


def test_automatic_collection_is_off_while_the_app_runs_and_on_again_after_it(qapp: QApplication) -> None:
    async def main() -> bool:
        return gc.isenabled()

    assert gc.isenabled()
    assert not run(main(), qapp)
    assert gc.isenabled()


CLOSED_LOOPS_THAT_WERE_RUNG = """
import gc
from PySide6.QtWidgets import QApplication
from yarddesk.desktop.loop_queue import QueueLoop

app = QApplication([])
gc.disable()
for _ in range(50):
    loop = QueueLoop(app)
    loop.call_soon(int)
    loop.close()
    del loop
gc.set_threshold(1)
gc.enable()
app.processEvents()
print("alive")
"""


def test_a_closed_loop_that_was_rung_is_not_called_when_it_is_garbage() -> None:
    """Qt's event holds no reference: a collection in the midst of its delivery destroyed what it was delivered to."""
    done = subprocess.run([sys.executable, "-c", CLOSED_LOOPS_THAT_WERE_RUNG], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "alive\n"), done.stderr
