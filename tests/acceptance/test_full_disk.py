"""`yarddesk serve` on a disk of a few MiB that is full: refused in words, nothing partial, reads go on, and so do pushes with room."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from http.client import IncompleteRead
from itertools import product
from pathlib import Path

import pytest

from tests.acceptance.settings import push_everything_to
from tests.peers.yarddesk import YarddeskProcess
from tests.support.damage import blob_file, flip_a_bit
from tests.support.disks import filled, refused_for_want_of_room
from tests.support.images import Content, build_image
from tests.support.waiting import until

MIB = 1024 * 1024
DISK_MIB = 24
MOUNT = f'mount -t tmpfs -o size={DISK_MIB}m yarddesk "$1" && shift && exec "$@"'
BEFORE = build_image("before", (300_000,))
NEW = build_image("new", (4 * MIB,))
UPSTREAM = build_image("there", (3 * MIB, 20_000))


@dataclass
class SmallDisk:
    """A yard whose data lie on a disk of their own, which ends with it."""

    serve: YarddeskProcess

    def full(self, leaving: int = 0) -> AbstractContextManager[None]:
        return filled(self.serve.data_dir.parent, leaving)

    def left_over(self) -> list[str]:
        uploads = [path.name for path in (self.serve.data_dir / "uploads").iterdir()]
        return uploads + [path.name for path in self.serve.data_dir.rglob(".tmp-*")]


@pytest.fixture
def disk(make_yarddesk, docker_registry, tmp_path) -> SmallDisk:
    docker_registry.push("team/there", "1", UPSTREAM)
    mounted = tmp_path / "disk"
    mounted.mkdir()
    within = ["unshare", "--mount", "sh", "-c", MOUNT, "sh", str(mounted)]
    config = push_everything_to(docker_registry.host) + "cache: {min_free: 0}\n"  # it's to be filled
    serve = make_yarddesk(within=within, data_dir=mounted / "data", config=config)
    serve.data_dir = Path(f"/proc/{serve.pid}/root{serve.data_dir}")  # the disk as its mount namespace has it
    serve.push("team/app", "1", BEFORE)
    serve.run("wait", "team/app:1", "--timeout", "30")
    return SmallDisk(serve)


def push_monolithic(serve: YarddeskProcess, blob: Content) -> tuple[int, bytes]:
    path = f"/v2/team/app/blobs/uploads/?digest={blob.digest}"
    status, _, body = serve.request("POST", path, blob.content, {"Content-Type": "application/octet-stream"})
    return status, body


def push_chunked(serve: YarddeskProcess, blob: Content) -> tuple[int, bytes]:
    status, headers, body = serve.request("POST", "/v2/team/app/blobs/uploads/", b"")
    for start in range(0, len(blob.content), MIB):
        if status != 202:
            return status, body
        status, headers, body = serve.request("PATCH", headers["Location"], blob.content[start : start + MIB])
    if status != 202:
        return status, body
    status, _, body = serve.request("PUT", f"{headers['Location']}?digest={blob.digest}", b"")
    return status, body


def test_a_layer_is_refused_and_goes_in_once_there_is_room(disk: SmallDisk):
    layer = NEW.layers[0]
    for push, leaving in product((push_monolithic, push_chunked), (0, 8192, 2 * MIB)):
        with disk.full(leaving):
            refused_for_want_of_room(*push(disk.serve, layer))
            assert disk.serve.blob("team/app", layer.digest) is None
            assert disk.serve.holds("team/app", "1", BEFORE)
            until(lambda: disk.left_over() == [], 10, "nothing partial")
        assert push(disk.serve, layer)[0] == 201
        assert disk.serve.blob("team/app", layer.digest) == layer.content
        assert disk.serve.request("DELETE", f"/v2/team/app/blobs/{layer.digest}")[0] == 202


def test_a_manifest_a_tag_and_a_marker_are_refused_and_go_in_once_there_is_room(disk: SmallDisk, docker_registry):
    for blob in NEW.blobs:
        disk.serve.push_blob("team/app", blob)
    manifest = NEW.manifest
    with disk.full():
        for reference in ("1", "2", manifest.digest):
            path = f"/v2/team/app/manifests/{reference}"
            status, _, body = disk.serve.request("PUT", path, manifest.content, {"Content-Type": manifest.media_type})
            refused_for_want_of_room(status, body)
        assert disk.serve.holds("team/app", "1", BEFORE)
        assert disk.serve.tags("team/app") == ["1"]
        assert json.loads(disk.serve.run("queue", "--json").stdout)["jobs"] == []
        assert disk.left_over() == []
    disk.serve.push("team/app", "1", NEW)
    disk.serve.run("wait", "team/app:1", "--timeout", "30")
    assert docker_registry.holds("team/app", "1", NEW)


def test_a_pull_through_comes_whole_though_it_cannot_be_kept(disk: SmallDisk):
    with disk.full():
        assert disk.serve.holds("team/there", "1", UPSTREAM)
        until(lambda: disk.left_over() == [], 10, "nothing partial")
    assert disk.serve.holds("team/there", "1", UPSTREAM)


def test_a_pull_through_that_fills_the_disk_is_cut_and_comes_whole_when_asked_for_again(disk: SmallDisk):
    layer = UPSTREAM.layers[0]
    with disk.full(MIB):
        with suppress(IncompleteRead):
            assert disk.serve.blob("team/there", layer.digest) == layer.content
        assert disk.serve.blob("team/there", layer.digest) == layer.content
        until(lambda: disk.left_over() == [], 10, "nothing partial")


def test_verify_names_all_that_is_damaged_though_the_disk_has_no_room_to_mend_it(disk: SmallDisk):
    digests = {blob.digest for blob in BEFORE.blobs}
    for digest in digests:
        flip_a_bit(blob_file(disk.serve.data_dir, digest))
    with disk.full():
        found = json.loads(disk.serve.run("verify", "--json", status=1).stdout)
        assert {each["digest"] for each in found["amiss"]} == digests
        assert all("disk is full" in each["reason"] for each in found["amiss"])
    found = json.loads(disk.serve.run("verify", "--json").stdout)
    assert (found["unmended"], len(found["amiss"])) == (0, len(digests))
    assert disk.serve.holds("team/app", "1", BEFORE)
