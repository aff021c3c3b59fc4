"""The benchmark itself, small; its figures are for `make bench`."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench.blobs import as_chunks, blocks
from tests.bench.bounds import bounds_of
from tests.bench.report import table
from tests.bench.results import Results
from tests.bench.servers import DESKTOP, DOCKER_REGISTRY, QUEUED, SERVE

SMALL = ["--rounds=1", "--mib=4", "--huge-mib=0", "--layers=5", "--jobs=5", "--tags=5", "--repositories=5"]
SMALL += ["--sync-rounds=0", "--cold-rounds=0", "--outage-jobs=0"]


@pytest.mark.parametrize("server", [DOCKER_REGISTRY, SERVE, QUEUED, DESKTOP])
def test_it_measures_every_server(tmp_path: Path, server: str) -> None:
    options = [*SMALL, "--seconds=0.2", f"--folder={tmp_path}", "--servers", server]
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench", *options], cwd=Path(__file__).parents[2], capture_output=True, text=True
    )
    assert done.returncode in (0, 1), done.stderr
    assert "Traceback" not in done.stderr
    assert "push, small layers" in done.stdout
    assert ("HEAD of a manifest" in done.stdout) == (server != QUEUED)
    assert ("loop's delay" in done.stdout) == (server == DESKTOP)
    assert list(tmp_path.iterdir()) == []


def results_of(**figures: float) -> Results:
    """Pushes at these rates, by server; a pull whose CPU seconds are as many."""
    results = Results()
    for server, rate in figures.items():
        name = server.replace("_", "-")
        results.add("push", name, {"bytes_per_second": rate, "digests": ["sha256:0"]})
        results.add("pull", name, {"bytes_per_second": rate, "cpu_seconds": rate})
    return results


def kept(results: Results) -> dict[str, bool]:
    return {bound.what: bound.kept for bound in bounds_of(results)}


def test_a_missed_bound_is_told_from_a_kept_one() -> None:
    found = kept(results_of(docker_registry=100.0, serve=240.0, desktop=170.0))
    assert found == {
        "push, Content-Length: serve ÷ docker-registry": False,
        "push, Content-Length: desktop ÷ serve": True,
        "pull: serve ÷ docker-registry": True,
        "pull: desktop ÷ serve": True,
        "pull, CPU seconds: serve ÷ docker-registry": False,
    }


def test_what_must_be_small_is_missed_when_it_is_large() -> None:
    results = Results(peak_memory={SERVE: 81_000_000, DESKTOP: 200_000_000})
    results.add("tags", SERVE, {"seconds": 0.0016})
    results.add("catalog", SERVE, {"seconds": 0.0014})
    results.add("head", SERVE, {"requests_per_second": 1.0, "p99_seconds": 0.011})
    results.add("push", DESKTOP, {"bytes_per_second": 1.0, "loop_delay_seconds": 0.017})
    assert list(kept(results).values()) == [False, False, True, False, False]


def test_the_median_round_counts() -> None:
    results = Results()
    for rate in (1.0, 50.0, 60.0):
        results.add("pull", SERVE, {"bytes_per_second": rate})
    assert results.median("pull", SERVE) == 50.0
    assert "50 MB/s" not in table(results, [SERVE])
    results.add("push", SERVE, {"bytes_per_second": 50e6})
    assert "50 MB/s" in table(results, [SERVE])


def test_a_blob_has_its_size_and_is_the_same_each_time() -> None:
    size = (3 << 20) + 5
    blobs = [b"".join(blocks("a", size)) for _ in range(2)]
    assert len(blobs[0]) == size
    assert len({hashlib.sha256(blob).digest() for blob in blobs}) == 1


def test_chunks_hold_the_whole_blob() -> None:
    coded = b"".join(as_chunks(blocks("a", 100_000)))
    plain = b""
    while coded:
        length, _, rest = coded.partition(b"\r\n")
        plain += rest[: int(length, 16)]
        coded = rest[int(length, 16) + 2 :]
    assert plain == b"".join(blocks("a", 100_000))
