"""Disks that are full, read-only, or have no file left to give: real ones, each in a mount namespace of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.storage.disk_scenarios import SCENARIOS

ROOT = Path(__file__).parents[3]
MOUNT_AND_RUN = 'mount -t tmpfs -o size=8m yarddesk "$1" && shift && exec "$@"'


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_on_a_small_disk(scenario: str, tmp_path: Path) -> None:
    # Where we aren't root, a user namespace lets us mount; either way the mount ends with the process.
    unshare = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--mount", "--map-root-user"]
    program = [sys.executable, "-W", "error", "-m", "tests.unit.storage.disk_scenarios", scenario, str(tmp_path)]
    command = [*unshare, "sh", "-c", MOUNT_AND_RUN, "sh", str(tmp_path), *program]
    outcome = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert outcome.returncode == 0, outcome.stderr
    assert list(tmp_path.iterdir()) == []
