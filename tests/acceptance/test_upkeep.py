"""Commands on stored content: through a running instance, and without one."""

import json
import socket
import threading
from collections.abc import Callable

from tests.peers.yarddesk import YarddeskProcess
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
