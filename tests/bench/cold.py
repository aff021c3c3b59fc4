"""Cold pulls: what an upstream has comes through a cache for the first time, against docker-registry's own proxy mode.

Each round has blobs and a tag of its own, put at the upstream first; then it's pulled from there itself (`direct`), through
docker-registry as a proxy, and through `yarddesk serve`, a different one first in each round.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bench.bounds import Bound
from tests.bench.content import REPOSITORY
from tests.bench.report import table
from tests.bench.results import Results
from tests.bench.servers import DOCKER_REGISTRY, SERVE, Server
from tests.bench.transfers import push
from tests.peers.registry import DockerRegistry
from tests.peers.yarddesk import YarddeskProcess
from tests.support.images import build_image
from tests.support.waiting import until

DIRECT = "direct"
COLD_NAMES = (DIRECT, DOCKER_REGISTRY, SERVE)
_AGENTS = {DIRECT: "", DOCKER_REGISTRY: "Go-http-client", SERVE: "yarddesk"}
CLIENTS = 50

_CONFIG = """\
upstreams:
  - registry: {host}
    prefix: ""
    auth: {{type: anonymous}}
    tls: {{plain_http: true}}
"""


@dataclass(frozen=True)
class ColdSizes:
    """Bytes of the blob that one client pulls, and of the one that many pull at once."""

    alone: int = 256 << 20
    together: int = 64 << 20


class ColdPulls:
    """What the rounds gave, and what must be reached."""

    def __init__(self, results: Results) -> None:
        self._results = results

    def lines(self) -> list[str]:
        return [table(self._results, COLD_NAMES)]

    def bounds(self) -> list[Bound]:
        results = self._results
        ratios = [
            ("cold pull: serve ÷ direct", results.ratio("cold-pull", SERVE, DIRECT), 0.9),
            ("cold pull: serve ÷ proxy", results.ratio("cold-pull", SERVE, DOCKER_REGISTRY), 1.5),
            ("cold pull, 50 at once: serve ÷ proxy", results.ratio("cold-together", SERVE, DOCKER_REGISTRY), 4.0),
            ("GET of a tag within its time: serve ÷ proxy", results.ratio("warm-tag", SERVE, DOCKER_REGISTRY), 10.0),
        ]
        bounds = [Bound(what, ratio, least) for what, ratio, least in ratios if ratio is not None]
        ours, direct = (results.median("cold-pull", name, "first_byte_seconds") for name in (SERVE, DIRECT))
        if ours is not None and direct is not None:
            later = (ours - direct) * 1e3
            bounds.append(Bound("cold pull: first byte later than direct, ms", later, 10.0, at_most=True))
        gets = results.figures.get(("cold-together", SERVE, "upstream_gets"))
        if gets:
            bounds.append(Bound("cold pull, 50 at once: GETs upstream, at most", max(gets), 1.0, at_most=True))
        return bounds


def measure_cold(folder: Path, *, rounds: int, sizes: ColdSizes, seconds: float) -> ColdPulls:
    """Run all rounds; folder: where the content goes; seconds: how long the tag is asked for in each."""
    results = Results()
    with _running(folder) as servers:
        upstream = servers[0].peer
        assert isinstance(upstream, DockerRegistry)
        upstream.push(REPOSITORY, "warm", build_image("cold"))
        for number in range(rounds):
            first = number % len(servers)
            order = [*servers[first:], *servers[:first]]
            _pull(upstream, order, f"cold {number}", "cold-pull", sizes.alone, results)
            _pull(upstream, order, f"cold together {number}", "cold-together", sizes.together, results)
            for server in order:
                load(server, "warm-tag", results, "--reference=warm", f"--seconds={seconds}")
            print(f"cold pulls: round {number + 1} of {rounds} done", file=sys.stderr)
    return ColdPulls(results)


@contextmanager
def _running(folder: Path) -> Iterator[list[Server]]:
    with ExitStack() as stack:
        upstream = DockerRegistry(folder / "upstream")
        stack.callback(upstream.stop)
        upstream.start()
        proxy = DockerRegistry(folder / "proxy", settings={"proxy": {"remoteurl": upstream.url}})
        stack.callback(proxy.stop)
        proxy.start()
        ours = YarddeskProcess(folder / "serve", mode="serve", config=_CONFIG.format(host=upstream.host))
        stack.callback(ours.kill)
        ours.start()
        yield [Server(DIRECT, upstream), Server(DOCKER_REGISTRY, proxy), Server(SERVE, ours)]


def _pull(
    upstream: DockerRegistry, servers: Sequence[Server], seed: str, measure: str, size: int, results: Results
) -> None:
    pushed = push(upstream.port, REPOSITORY, seed, size, chunked=False)["digests"]
    assert isinstance(pushed, list)
    digest = str(pushed[0])
    for server in servers:
        os.sync()
        before = _gets(upstream, digest, server)
        load(server, measure, results, f"--reference={digest}", f"--bytes={size}")
        # It writes a line once the last byte has left.
        until(lambda: _gets(upstream, digest, server) > before, what="the upstream logs the pull")  # noqa: B023
        results.add(measure, server.name, {"upstream_gets": _gets(upstream, digest, server) - before})


def _gets(upstream: DockerRegistry, digest: str, server: Server) -> int:
    """How often the upstream was asked for a blob through this server, whose User-Agent stands in its log."""
    agent = _AGENTS[server.name]
    lines = [line for line in upstream.log().splitlines() if f"/blobs/{digest} HTTP" in line and '"GET ' in line]
    return sum(line.endswith(f'"{agent}"') or f'"{agent}/' in line for line in lines)


def load(server: Server, measure: str, results: Results, *more: str) -> None:
    """Run the load client against one server; keep what it measured, and what that cost the server."""
    command = [sys.executable, "-m", "tests.bench.load", measure, f"--port={server.peer.port}"]
    before = server.cpu_seconds()
    done = subprocess.run(
        [*command, f"--repository={REPOSITORY}", *more], stdout=subprocess.PIPE, text=True, check=True
    )
    results.add(measure, server.name, {**json.loads(done.stdout), "cpu_seconds": server.cpu_seconds() - before})
