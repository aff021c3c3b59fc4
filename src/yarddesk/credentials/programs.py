"""Programs that hand out credentials: asked within a time limit, and ended with all that they started."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

LIMIT_SECONDS: Final = 20.0
MORE_FOLDERS: Final = (
    "/usr/local/bin",
    "/opt/homebrew/bin",
    "/Applications/Docker.app/Contents/Resources/bin",
    "~/.rd/bin",
)
"""A desktop app's PATH is shorter than a shell's: where Docker Desktop, Homebrew and Rancher Desktop put theirs."""


@dataclass(frozen=True, slots=True)
class Said:
    """What a program ended with."""

    status: int
    output: bytes
    errors: bytes


def ask_program(
    command: Sequence[str] | str,
    environ: Mapping[str, str],
    *,
    given: bytes = b"",
    limit_seconds: float = LIMIT_SECONDS,
) -> Said:
    """Blocks: call it in a thread. Raises OSError where it can't be started, and TimeoutError."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=dict(environ),
        **_own_group(),
    )
    try:
        output, errors = process.communicate(given, timeout=limit_seconds)
    except subprocess.TimeoutExpired:
        _end(process)
        raise TimeoutError(f"no answer for {limit_seconds:g} s") from None
    return Said(process.returncode, output, errors)


def search_path(environ: Mapping[str, str]) -> str:
    """PATH, and the folders that a desktop app's lacks."""
    return os.pathsep.join([environ.get("PATH", os.defpath), *map(os.path.expanduser, MORE_FOLDERS)])


def _own_group() -> dict[str, Any]:
    """What lets the program be ended with all that it started, and shows no window."""
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NO_WINDOW}
    return {"start_new_session": True}


def _end(process: "subprocess.Popen[bytes]") -> None:
    if sys.platform == "win32":
        process.kill()
    else:
        with contextlib.suppress(ProcessLookupError):  # it ended in this moment
            os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
