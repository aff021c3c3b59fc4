"""A yard as `serve` runs it, store and queue together, and a fault at every step of what clients do to it.

Dying leaves what the kernel took, so the folder need not lie on a disk: in memory an fsync costs nothing.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MEMORY = Path("/dev/shm")
FEWEST_CALLS = {"push": 30, "push_index": 40, "delete": 15, "resume": 8, "start": 20}


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="yd-", dir=MEMORY if MEMORY.is_dir() else None) as folder:
        yield Path(folder)


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("fault", "way"),
    [
        *(way for way in product(("killed", "failing"), FEWEST_CALLS) if way != ("failing", "start")),
        # What fails once at the start is put right by the next one: then all is not tidy at once, as the others are.
        *product(("ENOSPC", "EROFS"), ("start",)),
    ],
)
def test_whatever_call_it_comes_at(fault: str, way: str, folder: Path) -> None:
    program = [sys.executable, "-m", "tests.faults.sweep", fault, way, str(folder)]
    outcome = subprocess.run(program, cwd=ROOT, capture_output=True, text=True)
    assert outcome.returncode == 0, outcome.stderr
    assert int(outcome.stdout) >= FEWEST_CALLS[way]
