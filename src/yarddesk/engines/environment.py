"""The machine as the engines see it: folders, variables, programs. Injected, so that a test never touches the real one."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from yarddesk.engines.model import EngineError

_SYSTEM_FOLDERS: Final = (Path("/usr/local/sbin"), Path("/usr/sbin"), Path("/sbin"))


@dataclass(frozen=True, slots=True)
class Ended:
    """A command that ended."""

    status: int
    output: str
    errors: str

    @property
    def reason(self) -> str:
        """The last thing that it complained of."""
        lines = [line.strip() for line in (self.errors or self.output).splitlines() if line.strip()]
        return lines[-1] if lines else f"It ended with status {self.status}."


Execute = Callable[[Sequence[str], Mapping[str, str], float], Ended]
"""Runs a command with all of its environment and a time limit in seconds. Raises OSError, subprocess.TimeoutExpired."""


def execute(command: Sequence[str], environ: Mapping[str, str], limit_seconds: float) -> Ended:
    """Run a program of the machine to its end."""
    result = subprocess.run(
        list(command),
        env=dict(environ),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=limit_seconds,
    )
    return Ended(result.returncode, result.stdout, result.stderr)


@dataclass(frozen=True, slots=True)
class EngineEnvironment:
    """home: the user's folder. etc, run, proc: the system's. user: the numeric id, 0 for root. platform: as `sys.platform`.

    system_folders: where programs are that a user's PATH may lack. elevate: the command, and its first arguments, that
    runs another one as root after asking the person; empty where there is none.
    """

    home: Path
    etc: Path
    run: Path
    proc: Path
    environ: Mapping[str, str]
    user: int
    platform: str = "linux"
    execute: Execute = execute
    system_folders: tuple[Path, ...] = _SYSTEM_FOLDERS
    elevate: tuple[str, ...] = ()

    @classmethod
    def current(cls) -> Self:
        """This machine, for the user that this process runs as."""
        user = os.getuid() if sys.platform != "win32" else 1
        folders = (Path(os.path.expanduser("~")), Path("/etc"), Path("/run"), Path("/proc"))
        return cls(*folders, dict(os.environ), user, sys.platform, elevate=_elevate(user))

    def program(self, name: str) -> str | None:
        """Where a program is, None where it isn't."""
        folders = (self.environ.get("PATH", os.defpath), *map(str, self.system_folders))
        return shutil.which(name, path=os.pathsep.join(folders))

    def command(self, *command: str, limit_seconds: float = 60.0) -> Ended:
        """Run a program. Raises EngineError when it can't be started or doesn't end in time."""
        try:
            return self.execute(command, self.environ, limit_seconds)
        except subprocess.TimeoutExpired as error:
            name = Path(command[0]).name
            raise EngineError(f"{name} did not end within {limit_seconds:.0f} s.", temporary=True) from error
        except OSError as error:
            raise EngineError(f"{Path(command[0]).name} could not be started.", error.strerror or "") from error


def _elevate(user: int) -> tuple[str, ...]:
    """polkit asks in a window, sudo in a terminal."""
    if user == 0 or sys.platform != "linux":
        return ()
    windows = os.environ.get("WAYLAND_DISPLAY") or os.environ.get("DISPLAY")
    if windows and (pkexec := shutil.which("pkexec")):
        return (pkexec,)
    if sys.stderr.isatty() and (sudo := shutil.which("sudo")):
        return (sudo, "--")
    return ()
