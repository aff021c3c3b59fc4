"""`make bench`: yarddesk and docker-registry side by side, in one run, against the bounds of `bounds.py`.

All servers run at once and are measured in turns, a different one first in each round, so that whatever else the
machine does meets all of them. Ends with status 1 when a bound is missed.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.bench.bounds import Bound, bounds_of
from tests.bench.cold import ColdSizes, measure_cold
from tests.bench.content import REPOSITORY, TAG, TAGGED, fill
from tests.bench.measures import BULK
from tests.bench.outage import measure_outage
from tests.bench.report import table
from tests.bench.results import Results
from tests.bench.servers import DESKTOP, DOCKER_REGISTRY, NAMES, SERVE, Server, running
from tests.bench.settling import settle
from tests.bench.syncing import measure_syncs


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench", description="Compare yarddesk with docker-registry.")
    parser.add_argument("--rounds", type=int, default=5, help="how often each is measured; the median counts")
    parser.add_argument("--mib", type=int, default=512, help="size of the blob, in MiB")
    parser.add_argument("--huge-mib", type=int, default=4096, help="size of the one huge layer, in MiB; 0: none")
    parser.add_argument("--layers", type=int, default=200, help="how many small layers")
    parser.add_argument("--jobs", type=int, default=3000, help="how many jobs wait while they are pushed")
    parser.add_argument("--tags", type=int, default=2000)
    parser.add_argument("--repositories", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=2.0, help="how long HEAD and GET are asked in each round")
    parser.add_argument("--sync-rounds", type=int, default=3, help="how often a sync is measured; 0: not at all")
    parser.add_argument("--sync-layers", type=int, default=20, help="layers of the image that is synced")
    parser.add_argument("--sync-mib", type=int, default=16, help="size of each, in MiB")
    parser.add_argument("--cold-rounds", type=int, default=3, help="how often cold pulls are measured; 0: not at all")
    parser.add_argument(
        "--outage-jobs", type=int, default=200, help="images that wait while an upstream is down; 0: none"
    )
    parser.add_argument(
        "--outage-seconds", type=float, default=15.0, help="how long that is watched, in each of two ways"
    )
    parser.add_argument("--servers", nargs="+", choices=NAMES, default=list(NAMES))
    parser.add_argument("--folder", type=Path, help="where the content goes (the disk that is measured)")
    options = parser.parse_args()
    needed = (max(options.mib, options.huge_mib) << 20) + (4 << 30)
    folder = Path(tempfile.mkdtemp(prefix="yarddesk-bench-", dir=options.folder))
    try:
        if shutil.disk_usage(folder).free < needed:
            print(f"{folder}: {needed / 1e9:.0f} GB must be free", file=sys.stderr)
            return 1
        return Comparison(options, folder).run()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Comparison:
    """The servers, measured round by round."""

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self._options = options
        self._folder = folder
        self._results = Results()

    def run(self) -> int:
        options, results, folder = self._options, self._results, self._folder
        with running(options.servers, folder) as servers:
            for server in servers:
                fill(server, tags=options.tags, repositories=options.repositories, jobs=options.jobs)
            print("the servers are filled", file=sys.stderr)
            for number in range(options.rounds):
                first = number % len(servers)
                self._round(number, servers[first:] + servers[:first])
                print(f"round {number + 1} of {options.rounds} done", file=sys.stderr)
            if options.huge_mib:
                for server in _named(servers, SERVE, DESKTOP):
                    self._transfer("push-huge", server, 0, options.huge_mib << 20, pull="pull-huge", times=1)
            for server in servers:
                results.peak_memory[server.name] = server.peak_memory_bytes()
        upward, more = self._upward()
        print(f"{options.mib} MiB in one blob, {options.layers} small layers; medians of {options.rounds} rounds\n")
        print(table(results, options.servers), end="\n\n")
        print("\n".join(upward), end="\n\n")
        bounds = bounds_of(results) + more
        print("\n".join(str(bound) for bound in bounds))
        return 0 if all(bound.kept for bound in bounds) else 1

    def _upward(self) -> tuple[list[str], list[Bound]]:
        """What goes to upstreams, and comes from them: figures in words, and their bounds. The servers of the rounds have ended by then."""
        options, folder, lines, bounds = self._options, self._folder, [], []
        if options.sync_rounds:
            syncs = measure_syncs(
                folder, rounds=options.sync_rounds, layers=options.sync_layers, layer_bytes=options.sync_mib << 20
            )
            lines, bounds = syncs.lines(), syncs.bounds()
            print("syncs are measured", file=sys.stderr)
        if options.cold_rounds:
            cold = measure_cold(folder / "cold", rounds=options.cold_rounds, sizes=ColdSizes(), seconds=options.seconds)
            lines, bounds = lines + cold.lines(), bounds + cold.bounds()
        if options.outage_jobs:
            outage = measure_outage(folder / "outage", jobs=options.outage_jobs, seconds=options.outage_seconds)
            lines, bounds = lines + outage.lines(), bounds + outage.bounds()
        return lines, bounds

    def _round(self, number: int, servers: Sequence[Server]) -> None:
        options = self._options
        compared = _named(servers, DOCKER_REGISTRY, SERVE, DESKTOP)
        for measure in BULK:
            for server in compared:
                pull = "pull" if measure == "push" else ""
                self._transfer(measure, server, number, options.mib << 20, pull=pull, times=4)
        for server in servers:
            settle(self._folder)
            self._load("push-small", server, f"--seed=round {number}", f"--layers={options.layers}")
        for measure in ("head", "get"):
            for server in compared:
                self._load(measure, server, f"--reference={TAG}", f"--seconds={options.seconds}")
        for server in _named(servers, SERVE, DESKTOP):
            if options.tags >= 2000:
                self._load("tags", server, "--times=200", repository=TAGGED)
            if options.repositories >= 500:
                self._load("catalog", server, "--times=200")

    def _transfer(self, measure: str, server: Server, number: int, size: int, *, pull: str, times: int) -> None:
        """Measure a push and, where `pull` says how that is called, pulls of what was pushed; then make room."""
        settle(self._folder, size)
        pushed = self._load(measure, server, f"--seed={measure} {number}", f"--bytes={size}")
        for digest in pushed["digests"]:
            if pull:
                settle(self._folder)
                self._load(pull, server, f"--reference={digest}", f"--bytes={size}", f"--times={times}")
            server.remove_blob(REPOSITORY, digest)

    def _load(self, measure: str, server: Server, *more: str, repository: str = REPOSITORY) -> dict[str, list[str]]:
        """Run the load client and keep what it measured, and what that cost the server."""
        command = [sys.executable, "-m", "tests.bench.load", measure, f"--port={server.peer.port}"]
        command += [f"--repository={repository}", *more]
        before = server.cpu_seconds()
        if measure in BULK:
            server.watch_loop()
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        delay = server.loop_delay() if measure in BULK else {}
        answer: dict[str, list[str]] = json.loads(done.stdout)
        cost = {"cpu_seconds": server.cpu_seconds() - before, **delay}
        self._results.add(measure, server.name, {**answer, **cost})
        return answer


def _named(servers: Sequence[Server], *names: str) -> list[Server]:
    return [server for server in servers if server.name in names]


if __name__ == "__main__":
    raise SystemExit(main())
