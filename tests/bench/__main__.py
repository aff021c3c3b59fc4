"""`make bench`: bulk pushes, a pull and HEAD requests against docker-registry and yarddesk in one run.

All servers run at once and are measured in turns, a different one first in each round, so that whatever else the
machine does meets all of them. Ends with status 1 when a bound is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.bench.report import MEASURES, Results
from tests.bench.servers import NAMES, Server, running
from tests.support.images import build_image

REPOSITORY = "bench/app"


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench", description="Compare yarddesk with docker-registry.")
    parser.add_argument("--rounds", type=int, default=5, help="how often each is measured; the median counts")
    parser.add_argument("--mib", type=int, default=512, help="size of the blob, in MiB")
    parser.add_argument("--seconds", type=float, default=3.0, help="how long HEAD is asked in each round")
    parser.add_argument("--servers", nargs="+", choices=NAMES, default=list(NAMES))
    parser.add_argument("--folder", type=Path, help="where the content goes (the disk that is measured)")
    options = parser.parse_args()
    size = options.mib << 20
    needed = size * 2 * options.rounds * len(options.servers) + (1 << 30)
    folder = Path(tempfile.mkdtemp(prefix="yarddesk-bench-", dir=options.folder))
    try:
        if shutil.disk_usage(folder).free < needed:
            print(f"{folder}: {needed / 1e9:.0f} GB must be free", file=sys.stderr)
            return 1
        return compare(options, folder, size)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def compare(options: argparse.Namespace, folder: Path, size: int) -> int:
    results = Results()
    with running(options.servers, folder) as servers:
        image = build_image("bench")
        for server in servers:
            server.peer.push(REPOSITORY, "1", image)
        for number in range(options.rounds):
            first = number % len(servers)
            for measure in ("push", "push-chunked"):
                for server in servers[first:] + servers[:first]:
                    digest = transfer(results, measure, server, f"round {number}", size)
                    if measure == "push":
                        transfer(results, "pull", server, digest, size)
            for server in servers[first:] + servers[:first]:
                load(results, "head", server, "--reference=1", f"--seconds={options.seconds}")
            print(f"round {number + 1} of {options.rounds} done", file=sys.stderr)
        for server in servers:
            results.peak_memory[server.name] = server.peak_memory_bytes()
    print(f"{options.mib} MiB in one blob; median of {options.rounds} rounds\n")
    print(results.table(options.servers), end="\n\n")
    bounds = results.bounds()
    print("\n".join(str(bound) for bound in bounds))
    return 0 if all(bound.kept for bound in bounds) else 1


def transfer(results: Results, measure: str, server: Server, subject: str, size: int) -> str:
    """Measure one push (subject: a seed for the blob) or pull (subject: its digest); gives the digest pushed."""
    # What earlier transfers left to be written is written first, and not during this one.
    os.sync()
    which = f"--reference={subject}" if measure == "pull" else f"--seed={measure} {subject}"
    return str(load(results, measure, server, which, f"--bytes={size}").get("digest", ""))


def load(results: Results, measure: str, server: Server, *options: str) -> dict[str, float]:
    """Run the load client and keep what it measured."""
    assert measure in MEASURES
    before = server.cpu_seconds()
    command = [sys.executable, "-m", "tests.bench.load", measure, f"--port={server.peer.port}"]
    command += [f"--repository={REPOSITORY}", *options]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    answer: dict[str, float] = json.loads(done.stdout)
    results.add(measure, server.name, answer, server.cpu_seconds() - before)
    return answer


if __name__ == "__main__":
    raise SystemExit(main())
