"""Who writes a system's file: this process, or, where the file is root's, a shell that a person allows to run as root."""

import base64
import contextlib
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, Protocol

from yarddesk.engines import files
from yarddesk.engines.environment import EngineEnvironment
from yarddesk.engines.model import ChangedMeanwhile, EngineError, FileChange

# A person has to find the password first.
_ALLOW_SECONDS: Final = 180.0
_STEP_SECONDS: Final = 20.0
_COMMAND: Final = "yarddesk setup docker"
_REFUSED: Final = (126, 127)

# One command a line: VERB NAME SEEN CONTENT, name and content in base64, “-” for none; one line in answer. The same as
# files.replace in shell: the old file is copied for its owner, mode and attributes, then filled and put in its place.
_SCRIPT: Final = r"""
plain() { printf %s "$1" | base64 -d; }
swap() {
    folder=$(dirname -- "$1")
    mkdir -p -- "$folder" && new=$(mktemp -- "$folder/.yarddesk.XXXXXX") || return 1
    { if [ -e "$1" ]; then cp -p -- "$1" "$new"; else chmod 644 "$new"; fi; } &&
        plain "$2" > "$new" && sync && mv -f -- "$new" "$1" || { rm -f -- "$new"; return 1; }
}
seen() { if [ -e "$1" ]; then sha256sum < "$1" | cut -d" " -f1; else echo -; fi; }
echo ready
while read -r verb name before content; do
    name=$(plain "$name")
    if [ "$verb" != hangup ] && [ "$(seen "$name")" != "$before" ]; then
        echo changed
        continue
    fi
    case $verb in
        hangup) kill -HUP "$name" ;;
        remove) rm -f -- "$name" ;;
        replace) swap "$name" "$content" ;;
    esac && echo done || echo failed
done 2>&1
"""


class Hand(Protocol):
    """Does to the system what a set-up needs."""

    def replace(self, change: FileChange) -> None:
        """As files.replace."""
        ...

    def hang_up(self, pid: int) -> None:
        """SIGHUP to a process. Raises EngineError."""
        ...


@contextlib.contextmanager
def hand_for(environment: EngineEnvironment, path: Path, pid: int | None, command: str = _COMMAND) -> Iterator[Hand]:
    """What may write the file and signal the process. Raises EngineError where nothing may, before anything is done.

    command: what a person can run as root instead.
    """
    if _is_ours(path, pid):
        yield _OwnHand()
        return
    if not environment.elevate:
        raise EngineError(f"{path} belongs to root.", hint=f"Run it as root: sudo {command}")
    with _RootHand(environment.elevate, path) as hand:
        yield hand


def _is_ours(path: Path, pid: int | None) -> bool:
    folder = next(folder for folder in Path(os.path.realpath(path)).parents if folder.exists())
    if not os.access(folder, os.W_OK):
        return False
    if pid is not None:
        try:
            os.kill(pid, 0)
        except PermissionError:
            return False
        except ProcessLookupError:
            return True  # it has ended: there is nobody to be told
    return True


class _OwnHand:
    def replace(self, change: FileChange) -> None:
        files.replace(change)

    def hang_up(self, pid: int) -> None:
        if sys.platform == "win32":
            raise EngineError("There are no signals on Windows.")
        try:
            os.kill(pid, signal.SIGHUP)
        except OSError as error:
            raise EngineError(f"Process {pid} could not be told.", f"{error.strerror}.", temporary=True) from error


class _RootHand:
    """A shell started by pkexec or sudo: asked for once, it does several steps, and ends with this object."""

    def __init__(self, elevate: Sequence[str], path: Path) -> None:
        self._path = path
        try:
            self._shell = subprocess.Popen(
                [*elevate, "/bin/sh", "-c", _SCRIPT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
            )
        except OSError as error:
            raise EngineError(f"{elevate[0]} could not be started.", error.strerror or "") from error

    def __enter__(self) -> "_RootHand":
        try:
            self._answer(_ALLOW_SECONDS)
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def replace(self, change: FileChange) -> None:
        path = os.path.realpath(change.path)
        seen = files.fingerprint(change.before) or "-"
        if change.after is None:
            answer = self._ask("remove", path, seen, "-")
        else:
            # An empty word would be lost between the blanks; no file that we write is empty.
            answer = self._ask("replace", path, seen, base64.b64encode(change.after).decode())
        if answer == "changed":
            raise ChangedMeanwhile(
                f"{change.path} was changed meanwhile.",
                "Nothing was written.",
                hint="Look at the change again.",
                temporary=True,
            )
        if answer != "done":
            raise EngineError(f"{change.path} could not be changed.", answer)

    def hang_up(self, pid: int) -> None:
        answer = self._ask("hangup", str(pid), "-", "-")
        if answer != "done":
            raise EngineError(f"Process {pid} could not be told.", answer, temporary=True)

    def _ask(self, verb: str, name: str, seen: str, content: str) -> str:
        assert self._shell.stdin is not None, "it was opened as a pipe"
        line = f"{verb} {base64.b64encode(os.fsencode(name)).decode()} {seen} {content}\n"
        try:
            self._shell.stdin.write(line.encode())
        except OSError as error:
            raise EngineError(f"The change of {self._path} was broken off.", temporary=True) from error
        return self._answer(_STEP_SECONDS)

    def _answer(self, limit_seconds: float) -> str:
        """The next line that decides; what tools say before it is kept as the reason of a failure."""
        assert self._shell.stdout is not None, "it was opened as a pipe"
        said: list[str] = []
        while True:
            ready, _, _ = select.select([self._shell.stdout], [], [], limit_seconds)
            if not ready:
                raise EngineError(f"{self._path} was not changed: nobody allowed it in time.", temporary=True)
            line = self._line()
            if line in ("ready", "done", "changed"):
                return line
            if line == "failed":
                return " ".join(said) or line
            said.append(line)

    def _line(self) -> str:
        assert self._shell.stdout is not None, "it was opened as a pipe"
        line = self._shell.stdout.readline()
        if line:
            return line.decode("utf-8", "replace").strip()
        status = self._shell.wait(_STEP_SECONDS)
        words = "That was not allowed." if status in _REFUSED else f"It ended with status {status}."
        raise EngineError(f"{self._path} belongs to root and was not changed.", words)

    def _end(self) -> None:
        for pipe in (self._shell.stdin, self._shell.stdout):
            if pipe is not None:
                pipe.close()
        # Without its pipes it ends by itself; one that still waits for a password is root's, and not ours to end.
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._shell.wait(1.0)
