"""The benchmark of cold pulls, small; its figures are for `make bench`."""

from __future__ import annotations

from pathlib import Path

from tests.bench.cold import COLD_NAMES, DIRECT, ColdPulls, ColdSizes, measure_cold
from tests.bench.results import Results
from tests.bench.servers import DOCKER_REGISTRY, SERVE


def test_cold_pulls_are_measured_directly_and_through_both_caches(tmp_path: Path) -> None:
    cold = measure_cold(tmp_path, rounds=1, sizes=ColdSizes(alone=3 << 20, together=1 << 20), seconds=0.1)
    assert all(name in cold.lines()[0] for name in COLD_NAMES)
    assert len(cold.bounds()) == 6
    gets = cold.bounds()[-1]
    assert (gets.figure, gets.kept) == (1.0, True)


def test_slow_cold_pulls_are_told_from_quick_ones() -> None:
    results = Results()
    for server, rate, first in ((DIRECT, 100.0, 0.001), (DOCKER_REGISTRY, 50.0, 0.0), (SERVE, 80.0, 0.012)):
        results.add("cold-pull", server, {"bytes_per_second": rate, "first_byte_seconds": first})
        results.add("cold-together", server, {"bytes_per_second": rate, "upstream_gets": 2})
        results.add("warm-tag", server, {"requests_per_second": rate * rate})
    assert [bound.kept for bound in ColdPulls(results).bounds()] == [False, True, False, False, False, False]
