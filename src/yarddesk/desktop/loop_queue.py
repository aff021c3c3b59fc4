"""qasync's event loop, made quick and fair: the loop that the window, the registry and the worker share.

qasync starts a Qt timer for every callback and a Qt notifier for every socket. Here callbacks wait in asyncio's own
ready queue and timers in asyncio's own heap; Qt is asked for one event per batch, one timer for the next deadline and
(`loop_descriptor`) one notifier for all sockets. A slice of callbacks ends after a few milliseconds, so that Qt can
draw and take input before the next one. Within and across slices callbacks run in the order asyncio gives them.
"""

import asyncio
import heapq
import logging
import math
import os
import signal
import sys
import threading
import time
from asyncio import events
from collections import deque
from collections.abc import Callable
from contextvars import Context
from typing import TYPE_CHECKING, Any

import shiboken6
from PySide6.QtCore import QCoreApplication, QObject, Qt, QTimer, Signal, Slot
from PySide6.QtWidgets import QApplication

os.environ["QT_API"] = "pyside6"  # qasync obeys this variable: one left over from another tool would have it load PyQt
import qasync

if TYPE_CHECKING:

    class _QtEventLoop(asyncio.SelectorEventLoop):
        """qasync has no types; these are the parts of it and of asyncio's base class that are used below."""

        _ready: deque[events.Handle]
        _scheduled: list[events.TimerHandle]
        _timer_cancelled_count: int
        _clock_resolution: float
        _stopping: bool
        _thread_id: int | None
        _debug: bool
        _current_handle: events.Handle | None
        _csock: Any

        def __init__(self, app: QApplication) -> None: ...
        def _check_closed(self) -> None: ...
        def _check_running(self) -> None: ...
        def _check_thread(self) -> None: ...
        def _check_callback(self, callback: object, method: str) -> None: ...
        def _set_coroutine_origin_tracking(self, enabled: bool) -> None: ...
        def _asyncgen_firstiter_hook(self, agen: object) -> None: ...
        def _asyncgen_finalizer_hook(self, agen: object) -> None: ...
        def _accept_connection(
            self, factory: object, sock: object, ssl: object = ..., server: object = ..., n: int = ..., *limits: float
        ) -> None: ...
        def _before_run_forever(self) -> None: ...
        def _after_run_forever(self) -> None: ...

else:
    _QtEventLoop = qasync.QEventLoop

logger = logging.getLogger(__name__)

SLICE_SECONDS = 0.002
"""How long callbacks may run before Qt gets its turn. A Qt timer waits for two slices at worst, a quarter of a frame at
60 Hz; Qt's pass between two slices costs less than 1 % of one."""

_ACCEPTED_AT_ONCE = 16
_LONGEST_TIMER_SECONDS = 24 * 3600.0
_MANY_TIMERS = 100  # below this many, cancelled timers are left in the heap until their time comes

_AsyncioLoop: Any = getattr(asyncio, "ProactorEventLoop" if sys.platform == "win32" else "SelectorEventLoop")


def _nothing() -> None:
    pass


class _Doorbell(QObject):
    """Wakes the loop through Qt's event queue. A queued signal was the cheapest of the ways that work from any thread:
    5 µs, against 7 for a posted event, 9 for a pipe and 10 for `QMetaObject.invokeMethod`."""

    rang = Signal()

    def __init__(self, answer: Callable[[], None]) -> None:
        super().__init__()
        self._answer = answer
        self.rang.connect(self.on_rang, Qt.ConnectionType.QueuedConnection)

    @Slot()
    def on_rang(self) -> None:
        self._answer()

    def hush(self) -> None:
        """Ring no more, and forget what was rung: Qt must not call into an object that is about to become garbage."""
        self.rang.disconnect()
        QCoreApplication.removePostedEvents(self)
        self._answer = _nothing


class QueueLoop(_QtEventLoop):
    """qasync's loop with asyncio's ready queue and timer heap, run in slices. Sockets are qasync's affair.

    `app` must outlive the loop. `slice_seconds` bounds the time that callbacks take before Qt processes its events.
    Like asyncio's loops it belongs to the thread that runs it; `call_soon_threadsafe` alone may be called from others.
    A nested Qt loop (a modal `exec()`) opened by a callback suspends all other callbacks until it ends; one opened by
    a Qt slot does not.
    """

    # qasync has versions of its own for these, without contexts, debug mode or asyncio's executor.
    _add_callback = _AsyncioLoop._add_callback
    call_exception_handler = _AsyncioLoop.call_exception_handler
    call_later = _AsyncioLoop.call_later
    default_exception_handler = _AsyncioLoop.default_exception_handler
    get_debug = _AsyncioLoop.get_debug
    is_running = _AsyncioLoop.is_running
    run_in_executor = _AsyncioLoop.run_in_executor
    run_until_complete = _AsyncioLoop.run_until_complete
    set_debug = _AsyncioLoop.set_debug
    set_default_executor = _AsyncioLoop.set_default_executor
    set_exception_handler = _AsyncioLoop.set_exception_handler

    def __init__(self, app: QApplication, slice_seconds: float = SLICE_SECONDS) -> None:
        self.slice_seconds = slice_seconds
        self.after_turn: Callable[[], None] = _nothing  # called in the loop's thread after each slice; must be quick
        self._awake = False  # a turn is running or on its way, and will look at the ready queue before it rests
        self._turning = False
        self._leaving = False  # Qt was told to return from exec(): no further callbacks until the next run
        self._unfinished = False  # the slice's time was up: there may be more to do, after Qt
        self._batch = 0  # callbacks at the head of the ready queue to run before I/O and timers are looked at again
        self._escaped: BaseException | None = None
        self._application = app
        self._doorbell = _Doorbell(self._take_turn)
        self._armed_until = math.inf
        self._deadline = QTimer()
        self._deadline.setSingleShot(True)
        self._deadline.setTimerType(Qt.TimerType.PreciseTimer)
        self._deadline.timeout.connect(self._on_deadline)
        self._again = QTimer()
        self._again.setSingleShot(True)
        self._again.timeout.connect(self._take_turn)
        super().__init__(app)

    # Scheduling

    def call_soon(
        self, callback: Callable[..., object], *args: object, context: Context | None = None
    ) -> events.Handle:
        self._check_closed()
        if self._debug:
            self._check_thread()
            self._check_callback(callback, "call_soon")
        return self._enqueue(callback, args, context)

    def call_soon_threadsafe(
        self, callback: Callable[..., object], *args: object, context: Context | None = None
    ) -> events.Handle:
        self._check_closed()
        if self._debug:
            self._check_callback(callback, "call_soon_threadsafe")
        return self._enqueue(callback, args, context)

    def _enqueue(
        self, callback: Callable[..., object], args: tuple[object, ...], context: Context | None
    ) -> events.Handle:
        handle = events.Handle(callback, args, self, context)
        if handle._source_traceback:  # type: ignore[attr-defined]
            del handle._source_traceback[-2:]  # type: ignore[attr-defined]  # in debug mode: end with who called us
        # Append first, then look: `_rest` lowers the flag first, then looks at the queue. So no wake-up is lost
        # between threads, and the one flag spares all others.
        self._ready.append(handle)
        if not self._awake:
            self._wake()
        return handle

    def call_at(
        self, when: float, callback: Callable[..., object], *args: object, context: Context | None = None
    ) -> events.TimerHandle:
        if when is None:
            raise TypeError("when cannot be None")
        self._check_closed()
        if self._debug:
            self._check_thread()
            self._check_callback(callback, "call_at")
        timer = events.TimerHandle(when, callback, args, self, context)
        if timer._source_traceback:  # type: ignore[attr-defined]
            del timer._source_traceback[-1]  # type: ignore[attr-defined]
        heapq.heappush(self._scheduled, timer)
        timer._scheduled = True  # type: ignore[attr-defined]
        if not self._awake and when < self._armed_until:
            self._wake()  # the turn arms Qt's timer when it ends
        return timer

    def time(self) -> float:
        return time.monotonic()

    # Running

    def run_forever(self) -> None:
        """Run Qt's event loop, and asyncio's in it, until `stop()` or until Qt quits."""
        self._check_closed()
        self._check_running()
        self._set_coroutine_origin_tracking(self._debug)
        asyncgen_hooks = sys.get_asyncgen_hooks()
        stop_listening = self._listen_for_signals()
        self._thread_id = threading.get_ident()
        self._leaving = False
        try:
            sys.set_asyncgen_hooks(firstiter=self._asyncgen_firstiter_hook, finalizer=self._asyncgen_finalizer_hook)
            events._set_running_loop(self)
            self._before_run_forever()
            try:
                self._wake()
                self._application.exec()
            finally:
                self._after_run_forever()
        finally:
            self._stopping = False
            self._thread_id = None
            events._set_running_loop(None)
            self._set_coroutine_origin_tracking(False)
            sys.set_asyncgen_hooks(*asyncgen_hooks)
            stop_listening()
        if self._escaped is not None:
            escaped, self._escaped = self._escaped, None
            raise escaped

    def stop(self) -> None:
        """End `run_forever` after the callbacks that are ready now."""
        self._stopping = True
        if not self._awake:
            self._wake()

    def close(self) -> None:
        if self.is_running():
            raise RuntimeError("Cannot close a running event loop")
        if self.is_closed():
            return
        super().close()
        # Destroyed here and now: the loop is in reference cycles, and a garbage collection may run in any thread.
        for timer in (self._deadline, self._again):
            shiboken6.delete(timer)
        self._doorbell.hush()

    # One turn

    def _wake(self) -> None:
        self._awake = True
        self._doorbell.rang.emit()

    def _write_to_self(self) -> None:
        if not self._awake:
            self._wake()

    def _on_deadline(self) -> None:
        self._armed_until = math.inf
        if not self._awake:
            self._take_turn()

    def _take_turn(self) -> None:
        """Run callbacks for a slice of time; called by Qt."""
        if self._turning:
            return  # a callback runs a nested Qt loop: a task must not be entered while another one is inside a step
        if self._thread_id is None or self._leaving:
            self._awake = False
            return
        self._turning = self._awake = True
        try:
            self._run_slice()
        except (SystemExit, KeyboardInterrupt) as escaped:
            self._escaped = escaped  # Qt would end the process here; run_forever raises it instead
            self._leave()
        finally:
            self._turning = False
            self._rest()
            self.after_turn()

    def _run_slice(self) -> None:
        ready = self._ready
        clock = time.monotonic
        slice_end = clock() + self.slice_seconds
        while True:
            if not self._batch:
                self._gather()
                self._batch = len(ready)
                if not self._batch and not self._stopping:
                    return
            while self._batch:
                handle = ready.popleft()
                self._batch -= 1
                if not handle._cancelled:
                    if self._debug:
                        self._run_watched(handle)
                    else:
                        handle._run()
                    if clock() >= slice_end:
                        break
            if self._stopping and not self._batch:
                self._leave()
                return
            if clock() >= slice_end:
                self._unfinished = True
                return

    def _run_watched(self, handle: events.Handle) -> None:
        self._current_handle = handle
        began = time.monotonic()
        try:
            handle._run()
        finally:
            self._current_handle = None
        took = time.monotonic() - began
        if took >= self.slow_callback_duration:
            asker = getattr(handle._callback, "__self__", None)  # type: ignore[attr-defined]
            logger.warning("Executing %r took %.3f s", asker if isinstance(asker, asyncio.Task) else handle, took)

    def _gather(self) -> None:
        """Move what the world made ready to the end of the ready queue: sockets first, then timers, as asyncio does."""
        self._gather_sockets()
        self._forget_cancelled_timers()
        scheduled = self._scheduled
        if scheduled:
            due = self.time() + self._clock_resolution
            while scheduled and scheduled[0]._when < due:  # type: ignore[attr-defined]
                timer = heapq.heappop(scheduled)
                timer._scheduled = False  # type: ignore[attr-defined]
                self._ready.append(timer)

    def _gather_sockets(self) -> None:
        """Nothing to do here: qasync's notifiers put their callbacks into the ready queue by themselves."""

    def _accept_connection(
        self, factory: object, sock: object, ssl: object = None, server: object = None, n: int = 100, *limits: float
    ) -> None:
        # asyncio accepts a whole backlog in one callback, which nothing can interrupt: 1,000 clients at once take 50 ms.
        # The listening socket stays readable for the rest of them.
        super()._accept_connection(factory, sock, ssl, server, min(n, _ACCEPTED_AT_ONCE), *limits)

    def _forget_cancelled_timers(self) -> None:
        scheduled = self._scheduled
        if len(scheduled) > _MANY_TIMERS and self._timer_cancelled_count * 2 > len(scheduled):
            for timer in scheduled:
                timer._scheduled = not timer._cancelled  # type: ignore[attr-defined]
            scheduled[:] = [timer for timer in scheduled if not timer._cancelled]
            heapq.heapify(scheduled)
            self._timer_cancelled_count = 0
        while scheduled and scheduled[0]._cancelled:
            self._timer_cancelled_count -= 1
            heapq.heappop(scheduled)._scheduled = False  # type: ignore[attr-defined]

    def _rest(self) -> None:
        self._awake = False
        if self._leaving:
            return
        if self._ready or self._stopping or self._unfinished:
            # Also when only sockets may be ready: while awake nothing else starts a turn, so that Qt goes once through
            # its events between two slices. A timer without delay, since Qt fires it with the timers that are due, and
            # after paint and input; a posted event was seen to overtake timers up to four times.
            self._unfinished = False
            self._awake = True
            self._again.start(0)
            return
        self._forget_cancelled_timers()
        if self._scheduled and (when := self._scheduled[0].when()) < self._armed_until:
            seconds = min(max(0.0, when - self.time()), _LONGEST_TIMER_SECONDS)
            self._deadline.start(math.ceil(seconds * 1000))
            self._armed_until = when

    def _leave(self) -> None:
        self._leaving = True
        self._application.exit(0)

    def _listen_for_signals(self) -> Callable[[], None]:
        """Have signals wake Qt, which sleeps outside Python, and an unhandled Ctrl+C end `run_forever`.

        Returns what undoes it. Nothing is done where signals can't be received (not the main thread) or don't come this
        way (Windows).
        """
        if sys.platform == "win32" or threading.current_thread() is not threading.main_thread():
            return lambda: None
        descriptor = signal.set_wakeup_fd(self._csock.fileno(), warn_on_full_buffer=False)
        interruptible = signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if interruptible:
            signal.signal(signal.SIGINT, self._on_interrupt)

        def undo() -> None:
            signal.set_wakeup_fd(descriptor)
            if interruptible and signal.getsignal(signal.SIGINT) == self._on_interrupt:
                signal.signal(signal.SIGINT, signal.default_int_handler)

        return undo

    def _on_interrupt(self, *_: object) -> None:
        # Python's own way, to raise wherever the program is, would most often raise inside Qt, which only prints it.
        if self._escaped is not None:
            raise KeyboardInterrupt  # pressed again: a callback doesn't end
        self._escaped = KeyboardInterrupt()
        self._leave()
