"""One Qt notifier for all sockets: epoll's or kqueue's own descriptor is readable when any of them is ready."""

import asyncio
import selectors
from typing import TYPE_CHECKING, Any

import shiboken6
from PySide6.QtCore import QSocketNotifier, QTimer
from PySide6.QtWidgets import QApplication

from yarddesk.desktop.loop_queue import SLICE_SECONDS, QueueLoop

_SelectorLoop: Any = asyncio.SelectorEventLoop

_POLL_MILLISECONDS = 10


class DescriptorLoop(QueueLoop):
    """A loop whose sockets are asyncio's: registered with an epoll or kqueue selector that Qt watches as one descriptor.

    qasync has a QSocketNotifier for each socket and direction, and disables and enables it around every callback.
    """

    _add_reader = _SelectorLoop._add_reader
    _add_writer = _SelectorLoop._add_writer
    _remove_reader = _SelectorLoop._remove_reader
    _remove_writer = _SelectorLoop._remove_writer

    if TYPE_CHECKING:
        _selector: Any

        def _process_events(self, event_list: list[tuple[selectors.SelectorKey, int]]) -> None: ...

    def __init__(self, app: QApplication, slice_seconds: float = SLICE_SECONDS) -> None:
        super().__init__(app, slice_seconds)
        self._suspended = False
        self._proved = False  # the notifier was heard once
        self._notifier = QSocketNotifier(self._selector.fileno(), QSocketNotifier.Type.Read)
        self._notifier.activated.connect(self._on_sockets)
        self._poll = QTimer()
        self._poll.setInterval(_POLL_MILLISECONDS)
        self._poll.timeout.connect(self._on_poll)

    def close(self) -> None:
        if not self.is_running() and not self.is_closed():
            shiboken6.delete(self._notifier)  # before its descriptor is closed and the number given to another file
            shiboken6.delete(self._poll)
        super().close()

    def _make_self_pipe(self) -> None:
        # asyncio calls this as soon as it has a selector and before it registers anything: the time to exchange it
        self._selector.close()
        self._selector = selectors.DefaultSelector()
        super()._make_self_pipe()  # type: ignore[misc]

    def _before_run_forever(self) -> None:
        super()._before_run_forever()
        if not self._proved:
            self._poll.start()

    def _after_run_forever(self) -> None:
        self._poll.stop()
        super()._after_run_forever()

    def _on_sockets(self) -> None:
        if not self._proved:
            self._proved = True
            self._poll.stop()
        if self._turning:
            self._suspended = True
            self._notifier.setEnabled(False)  # in a nested Qt loop: it would be activated again and again
        elif not self._awake:
            self._take_turn()

    def _on_poll(self) -> None:
        """Look at the sockets by the clock until the notifier was heard, and give it something to be heard by.

        Not every platform's Qt promises to watch a descriptor that is no socket (macOS wraps it in a CFSocket). Where
        it does, this ends at the first tick; where it doesn't, the loop is slower and still right.
        """
        if not self._awake:
            self._take_turn()
        _SelectorLoop._write_to_self(self)

    def _gather_sockets(self) -> None:
        ready = self._selector.select(0)
        if ready:
            self._process_events(ready)

    def _rest(self) -> None:
        if self._suspended:
            self._suspended = False
            self._notifier.setEnabled(True)
        super()._rest()
