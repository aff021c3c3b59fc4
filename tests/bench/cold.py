"""Cold pulls: what an upstream has comes through a cache for the first time, against docker-registry's own proxy mode.

Each round has images of its own, put at the upstream first; then they're pulled from there itself (`direct`), through
docker-registry as a proxy, and through `yarddesk serve`, a different one first in each round: the manifest, as every
client does, and then its layer, which is what is measured.

It is measured over a line as quick as a wired network of today, which shows what the cache takes away from an upstream's
speed; and over loopback alone, where the upstream, the cache and the client share the same processors, and to hash the bytes,
without which the last of them may not be given out, takes longer than the whole direct pull. The bounds are the same.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from tests.bench.bounds import Bound
from tests.bench.content import REPOSITORY
from tests.bench.line import Line
from tests.bench.report import table
from tests.bench.results import Results
from tests.bench.servers import DOCKER_REGISTRY, SERVE, Server
from tests.bench.settling import settle
from tests.bench.transfers import push
from tests.bench.wire import Connection
from tests.peers.registry import DockerRegistry
from tests.peers.yarddesk import YarddeskProcess
from tests.support.images import OCI_LAYER, OCI_MANIFEST, build_image
from tests.support.waiting import until

DIRECT = "direct"
COLD_NAMES = (DIRECT, DOCKER_REGISTRY, SERVE)
_AGENTS = {DIRECT: "", DOCKER_REGISTRY: "Go-http-client", SERVE: "yarddesk"}
CLIENTS = 50
LINE_BYTES_PER_SECOND = 2.5e9 / 8
_SHARED = "upstream, cache and client share the processors"
_PLACES = (
    (" over a line", "cold-line", "cold-line-together", ""),
    (" over loopback", "cold-pull", "cold-together", _SHARED),
)
"""What it's called, what is measured there by one client and by many, and why a ratio may be out of reach."""

_QUIET_SECONDS = 0.1
_QUIET_CPU_SECONDS = 0.01

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
        bounds = []
        for where, alone, together, beyond in _PLACES:
            for other, name, least in (("direct", DIRECT, 0.9), ("proxy", DOCKER_REGISTRY, 1.5)):
                bounds += _ratio(results, f"cold pull{where}", alone, name, other, least, beyond)
            what = f"cold pull{where}, 50 at once"
            bounds += _ratio(results, what, together, DOCKER_REGISTRY, "proxy", 4.0, beyond)
        bounds += _ratio(results, "GET of a tag within its time", "warm-tag", DOCKER_REGISTRY, "proxy", 10.0)
        for where, measure, _, _ in _PLACES:
            ours, direct = (results.median(measure, name, "first_byte_seconds") for name in (SERVE, DIRECT))
            if ours is not None and direct is not None:
                later = (ours - direct) * 1e3
                bounds.append(Bound(f"cold pull{where}: first byte later than direct, ms", later, 10.0, at_most=True))
        for where, _, measure, _ in _PLACES:
            gets = results.figures.get((measure, SERVE, "upstream_gets"))
            if gets:
                what = f"cold pull{where}, 50 at once: GETs upstream, at most"
                bounds.append(Bound(what, max(gets), 1.0, at_most=True))
        return bounds


def _ratio(
    results: Results, what: str, measure: str, name: str, other: str, least: float, beyond: str = ""
) -> list[Bound]:
    ratio = results.ratio(measure, SERVE, name)
    return [] if ratio is None else [Bound(f"{what}: serve ÷ {other}", ratio, least, beyond=beyond)]


def measure_cold(folder: Path, *, rounds: int, sizes: ColdSizes, seconds: float) -> ColdPulls:
    """Run all rounds; folder: where the content goes; seconds: how long the tag is asked for in each."""
    results = Results()
    with ExitStack() as stack:
        upstream = DockerRegistry(folder / "upstream")
        stack.callback(upstream.stop)
        upstream.start()
        upstream.push(REPOSITORY, "warm", build_image("cold"))
        line = stack.enter_context(Line(upstream.port, LINE_BYTES_PER_SECOND))
        near = _started(folder / "near", upstream, upstream.port, stack)
        far = _started(folder / "far", upstream, line.port, stack)
        for number in range(rounds):
            for measure, servers, size in (
                ("cold-line", far, sizes.alone),
                ("cold-line-together", far, sizes.together),
                ("cold-pull", near, sizes.alone),
                ("cold-together", near, sizes.together),
            ):
                _pull(folder, upstream, _turned(servers, number), measure, number, size, results)
            for server in _turned(near, number):
                load(server, "warm-tag", results, "--reference=warm", f"--seconds={seconds}")
            print(f"cold pulls: round {number + 1} of {rounds} done", file=sys.stderr)
    return ColdPulls(results)


def _started(folder: Path, upstream: DockerRegistry, port: int, stack: ExitStack) -> list[Server]:
    """The upstream as it's reached at `port`, and both caches before it."""
    host = f"127.0.0.1:{port}"
    proxy = DockerRegistry(folder / "proxy", settings={"proxy": {"remoteurl": f"http://{host}"}})
    stack.callback(proxy.stop)
    proxy.start()
    ours = YarddeskProcess(folder / "serve", mode="serve", config=_CONFIG.format(host=host))
    stack.callback(ours.kill)
    ours.start()
    return [Server(DIRECT, upstream, reached_at=port), Server(DOCKER_REGISTRY, proxy), Server(SERVE, ours)]


def _turned(servers: Sequence[Server], number: int) -> Sequence[Server]:
    first = number % len(servers)
    return [*servers[first:], *servers[:first]]


def _pull(
    folder: Path,
    upstream: DockerRegistry,
    servers: Sequence[Server],
    measure: str,
    number: int,
    size: int,
    results: Results,
) -> None:
    tag = f"{measure}-{number}"
    pushed = push(upstream.port, REPOSITORY, tag, size, chunked=False)["digests"]
    assert isinstance(pushed, list)
    digest = str(pushed[0])
    put_manifest(upstream.port, tag, {"mediaType": OCI_LAYER, "digest": digest, "size": size})
    for server in servers:
        # docker-registry goes on with a fetch of its own, to keep it, after it has answered: that is not to slow down the next.
        until(lambda: all(map(_is_quiet, servers)), what="the servers are through with the pull before")
        settle(folder, size)
        before = _gets(upstream, digest, server)
        load(server, measure, results, f"--reference={digest}", f"--tag={tag}", f"--bytes={size}")
        # It writes a line once the last byte has left.
        until(lambda: _gets(upstream, digest, server) > before, what="the upstream logs the pull")  # noqa: B023
        results.add(measure, server.name, {"upstream_gets": _gets(upstream, digest, server) - before})


def put_manifest(port: int, tag: str, layer: Mapping[str, object]) -> None:
    """Tag an image of that one layer, whose config is there."""
    config = build_image("cold").config.descriptor
    document = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": [layer]}
    connection = Connection(port)
    path = f"/v2/{REPOSITORY}/manifests/{tag}"
    connection.ask("PUT", path, f"Content-Type: {OCI_MANIFEST}", body=json.dumps(document).encode(), status=201)
    connection.close()


def _is_quiet(server: Server) -> bool:
    before = server.cpu_seconds()
    time.sleep(_QUIET_SECONDS)
    return server.cpu_seconds() - before <= _QUIET_CPU_SECONDS


def _gets(upstream: DockerRegistry, digest: str, server: Server) -> int:
    """How often the upstream was asked for a blob through this server, whose User-Agent stands in its log."""
    agent = _AGENTS[server.name]
    lines = [line for line in upstream.log().splitlines() if f"/blobs/{digest} HTTP" in line and '"GET ' in line]
    return sum(line.endswith(f'"{agent}"') or f'"{agent}/' in line for line in lines)


def load(server: Server, measure: str, results: Results, *more: str) -> None:
    """Run the load client against one server; keep what it measured, and what that cost the server."""
    command = [sys.executable, "-m", "tests.bench.load", measure, f"--port={server.port}"]
    before = server.cpu_seconds()
    done = subprocess.run(
        [*command, f"--repository={REPOSITORY}", *more], stdout=subprocess.PIPE, text=True, check=True
    )
    results.add(measure, server.name, {**json.loads(done.stdout), "cpu_seconds": server.cpu_seconds() - before})
