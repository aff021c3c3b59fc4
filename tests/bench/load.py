"""The benchmark's client, a process of its own: plain sockets and bytes made beforehand, so that the server is the limit.

`python -m tests.bench.load MEASURE …` prints one JSON object with what it measured.
"""

from __future__ import annotations

import argparse
import json

from tests.bench.asking import ENTRIES, ask_in_turn, ask_often
from tests.bench.measures import MEASURES
from tests.bench.pulls import pull_alone, pull_together
from tests.bench.small_layers import push_small
from tests.bench.transfers import pull, push, push_together


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("measure", choices=list(MEASURES))
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--repository", default="bench/app")
    parser.add_argument("--seed", default="")
    parser.add_argument("--bytes", type=int, default=512 << 20)
    parser.add_argument("--layers", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--times", type=int, default=4)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--reference", default="")
    parser.add_argument("--tag", default="", help="of the image whose layer --reference is")
    print(json.dumps(measured(parser.parse_args())))


def measured(options: argparse.Namespace) -> dict[str, object]:
    """What the chosen measure gives."""
    port, repository = options.port, options.repository
    match options.measure:
        case "push":
            return push(port, repository, options.seed, options.bytes, chunked=False)
        case "push-chunked" | "push-huge":
            return push(port, repository, options.seed, options.bytes, chunked=True)
        case "push-parallel":
            return push_together(port, repository, options.seed, options.bytes, 4)
        case "push-small":
            return push_small(port, repository, options.seed, options.layers)
        case "pull" | "pull-huge":
            return pull(port, f"/v2/{repository}/blobs/{options.reference}", options.bytes, options.times)
        case "cold-pull" | "cold-line":
            return pull_alone(port, repository, options.tag, options.reference, options.bytes)
        case "cold-together" | "cold-line-together":
            return pull_together(port, repository, options.tag, options.reference, options.bytes, options.clients)
        case "warm-tag":
            path = f"/v2/{repository}/manifests/{options.reference}"
            return ask_often(port, "GET", path, options.connections, options.seconds)
        case "head" | "get":
            path = f"/v2/{repository}/manifests/{options.reference}"
            return ask_often(port, options.measure.upper(), path, options.connections, options.seconds)
        case "tags":
            return ask_in_turn(port, f"/v2/{repository}/tags/list?n={ENTRIES}&last=tag-0500", options.times)
        case _:
            return ask_in_turn(port, f"/v2/_catalog?n={ENTRIES}&last=many/0100", options.times)


if __name__ == "__main__":
    main()
