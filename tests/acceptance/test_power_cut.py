"""The power goes: what `yarddesk serve` had not made durable is lost, and what got its 201 is there, whole and queued.

The data lie on an ext4 in a file, which writes nothing by itself for five minutes (`commit=300`): a copy of that file is the
disk as it was at that moment.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Sized
from functools import partial
from pathlib import Path

import pytest

from tests.acceptance.settings import push_everything_to
from tests.peers.yarddesk import YarddeskProcess
from tests.support.images import Content, Image, build_image
from tests.support.waiting import until

MOUNT = 'mount -o loop,commit=300 "$1" "$2" && shift 2 && exec "$@"'
DISK_BYTES = 48 * 1024 * 1024
NOBODY = "127.0.0.1:9"


class Disk:
    """Starts yards on file systems in files, and cuts their power."""

    def __init__(self, folder: Path, make: Callable[..., YarddeskProcess]) -> None:
        self._folder = folder
        self._make = make
        self._cuts = 0
        self._mounted = folder / "mounted"
        self._mounted.mkdir()
        self._file = folder / "disk"
        with self._file.open("wb") as file:
            file.truncate(DISK_BYTES)
        options = "lazy_itable_init=0,lazy_journal_init=0"  # or the kernel goes on with it while it's mounted
        subprocess.run(["mkfs.ext4", "-q", "-E", options, self._file], check=True)
        self.serve = self._started(self._file, "whole")
        self.serve.run("pause")

    def cut(self) -> YarddeskProcess:
        """A yard that starts on what was on the disk at this moment."""
        self._cuts += 1
        left = self._folder / f"left-{self._cuts}"
        os.kill(self.serve.pid, signal.SIGSTOP)
        try:
            until(
                lambda: set(states(self.serve.pid)) == {"T"},
                10,
                "it stands still, and so does what it had begun to write",
            )
            shutil.copyfile(self._file, left)
        finally:
            os.kill(self.serve.pid, signal.SIGCONT)
        return self._started(left, f"after-{self._cuts}")

    def _started(self, file: Path, name: str) -> YarddeskProcess:
        within = ["unshare", "--mount", "sh", "-c", MOUNT, "sh", str(file), str(self._mounted)]
        data, config = self._mounted / "data", push_everything_to(NOBODY)
        serve = self._make(within=within, data_dir=data, config=config, folder=self._folder / name)
        serve.data_dir = Path(f"/proc/{serve.pid}/root{data}")  # the disk as its mount namespace has it
        return serve


def states(pid: int) -> list[str]:
    """Of all threads."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [(task / "stat").read_text().rpartition(")")[2].split()[0] for task in tasks]


@pytest.fixture
def disk(tmp_path: Path, make_yarddesk: Callable[..., YarddeskProcess]) -> Disk:
    return Disk(tmp_path, make_yarddesk)


def put(serve: YarddeskProcess, repository: str, reference: str, manifest: Content) -> None:
    path = f"/v2/{repository}/manifests/{reference}"
    status, _, body = serve.request("PUT", path, manifest.content, {"Content-Type": manifest.media_type})
    assert status == 201, body


def as_many(pushed: Sized, count: int) -> int:
    """How many there are; 0 while there are fewer than `count`."""
    return len(pushed) if len(pushed) >= count else 0


def all_is_whole(serve: YarddeskProcess) -> None:
    files = [*serve.data_dir.glob("blobs/sha256/*/*"), *serve.data_dir.glob("manifests/**/_sha256/*")]
    for path in files:
        assert path.suffix == ".type" or hashlib.sha256(path.read_bytes()).hexdigest() == path.name, path


def there_and_queued(serve: YarddeskProcess, repository: str, reference: str, image: Image) -> None:
    assert serve.holds(repository, reference, image), f"{repository} {reference}"
    marker = serve.data_dir / "pending" / repository / f"{reference.replace(':', '_')}.json"
    assert json.loads(marker.read_text())["digest"] == image.manifest.digest
    jobs = {(job["repository"], job["reference"]): job["digest"] for job in serve.control("queue")["jobs"]}
    assert jobs[repository, reference] == image.manifest.digest


def test_what_got_its_201_outlives_a_power_cut_right_after_it(disk: Disk):
    serve = disk.serve
    one, two = build_image("one", (300_000, 20_000)), build_image("two", (300_000, 20_000))
    for blob in one.blobs:
        serve.push_blob("new/blobs", blob)
    left = disk.cut()
    assert [left.blob("new/blobs", blob.digest) for blob in one.blobs] == [blob.content for blob in one.blobs]
    left.kill()
    put(serve, "new/manifests", one.manifest.digest, one.manifest)
    left = disk.cut()
    there_and_queued(left, "new/manifests", one.manifest.digest, one)
    left.kill()
    put(serve, "new/tags", "v1", one.manifest)
    left = disk.cut()
    there_and_queued(left, "new/tags", "v1", one)
    left.kill()
    serve.push("new/tags", "v1", two)
    left = disk.cut()
    there_and_queued(left, "new/tags", "v1", two)
    all_is_whole(left)


def test_what_got_its_201_outlives_a_power_cut_while_others_push(disk: Disk):
    acknowledged: dict[str, Image] = {}
    ended = threading.Event()

    def push(client: int) -> None:
        number = 0
        while not ended.is_set():
            image = build_image(f"{client} {number}", (40_000, 3000))
            repository = f"client-{client}/app-{number}"
            disk.serve.push(repository, "v1", image)
            acknowledged[repository] = image
            number += 1

    clients = [threading.Thread(target=push, args=(client,)) for client in range(3)]
    for client in clients:
        client.start()
    try:
        for count in (5, 15):
            known = until(partial(as_many, acknowledged, count), 30, "pushes")
            left = disk.cut()
            for repository, image in list(acknowledged.items())[:known]:
                there_and_queued(left, repository, "v1", image)
            all_is_whole(left)
            left.kill()
    finally:
        ended.set()
        for client in clients:
            client.join()
