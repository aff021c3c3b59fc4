"""What it costs while an upstream is down: images are queued, though all that they are is there already.

Down in two ways: nobody listens, so that connections are refused; and somebody takes connections and closes them without an
answer, as a proxy before a dead registry does, who counts them.
"""

from __future__ import annotations

import shutil
import socket
import struct
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from tests.bench.bounds import Bound
from tests.bench.servers import CONFIG_SYNCING, Server
from tests.peers.registry import DockerRegistry
from tests.peers.yarddesk import YarddeskProcess
from tests.support.images import build_image
from tests.support.waiting import until

REPOSITORY = "bench/waiting"
REQUESTS_A_SECOND = 20.0
CPU_SHARE = 0.01

_SETTLE_SECONDS = 2.0
"""At most; as long as is watched, where that is less."""


@dataclass(frozen=True)
class Outage:
    """Connections a second to who takes and closes them; shares of one processor, in both ways of being down."""

    jobs: int
    connections_a_second: float
    refused_cpu: float
    closed_cpu: float

    def lines(self) -> list[str]:
        return [
            f"{self.jobs} images wait for an upstream that is down: {self.refused_cpu:.2%} CPU where connections are"
            f" refused; {self.closed_cpu:.2%} CPU and {self.connections_a_second:.1f} connections a second where they"
            " are closed"
        ]

    def bounds(self) -> list[Bound]:
        return [
            Bound("an upstream is down: requests a second", self.connections_a_second, REQUESTS_A_SECOND, at_most=True),
            Bound(
                "an upstream is down: CPU of serve, %",
                max(self.refused_cpu, self.closed_cpu) * 100,
                CPU_SHARE * 100,
                at_most=True,
            ),
        ]


class DeadEnd:
    """Takes connections on a port, resets each at once, and counts them."""

    def __init__(self, port: int) -> None:
        self.taken = 0
        self._listener = socket.create_server(("127.0.0.1", port))
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        # A thread that waits in `accept` isn't woken by `close` alone.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.taken += 1
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()


def measure_outage(folder: Path, *, jobs: int, seconds: float) -> Outage:
    """`seconds`: how long it's watched in each way of being down."""
    image = build_image("outage")
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        registry = DockerRegistry(folder / "registry")
        stack.callback(registry.stop)
        registry.start()
        yard = YarddeskProcess(folder / "yard", config=CONFIG_SYNCING.format(host=registry.host))
        stack.callback(yard.kill)
        yard.start()
        yard.push(REPOSITORY, "synced", image)
        yard.run("wait", f"{REPOSITORY}:synced")
        registry.stop()
        for number in range(jobs):
            yard.push(REPOSITORY, f"waits-{number}", image)
        until(lambda: yard.control("status")["state"] == "offline", what="the upstream is seen to be down")
        refused = _cpu_share(yard, seconds)
        dead_end = DeadEnd(registry.port)
        stack.callback(dead_end.close)
        until(lambda: dead_end.taken > 0, what="somebody asks whether the upstream is back")
        begin, before = time.perf_counter(), dead_end.taken
        closed = _cpu_share(yard, seconds)
        rate = (dead_end.taken - before) / (time.perf_counter() - begin)
        assert sum(yard.control("status")["jobs"].values()) == jobs, "images left the queue without their upstream"
    return Outage(jobs, rate, refused, closed)


def _cpu_share(yard: YarddeskProcess, seconds: float) -> float:
    # What was begun before (the last push, a look at the queue) is not the idle time's.
    time.sleep(min(_SETTLE_SECONDS, seconds))
    server = Server("", yard)
    begin, before = time.perf_counter(), server.cpu_seconds()
    time.sleep(seconds)
    return (server.cpu_seconds() - before) / (time.perf_counter() - begin)
