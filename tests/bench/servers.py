"""The servers that are compared: docker-registry, `yarddesk serve`, and the desktop app with its window open."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.peers.desktop import Desktop
from tests.peers.registry import DockerRegistry
from tests.peers.yarddesk import YarddeskProcess

DOCKER_REGISTRY = "docker-registry"
SERVE = "serve"
DESKTOP = "desktop"
NAMES = (DOCKER_REGISTRY, SERVE, DESKTOP)

# Nothing of ours is to look for a registry elsewhere while it is measured.
CONFIG = "upstreams: []\n"


@dataclass(frozen=True)
class Server:
    """A running server."""

    name: str
    peer: DockerRegistry | YarddeskProcess

    def cpu_seconds(self) -> float:
        """Processor time that it has used up to now, user and system."""
        times = psutil.Process(self.peer.pid).cpu_times()
        return float(times.user + times.system)

    def peak_memory_bytes(self) -> int:
        """The most memory that was resident at once since it started."""
        status = Path(f"/proc/{self.peer.pid}/status").read_text(encoding="ascii")
        found = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
        assert found is not None, status
        return int(found[1]) * 1024


@contextmanager
def running(names: list[str], folder: Path) -> Iterator[list[Server]]:
    """Start these servers, all with their content below `folder`, and stop them at the end."""
    with ExitStack() as stack:
        yield [Server(name, _start(name, folder / name, stack)) for name in names]


def _start(name: str, folder: Path, stack: ExitStack) -> DockerRegistry | YarddeskProcess:
    if name == DOCKER_REGISTRY:
        registry = DockerRegistry(folder)
        stack.callback(registry.stop)
        registry.start()
        return registry
    if name == SERVE:
        return _start_ours(YarddeskProcess(folder, mode="serve", config=CONFIG), stack)
    screen = Desktop(folder / "screen")
    stack.callback(screen.stop)
    screen.start()
    app = YarddeskProcess(folder, mode="desktop", config=CONFIG, environment=screen.environment)
    _start_ours(app, stack)
    screen.wait_for_window("--pid", str(app.pid))
    return app


def _start_ours(process: YarddeskProcess, stack: ExitStack) -> YarddeskProcess:
    stack.callback(process.kill)
    process.start()
    return process
