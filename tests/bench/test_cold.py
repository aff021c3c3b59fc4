"""The benchmark of cold pulls, small; its figures are for `make bench`."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import ExitStack
from pathlib import Path

from tests.bench.bounds import Bound
from tests.bench.cold import COLD_NAMES, DIRECT, ColdPulls, ColdSizes, measure_cold
from tests.bench.line import Line
from tests.bench.results import Results
from tests.bench.servers import DOCKER_REGISTRY, SERVE


def test_cold_pulls_are_measured_directly_and_through_both_caches(tmp_path: Path) -> None:
    cold = measure_cold(tmp_path, rounds=1, sizes=ColdSizes(alone=3 << 20, together=1 << 20), seconds=0.1)
    assert all(name in cold.lines()[0] for name in COLD_NAMES)
    assert len(cold.bounds()) == 11
    for gets in cold.bounds()[-2:]:
        assert (gets.figure, gets.kept) == (1.0, True)


def test_slow_cold_pulls_are_told_from_quick_ones() -> None:
    results = Results()
    for server, rate, first in ((DIRECT, 100.0, 0.001), (DOCKER_REGISTRY, 50.0, 0.0), (SERVE, 80.0, 0.012)):
        for measure in ("cold-pull", "cold-line"):
            results.add(measure, server, {"bytes_per_second": rate, "first_byte_seconds": first})
        for measure in ("cold-together", "cold-line-together"):
            results.add(measure, server, {"bytes_per_second": rate, "upstream_gets": 2})
        results.add("warm-tag", server, {"requests_per_second": rate * rate})
    found = {bound.what: bound.kept for bound in ColdPulls(results).bounds()}
    assert found == {
        "cold pull over a line: serve ÷ direct": False,
        "cold pull over a line: serve ÷ proxy": True,
        "cold pull over a line, 50 at once: serve ÷ proxy": False,
        "cold pull over loopback: serve ÷ direct": False,
        "cold pull over loopback: serve ÷ proxy": True,
        "cold pull over loopback, 50 at once: serve ÷ proxy": False,
        "GET of a tag within its time: serve ÷ proxy": False,
        "cold pull over a line: first byte later than direct, ms": False,
        "cold pull over loopback: first byte later than direct, ms": False,
        "cold pull over a line, 50 at once: GETs upstream, at most": False,
        "cold pull over loopback, 50 at once: GETs upstream, at most": False,
    }


def test_what_is_beyond_reach_says_how_far_and_why() -> None:
    assert str(Bound("speed", 0.4, 0.9, beyond="one processor for all")) == (
        "MISSED  speed: 0.40 (at least 0.90); one processor for all"
    )
    assert str(Bound("speed", 0.95, 0.9, beyond="one processor for all")) == "kept    speed: 0.95 (at least 0.90)"


def test_a_line_carries_what_it_should_for_all_together() -> None:
    with ExitStack() as stack:
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        line = stack.enter_context(Line(server.getsockname()[1], 20e6))
        readers = [stack.enter_context(socket.create_connection(("127.0.0.1", line.port))) for _ in range(2)]
        began = time.monotonic()
        senders = [threading.Thread(target=_send, args=(server.accept()[0], bytes(1_000_000))) for _ in readers]
        for sender in senders:
            sender.start()
        assert [len(_all_of(reader)) for reader in readers] == [1_000_000, 1_000_000]
        assert time.monotonic() - began >= 0.095, "two megabytes at 20 MB a second"
        for sender in senders:
            sender.join()


def _send(end: socket.socket, content: bytes) -> None:
    with end:
        end.sendall(content)


def _all_of(end: socket.socket) -> bytes:
    return b"".join(iter(lambda: end.recv(65536), b""))
