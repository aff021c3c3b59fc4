"""A program at a terminal, for what asks a person."""

from __future__ import annotations

import contextlib
import os
import pty
import subprocess
from collections.abc import Iterator, Mapping, Sequence

from tests.support.programs import tool
from tests.support.waiting import until


class Terminal:
    """`command` with a terminal of its own; use it as `with Terminal.running(…)`. What it shows is in `shown`."""

    def __init__(self, process: subprocess.Popen[bytes], screen: int) -> None:
        self._process = process
        self._screen = screen
        self.shown = ""

    @classmethod
    @contextlib.contextmanager
    def running(cls, command: Sequence[str], environment: Mapping[str, str]) -> Iterator[Terminal]:
        screen, end = pty.openpty()
        os.set_blocking(screen, False)
        # setsid makes it the terminal by which /dev/tty is known to the program.
        line = [tool("setsid"), "--ctty", "--wait", tool(command[0]), *command[1:]]
        process = subprocess.Popen(line, env=dict(environment), stdin=end, stdout=end, stderr=end, close_fds=True)
        os.close(end)
        try:
            yield cls(process, screen)
        finally:
            process.kill()
            process.wait()
            os.close(screen)

    def expect(self, text: str, deadline_seconds: float = 30.0) -> None:
        """Back when it has shown this."""
        until(lambda: text in self._read(), deadline_seconds, f"{text!r} at the terminal")

    def type(self, line: str) -> None:
        """What a person types, with the return key after it."""
        os.write(self._screen, f"{line}\n".encode())

    def wait(self, deadline_seconds: float = 30.0) -> int:
        """Its exit status, once it ended."""
        status = until(lambda: (self._read(), self._process.poll() is not None)[1], deadline_seconds, "its end")
        assert status
        self._read()
        return self._process.returncode

    def _read(self) -> str:
        # EIO: nobody has the terminal open any more.
        with contextlib.suppress(BlockingIOError, OSError):
            while received := os.read(self._screen, 65536):
                self.shown += received.decode(errors="replace")
        return self.shown
