"""yarddesk itself as a process of its own, as a person starts it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from tests.support import prometheus_text
from tests.support.ports import hold_port
from tests.support.programs import CommandLine, Program, clean_environment
from tests.support.prometheus_text import Family
from tests.support.registry_client import RegistryClient


class YarddeskProcess(RegistryClient):
    """`yarddesk serve` or, on a desktop, `yarddesk`, with its folders, settings and environment below `folder`.

    mode: `serve` or `desktop`. config: the text of config.yaml. environment: what it gets beside its own folders,
    as Desktop.environment and SecretService.environment. options: more of its command line. within: a command that runs it, as `prlimit`.
    module: what Python runs, and its first arguments.
    Started again it keeps its port, its data and its settings.
    """

    def __init__(
        self,
        folder: Path,
        *,
        mode: Literal["serve", "desktop"] = "serve",
        config: str = "",
        environment: Mapping[str, str] | None = None,
        options: Sequence[str] = (),
        host: str = "127.0.0.1",
        port: int = 0,
        within: Sequence[str] = (),
        data_dir: Path | None = None,
        module: Sequence[str] = ("yarddesk",),
    ) -> None:
        super().__init__("")
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.mode = mode
        self.data_dir = data_dir or folder / "data"
        self.config_file = folder / "config.yaml"
        self.options = list(options)
        self.within = list(within)
        self.module = list(module)
        self.environment = clean_environment(folder / "home", environment)
        self.host = host
        self.port = port or hold_port(self, "::1")
        self.configure(config)
        self._program = self._make_program()

    def configure(self, config: str) -> None:
        """Write the settings file; a running instance sees it change."""
        self.config_file.write_text(config, encoding="utf-8")

    @property
    def registry(self) -> str:
        """HOST:PORT, as it stands in an image's name."""
        return f"{self.host}:{self.port}"

    @property
    def pid(self) -> int:
        return self._program.pid

    @property
    def running(self) -> bool:
        return self._program.running

    def start(self, deadline_seconds: float = 30.0) -> None:
        """Back when it answers requests, which it says by one line."""
        self.begin()
        line = self._program.wait_for_line(r"^listening on (https?://(.+):(\d+))\s*$", deadline_seconds)
        self.url, self.port = line[1], int(line[3])

    def begin(self) -> None:
        """Start it; back at once."""
        self._program = self._make_program()
        self._program.start()

    def terminate(self, deadline_seconds: float = 10.0) -> int:
        """SIGTERM; gives its exit status."""
        return self._program.stop(deadline_seconds)

    def interrupt(self, deadline_seconds: float = 10.0) -> int:
        """SIGINT, as Ctrl-C sends it; gives its exit status."""
        self._program.send(signal.SIGINT)
        return self._program.wait(deadline_seconds)

    def kill(self) -> None:
        """SIGKILL: it gets no chance to tidy up."""
        self._program.kill()

    def wait(self, deadline_seconds: float = 10.0) -> int:
        """Its exit status, once it ended by itself."""
        return self._program.wait(deadline_seconds)

    def restart(self) -> None:
        """End it in good order and start it again on the same port."""
        self.terminate()
        self.start()

    def output(self) -> str:
        """What it has printed since it was last started."""
        return self._program.output()

    def wait_for_line(self, pattern: str, deadline_seconds: float = 30.0) -> str:
        return self._program.wait_for_line(pattern, deadline_seconds)[0]

    def run(
        self, *arguments: str, status: int | None = 0, input_text: str | None = None, deadline_seconds: float = 60.0
    ) -> subprocess.CompletedProcess[str]:
        """A yarddesk command against this instance: `run("queue", "--json")`."""
        command = [*arguments, "--config", str(self.config_file), "--data-dir", str(self.data_dir)]
        line = CommandLine([sys.executable, "-m", "yarddesk"], environment=self.environment)
        return line.run(*command, status=status, input_text=input_text, deadline_seconds=deadline_seconds)

    def control(self, path: str, document: Mapping[str, Any] | None = None) -> Any:
        """What the control interface answers: GET, or POST with a document; path: below /api/v1/."""
        token = (self.data_dir / "control.token").read_text(encoding="ascii").strip()
        content = None if document is None else json.dumps(document).encode()
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.url}/api/v1/{path}", content, headers)
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as response:
            body = response.read()
        return json.loads(body) if body else None

    def metrics(self) -> dict[str, Family]:
        """`/metrics`, read strictly."""
        status, _, text = self.request("GET", "/metrics")
        assert status == 200
        return prometheus_text.read(text.decode())

    def _make_program(self) -> Program:
        command = [*self.within, sys.executable, "-m", *self.module]
        command += ["serve"] if self.mode == "serve" else []
        command += ["--config", str(self.config_file), "--data-dir", str(self.data_dir)]
        command += ["--host", self.host, "--port", str(self.port), *self.options]
        return Program(command, environment=self.environment, log=self.folder / "yarddesk.log")
