"""The desktop app, nothing in it changed, with a timer of Qt beside it that tells how late the loop lets it fire.

`python -m tests.bench.watched_desktop REPORT …` takes the arguments of `yarddesk` after the name of a file. On SIGUSR1 it
forgets what it has sampled, on SIGUSR2 it writes what it has sampled since to that file.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Coroutine
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from PySide6.QtWidgets import QApplication

from yarddesk.__main__ import main
from yarddesk.desktop import app, loop
from yarddesk.desktop.loop import LoopDelay


class Watch:
    """Samples while it is open; a sample is taken every 5 ms."""

    def __init__(self, report: Path) -> None:
        self._report = report
        self._sampling = ExitStack()
        self._delay: LoopDelay | None = None

    def begin(self) -> None:
        self._sampling.close()
        self._delay = self._sampling.enter_context(LoopDelay())

    def write(self) -> None:
        assert self._delay is not None, "SIGUSR2 came before SIGUSR1"
        report = self._delay.report()
        self._sampling.close()
        document = {"samples": report.samples, "p99_seconds": report.p99_seconds, "max_seconds": report.max_seconds}
        new = self._report.with_suffix(".new")
        new.write_text(json.dumps(document), encoding="ascii")
        os.replace(new, self._report)


def run_watched(work: Coroutine[Any, Any, Any], application: QApplication) -> Any:
    """As yarddesk's own `run`, with the watch at hand."""
    watch = Watch(Path(REPORT))

    async def watched() -> Any:
        running = asyncio.get_running_loop()
        running.add_signal_handler(signal.SIGUSR1, watch.begin)
        running.add_signal_handler(signal.SIGUSR2, watch.write)
        return await work

    return loop.run(watched(), application)


if __name__ == "__main__":
    REPORT = sys.argv.pop(1)
    app.run = run_watched  # type: ignore[attr-defined, assignment]
    main()
