"""The servers that are compared: docker-registry, `yarddesk serve`, the same with a long queue, and the desktop app."""

from __future__ import annotations

import json
import re
import shutil
import signal
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.peers.desktop import Desktop
from tests.peers.registry import DockerRegistry
from tests.peers.yarddesk import YarddeskProcess
from tests.support.ports import held_port
from tests.support.waiting import until

DOCKER_REGISTRY = "docker-registry"
SERVE = "serve"
QUEUED = "serve, queue"
DESKTOP = "desktop"
NAMES = (DOCKER_REGISTRY, SERVE, QUEUED, DESKTOP)

_ROOT = Path(__file__).parents[2]

# Nothing of ours is to look for a registry elsewhere while it is measured.
CONFIG = "upstreams: []\n"
CONFIG_SYNCING = """\
upstreams:
  - registry: {host}
    push: true
    auth: {{type: anonymous}}
    tls: {{plain_http: true}}
"""
CONFIG_AWAY = """\
upstreams:
  - registry: 127.0.0.1:{port}
    push: true
    pull: false
    auth: {{type: anonymous}}
    tls: {{plain_http: true}}
"""


@dataclass(frozen=True)
class Server:
    """A running server. `delays`: where the desktop app writes how late its loop was. `reached_at`: another port than its own."""

    name: str
    peer: DockerRegistry | YarddeskProcess
    delays: Path | None = None
    reached_at: int = 0

    @property
    def port(self) -> int:
        return self.reached_at or self.peer.port

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

    def remove_blob(self, repository: str, digest: str) -> None:
        """Make room on the disk, and in the memory that caches it."""
        if isinstance(self.peer, DockerRegistry):
            algorithm, _, name = digest.partition(":")
            shutil.rmtree(self.peer.content_folder / "docker/registry/v2/blobs" / algorithm / name[:2] / name)
        else:
            status, _, body = self.peer.request("DELETE", f"/v2/{repository}/blobs/{digest}")
            assert status == 202, body

    def watch_loop(self) -> None:
        """Have the desktop app sample from now on how late its loop is."""
        if self.delays is not None:
            self.delays.unlink(missing_ok=True)
            psutil.Process(self.peer.pid).send_signal(signal.SIGUSR1)

    def loop_delay(self) -> dict[str, float]:
        """What it has sampled; nothing where there is no such loop."""
        delays = self.delays
        if delays is None:
            return {}
        psutil.Process(self.peer.pid).send_signal(signal.SIGUSR2)
        until(delays.exists, what="the loop's delays are written")
        found = json.loads(delays.read_text(encoding="ascii"))
        assert found["samples"], found
        return {"loop_delay_seconds": found["p99_seconds"], "loop_delay_max_seconds": found["max_seconds"]}


@contextmanager
def running(names: Sequence[str], folder: Path) -> Iterator[list[Server]]:
    """Start these servers, all with their content below `folder`, and stop them at the end."""
    with ExitStack() as stack:
        yield [_start(name, folder / name.replace(", ", "-"), stack) for name in names]


def _start(name: str, folder: Path, stack: ExitStack) -> Server:
    if name == DOCKER_REGISTRY:
        registry = DockerRegistry(folder)
        stack.callback(registry.stop)
        registry.start()
        return Server(name, registry)
    if name == DESKTOP:
        return _start_desktop(folder, stack)
    config = CONFIG
    if name == QUEUED:
        config = CONFIG_AWAY.format(port=stack.enter_context(held_port()))
    return Server(name, _start_ours(YarddeskProcess(folder, mode="serve", config=config), stack))


def _start_desktop(folder: Path, stack: ExitStack) -> Server:
    screen = Desktop(folder / "screen")
    stack.callback(screen.stop)
    screen.start()
    delays = folder / "delays.json"
    app = YarddeskProcess(
        folder,
        mode="desktop",
        config=CONFIG,
        environment=screen.environment | {"PYTHONPATH": str(_ROOT)},
        module=("tests.bench.watched_desktop", str(delays)),
    )
    _start_ours(app, stack)
    screen.wait_for_window("--pid", str(app.pid))
    return Server(DESKTOP, app, delays)


def _start_ours(process: YarddeskProcess, stack: ExitStack) -> YarddeskProcess:
    stack.callback(process.kill)
    process.start()
    return process
