"""The benchmark itself, small; its figures are for `make bench`."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

from tests.bench.load import as_chunks, blocks
from tests.bench.report import Results
from tests.bench.servers import DESKTOP, DOCKER_REGISTRY, SERVE


def test_it_measures_docker_registry(tmp_path: Path) -> None:
    options = ["--servers", DOCKER_REGISTRY, "--rounds=1", "--mib=3", "--seconds=0.2", f"--folder={tmp_path}"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench", *options], cwd=Path(__file__).parents[2], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "HEAD of a manifest" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_missed_bound_is_told_from_a_kept_one() -> None:
    results = Results()
    for server, rate in ((DOCKER_REGISTRY, 100.0), (SERVE, 300.0), (DESKTOP, 250.0)):
        results.add("push", server, {"bytes_per_second": rate}, 0.0)
        results.add("head", server, {"requests_per_second": rate, "p99_ms": 1.0}, 0.0)
    kept = {bound.what: bound.kept for bound in results.bounds()}
    assert kept == {
        "push, Content-Length: serve ÷ docker-registry": True,
        "push, Content-Length: desktop ÷ serve": True,
        "HEAD of a manifest: serve ÷ docker-registry": False,
        "HEAD of a manifest: desktop ÷ serve": True,
    }


def test_the_median_round_counts() -> None:
    results = Results()
    for rate in (1.0, 50.0, 60.0):
        results.add("pull", SERVE, {"bytes_per_second": rate}, 0.0)
    assert results.rate("pull", SERVE) == 50.0


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
