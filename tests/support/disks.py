"""Disks of a few MiB, to be filled."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_MOUNT = 'mount -t tmpfs -o size="$0" yarddesk "$1" && echo mounted && exec cat'


@contextmanager
def small_disk(folder: Path, mib: int) -> Iterator[Path]:
    """A disk of its own at `folder`, in memory; the path by which it's reached from outside its mount namespace."""
    folder.mkdir()
    command = ["unshare", "--mount", "sh", "-c", _MOUNT, f"{mib}m", str(folder)]
    # The disk is there as long as the process, which ends with its input.
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "mounted\n"
        yield Path(f"/proc/{holder.pid}/root{folder}")


@contextmanager
def filled(folder: Path, leaving: int = 0) -> Iterator[None]:
    """Within the block the folder's disk has so many bytes left, rounded down to its blocks of 4 KiB."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"f" * 4096)
        except OSError:
            file.truncate(max(0, file.tell() - leaving))
    yield
    filler.unlink()


def refused_for_want_of_room(status: int, body: bytes) -> None:
    """A request's answer says that the disk is full, and what to do about it."""
    assert status == 507, body
    (error,) = json.loads(body)["errors"]
    assert error["code"]
    assert "disk is full" in error["message"]
    assert "Free some space" in error["message"]
