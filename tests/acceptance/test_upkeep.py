"""Commands on stored content: through a running instance, and without one."""

import json
import os
import socket
import threading
import time
from collections.abc import Callable

from tests.peers.yarddesk import YarddeskProcess
from tests.support.damage import blob_file
from tests.support.images import build_image
from yarddesk.storage.lock import InstanceLock


def test_usage_is_the_same_with_and_without_an_instance(make_yarddesk: Callable[..., YarddeskProcess]):
    yard = make_yarddesk()
    image = build_image("app")
    yard.push("team/app", "1", image)
    here = json.loads(yard.run("usage", "--json").stdout)
    assert here["used"] == sum(len(one.content) for one in (*image.blobs, *image.manifests))
    yard.terminate()
    assert json.loads(yard.run("usage", "--json").stdout) == here


def test_what_a_killed_instance_left_behind_stands_in_nobodys_way(make_yarddesk: Callable[..., YarddeskProcess]):
    yard = make_yarddesk()
    yard.kill()
    assert (yard.data_dir / "control.json").exists()
    with socket.create_server((yard.host, yard.port)):  # somebody else has its port now
        yard.run("usage")


def test_a_command_waits_for_whoever_just_has_the_folder(make_yarddesk: Callable[..., YarddeskProcess]):
    yard = make_yarddesk()
    yard.terminate()
    lock = InstanceLock.acquire(yard.data_dir)
    leaving = threading.Timer(1.0, lock.release)
    leaving.start()
    yard.run("usage")
    leaving.join()


def test_a_folder_that_somebody_keeps_is_said_to_be_kept(make_yarddesk: Callable[..., YarddeskProcess]):
    yard = make_yarddesk()
    yard.terminate()
    with InstanceLock.acquire(yard.data_dir):
        done = yard.run("usage", status=1)
    assert "already runs" in done.stderr


def test_gc_collects_what_nothing_refers_to_with_and_without_an_instance(make_yarddesk: Callable[..., YarddeskProcess]):
    yard = make_yarddesk()
    kept, loose = build_image("kept"), build_image("loose")
    yard.push("team/app", "1", kept)
    for blob in loose.blobs:
        yard.push_blob("team/app", blob)
    free = sum(len(blob.content) for blob in loose.blobs)
    assert json.loads(yard.run("gc", "--json").stdout)["kept_young"] == len(loose.blobs)
    assert json.loads(yard.run("gc", "--json", "--grace", "0", "--dry-run").stdout)["bytes"] == free
    assert json.loads(yard.run("gc", "--json", "--grace", "0").stdout)["bytes"] == free
    for blob in loose.blobs:
        yard.push_blob("team/app", blob)
        then = time.time() - 7200
        os.utime(blob_file(yard.data_dir, blob.digest), (then, then))
    yard.terminate()
    assert "Freed" in yard.run("gc").stdout
    yard.start()
    assert all(yard.blob("team/app", blob.digest) is None for blob in loose.blobs)
    assert yard.holds("team/app", "1", kept)
    yard.run("gc", "--grace", "soon", status=2)
