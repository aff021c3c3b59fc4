"""A command of the user's, run without a shell: fed, timed, and ended with all that it started."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import Any, Final

_TAIL_BYTES: Final = 2048
_PIECE_BYTES: Final = 16 * 1024
_LAST_WORDS_SECONDS: Final = 0.5


class CommandRun:
    """One run. `run` blocks, for a thread of its own; `end` may be called from any other."""

    def __init__(self, words: Sequence[str], given: bytes, environ: Mapping[str, str]) -> None:
        self._words = list(words)
        self._given = given
        self._environ = dict(environ)
        self._turn = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._ended = False
        self._tail = bytearray()

    @property
    def output(self) -> bytes:
        """The last of what it printed."""
        return bytes(self._tail)

    def run(self, limit_seconds: float) -> int | None:
        """Its exit status; None where it took too long and was ended. Raises OSError where it can't be started."""
        with self._turn:
            if self._ended:
                return None
            process = self._process = subprocess.Popen(
                self._words,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=self._environ,
                **_own_group(),
            )
        reader = threading.Thread(target=self._read, args=(process,), daemon=True)
        reader.start()
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it need not read what it's given
            process.stdin.write(self._given)
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        try:
            status: int | None = process.wait(limit_seconds)
        except subprocess.TimeoutExpired:
            _kill(process)
            process.wait()
            status = None
        # What it left running may hold its output open for as long as it likes.
        reader.join(_LAST_WORDS_SECONDS)
        return status

    def end(self) -> None:
        """End it with all that it started, or keep it from starting."""
        with self._turn:
            self._ended = True
            if self._process is not None and self._process.poll() is None:
                _kill(self._process)

    def _read(self, process: "subprocess.Popen[bytes]") -> None:
        assert process.stdout is not None
        with process.stdout as output:
            while piece := os.read(output.fileno(), _PIECE_BYTES):
                self._tail = (self._tail + piece)[-_TAIL_BYTES:]


def _own_group() -> dict[str, Any]:
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NO_WINDOW}
    return {"start_new_session": True}


def _kill(process: "subprocess.Popen[bytes]") -> None:
    if sys.platform == "win32":
        process.kill()
    else:
        with contextlib.suppress(ProcessLookupError):  # it ended in this moment
            os.killpg(process.pid, signal.SIGKILL)
