"""Running programs for tests: a server that stays for a while, and a command that ends."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.support.waiting import until

FOLDERS = (*os.environ.get("PATH", os.defpath).split(os.pathsep), "/usr/local/sbin", "/usr/sbin", "/sbin")

# What a program may inherit from the machine that the tests run on; all else it gets from its test.
INHERITED = ("LANG", "LC_ALL", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR", "COVERAGE_PROCESS_START")


class MissingTool(AssertionError):
    """A program that the tests need is not installed: a failure, never a reason to skip."""


class CommandFailed(AssertionError):
    """A command ended with another status than it should."""


def tool(name: str) -> str:
    """The path of a program. Raises MissingTool, naming it."""
    path = shutil.which(name, path=os.pathsep.join(FOLDERS))
    if path is None:
        raise MissingTool(f"{name} is not installed; `make test` installs it, or says which package has it")
    return path


def clean_environment(home: Path, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """An environment whose home and XDG folders lie below `home`, with no session, display or keychain of the user's."""
    runtime = home / "run"
    runtime.mkdir(parents=True, exist_ok=True, mode=0o700)
    environment = {name: os.environ[name] for name in INHERITED if name in os.environ}
    environment |= {
        "HOME": str(home),
        "PATH": os.pathsep.join(FOLDERS),
        "XDG_CACHE_HOME": str(home / ".cache"),
        "XDG_CONFIG_HOME": str(home / ".config"),
        "XDG_DATA_HOME": str(home / ".local/share"),
        "XDG_STATE_HOME": str(home / ".local/state"),
        "XDG_RUNTIME_DIR": str(runtime),
        "DBUS_SESSION_BUS_ADDRESS": f"unix:path={home}/no-session-bus",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    return environment | dict(extra or {})


class Program:
    """A program that runs until it is stopped, what it prints kept in a file.

    command: program and arguments; a bare name is looked up. environment: all of its environment.
    log: the file that gets standard output and standard error, appended over restarts.
    """

    def __init__(self, command: Sequence[str], *, environment: Mapping[str, str], log: Path) -> None:
        self.command = [tool(command[0]), *command[1:]]
        self.environment = dict(environment)
        self.log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._log_start = 0

    @property
    def pid(self) -> int:
        assert self._process is not None, f"{self.command[0]} was never started"
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self, *, input_text: str | None = None) -> None:
        assert not self.running, f"{self.command[0]} runs already"
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as output:
            self._log_start = output.tell()
            self._process = subprocess.Popen(
                self.command,
                env=self.environment,
                stdin=subprocess.DEVNULL if input_text is None else subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        if input_text is not None:
            assert self._process.stdin is not None
            with self._process.stdin as stdin:
                stdin.write(input_text.encode())

    def output(self) -> str:
        """What it has printed since it was last started."""
        with self.log.open("rb") as file:
            file.seek(self._log_start)
            return file.read().decode(errors="replace")

    def wait_for_line(self, pattern: str, deadline_seconds: float = 30.0) -> re.Match[str]:
        """The first match of a regular expression (line by line) in what it prints; fails at once if it ends before."""
        expression = re.compile(pattern, re.MULTILINE)

        def look() -> re.Match[str] | None:
            ended = not self.running
            found = expression.search(self.output())
            if found is None and ended:
                raise CommandFailed(f"{self.command[0]} ended before it printed {pattern!r}:\n{self.tail()}")
            return found

        match = until(look, deadline_seconds, f"{self.command[0]} prints {pattern!r}")
        assert match is not None
        return match

    def send(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def wait(self, deadline_seconds: float = 10.0) -> int:
        """Its exit status, once it ended by itself."""
        assert self._process is not None
        try:
            return self._process.wait(deadline_seconds)
        except subprocess.TimeoutExpired as error:
            message = f"{self.command[0]} still runs after {deadline_seconds:g} s:\n{self.tail()}"
            raise CommandFailed(message) from error

    def stop(self, deadline_seconds: float = 15.0) -> int:
        """End it with SIGTERM and give its exit status; what doesn't end in time is killed, and that is a failure."""
        if self._process is None:
            return 0
        if self.running:
            self.send(signal.SIGTERM)
        try:
            return self.wait(deadline_seconds)
        finally:
            self.kill()

    def kill(self) -> None:
        """SIGKILL to it and to what it started in its session."""
        if self._process is None:
            return
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return  # nobody of that session is left, which is what was wanted
        finally:
            self._process.wait()

    def tail(self, characters: int = 4000) -> str:
        return self.output()[-characters:]


class CommandLine:
    """A command-line client with a home of its own.

    prefix: program and the options that come first each time. environment: all of its environment.
    """

    def __init__(self, prefix: Sequence[str], *, environment: Mapping[str, str]) -> None:
        self.prefix = [tool(prefix[0]), *prefix[1:]]
        self.environment = dict(environment)

    def run(
        self, *arguments: str, input_text: str | None = None, status: int | None = 0, deadline_seconds: float = 90.0
    ) -> subprocess.CompletedProcess[str]:
        """Run it to its end. Raises CommandFailed unless it ends with `status` (None: any status will do)."""
        result = subprocess.run(
            [*self.prefix, *arguments],
            env=self.environment,
            input=input_text,
            stdin=subprocess.DEVNULL if input_text is None else None,
            capture_output=True,
            text=True,
            timeout=deadline_seconds,
        )
        if status is not None and result.returncode != status:
            command = " ".join([self.prefix[0], *arguments])
            raise CommandFailed(f"{command}: status {result.returncode}\n{result.stdout}{result.stderr}")
        return result

    async def run_async(
        self, *arguments: str, input_text: str | None = None, status: int | None = 0, deadline_seconds: float = 90.0
    ) -> subprocess.CompletedProcess[str]:
        """As `run`, in a thread, so that a server on this loop can answer the client."""
        return await asyncio.to_thread(
            self.run, *arguments, input_text=input_text, status=status, deadline_seconds=deadline_seconds
        )
