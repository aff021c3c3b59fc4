"""A real Docker Engine, apart from any that runs on this machine."""

from __future__ import annotations

import json
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.programs import CommandLine, Program, clean_environment


@dataclass
class Dockerd:
    """dockerd with its own folders, socket and daemon.json; needs root.

    folder: a short path, since a socket's name holds 107 bytes. settings: the first content of daemon.json. flags: more of
    the command line's.
    """

    folder: Path
    settings: Mapping[str, Any] = field(default_factory=dict)
    flags: Sequence[str] = ()

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.config_file = self.folder / "daemon.json"
        self.socket = self.folder / "docker.sock"
        self.pid_file = self.folder / "docker.pid"
        self._program = Program(
            [
                "dockerd",
                f"--config-file={self.config_file}",
                f"--data-root={self.folder / 'content'}",
                f"--exec-root={self.folder / 'exec'}",
                f"--pidfile={self.pid_file}",
                f"--host={self.address}",
                "--storage-driver=vfs",
                "--iptables=false",
                "--ip6tables=false",
                "--bridge=none",
                *self.flags,
            ],
            environment=clean_environment(self.folder / "home"),
            log=self.folder / "dockerd.log",
        )

    @property
    def address(self) -> str:
        """What DOCKER_HOST is set to."""
        return f"unix://{self.socket}"

    @property
    def pid(self) -> int:
        return self._program.pid

    def start(self) -> None:
        if not self.config_file.exists():
            self.config_file.write_text(json.dumps(dict(self.settings)), encoding="utf-8")
        self._program.start()
        self._program.wait_for_line(r"API listen on", deadline_seconds=60)

    def stop(self) -> None:
        self._program.stop(deadline_seconds=30)

    def configure(self, text: str) -> None:
        """Have that in its configuration, read."""
        self.config_file.write_text(text, encoding="utf-8", newline="")
        self.reload()

    def reload(self) -> None:
        """SIGHUP, and back when the configuration was read again."""
        before = self._program.output().count("Reloaded configuration")
        self._program.send(signal.SIGHUP)
        self._program.wait_for_line(rf"(?s)(Reloaded configuration.*){{{before + 1}}}")

    def log(self) -> str:
        return self._program.output()

    def client(self, folder: Path) -> Docker:
        """A `docker` that talks to this engine, its own configuration in `folder`."""
        environment = clean_environment(folder, {"DOCKER_HOST": self.address, "DOCKER_CONFIG": str(folder / ".docker")})
        return Docker(["docker"], environment=environment)


class Docker(CommandLine):
    """Docker's command line."""

    def load(self, archive: Path) -> None:
        self.run("load", "--input", str(archive))

    def push(self, name: str) -> None:
        self.run("push", name)

    def pull(self, name: str) -> None:
        self.run("pull", name)

    def repository_digest(self, name: str) -> str:
        """The digest under which the engine knows the image's manifest, from its last push or pull."""
        digests: list[str] = json.loads(self.run("image", "inspect", "--format", "{{json .RepoDigests}}", name).stdout)
        repository = name.rsplit(":", 1)[0]
        return next(digest.partition("@")[2] for digest in digests if digest.startswith(f"{repository}@"))
