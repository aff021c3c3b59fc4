"""`yarddesk doctor` as a process, and what it finds."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.acceptance.settings import NOWHERE
from tests.peers.yarddesk import YarddeskProcess
from tests.support.programs import CommandLine


def never_started(folder: Path) -> YarddeskProcess:
    """Settings and folders of an instance that was never started."""
    return YarddeskProcess(folder, config=NOWHERE)


class Doctor:
    """What it finds on a machine. inside: a command line that runs it, as `unshare`. variables: more of its environment."""

    def __init__(
        self, app: YarddeskProcess, *, inside: Sequence[str] = (), variables: Mapping[str, str] | None = None
    ) -> None:
        line = [*inside, sys.executable, "-m", "yarddesk", "doctor", "--data-dir", str(app.data_dir)]
        self._command = CommandLine(
            [*line, "-c", str(app.config_file)], environment=app.environment | dict(variables or {})
        )

    def __call__(self, *arguments: str, status: int = 0) -> subprocess.CompletedProcess[str]:
        done = self._command.run(*arguments, status=status)
        assert "Traceback" not in done.stderr
        return done

    def look(self, *, status: int = 0) -> Findings:
        found = json.loads(self("--json", status=status).stdout)["findings"]
        assert all(set(each) == {"check", "subject", "state", "message", "hint"} for each in found)
        assert all(each["hint"] for each in found if each["state"] != "ok")
        assert status == int(any(each["state"] == "broken" for each in found))
        return Findings(found)


class Findings:
    """What it found in one run."""

    def __init__(self, found: list[dict[str, str]]) -> None:
        self._found = found

    def of(self, check: str) -> list[dict[str, str]]:
        return [each for each in self._found if each["check"] == check]

    def one(self, check: str, subject: str | None = None) -> dict[str, str]:
        """The one of a check, or of a subject of it."""
        (found,) = [each for each in self.of(check) if subject in (None, each["subject"])]
        return found


def everything_below(folder: Path) -> dict[str, tuple[int, bytes | None]]:
    """Every file and folder, with its times and content."""
    return {
        str(path): (path.lstat().st_mtime_ns, path.read_bytes() if path.is_file() else None)
        for path in sorted(folder.rglob("*"))
    }
