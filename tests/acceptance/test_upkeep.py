"""Commands on stored content: through a running instance, and without one."""

import json
import os
import socket
import threading
import time
from collections.abc import Callable

import pytest

from tests.peers.registry import DockerRegistry
from tests.peers.yarddesk import YarddeskProcess
from tests.support.damage import blob_file, flip_a_bit
from tests.support.images import build_image, build_index
from yarddesk.oci import media_types
from yarddesk.storage.lock import InstanceLock


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


@pytest.mark.parametrize("running", [True, False])
def test_images_are_listed_as_they_lie_there(
    make_yarddesk: Callable[..., YarddeskProcess], docker_registry: DockerRegistry, running: bool
):
    config = f"""
upstreams:
  - {{prefix: corp, registry: "{docker_registry.host}", push: true, tls: {{plain_http: true}}}}
"""
    yard = make_yarddesk(config=config)
    image, index = build_image("one"), build_index("two")
    yard.push("team/app", "1", image)
    yard.push("team/app", "2", build_image("untagged now"))
    yard.push("team/app", "2", index)
    yard.push("corp/app", "synced", image)
    yard.run("wait", "--timeout", "30")
    yard.run("pause")
    yard.push("corp/app", "queued", index)
    docker_registry.push("theirs", "1", image)
    assert yard.manifest("corp/theirs", image.manifest.digest) == image.manifest
    if not running:
        yard.terminate()
    images = json.loads(yard.run("images", "--json").stdout)["images"]
    by_name = {(each["repository"], each["tag"]): each for each in images}
    assert list(by_name) == [
        ("corp/app", "queued"),
        ("corp/app", "synced"),
        ("corp/theirs", None),
        ("team/app", "1"),
        ("team/app", "2"),
        ("team/app", None),
    ]
    assert [each["upstream"] for each in images] == ["queued", "synced", "synced", "local", "local", "local"]
    one, two = by_name["team/app", "1"], by_name["team/app", "2"]
    assert (one["digest"], one["kind"], one["platforms"]) == (image.manifest.digest, "image", ["linux/amd64"])
    assert (one["media_type"], one["artifact_type"]) == (image.manifest.media_type, "")
    assert one["size"] == sum(len(each.content) for each in (*image.blobs, *image.manifests))
    assert (two["kind"], two["platforms"]) == ("index", ["linux/amd64", "linux/arm64"])
    assert two["size"] == sum(len(each.content) for each in (*{*index.blobs}, *index.manifests))
    assert one["stored"].endswith("Z")
    only = json.loads(yard.run("images", f"{yard.registry}/team/app", "--json").stdout)["images"]
    assert {each["repository"] for each in only} == {"team/app"}
    assert "linux/amd64" in yard.run("images").stdout
    yard.run("images", "team/nothing", status=1)
    yard.run("images", "NO NAME", status=2)
    yard.run("images", "team/app:1", status=2)


@pytest.mark.parametrize("running", [True, False])
def test_what_a_manifest_says_is_no_command_to_the_terminal(
    make_yarddesk: Callable[..., YarddeskProcess], running: bool
):
    yard = make_yarddesk()
    child = {"mediaType": media_types.OCI_MANIFEST, "digest": f"sha256:{'a' * 64}", "size": 7}
    hostile = {**child, "platform": {"os": "\x1b[2Jlinux\ud83d", "architecture": "amd64"}}
    document = {"schemaVersion": 2, "mediaType": media_types.OCI_INDEX, "manifests": [hostile]}
    headers = {"Content-Type": media_types.OCI_INDEX}
    status, _, _ = yard.request("PUT", "/v2/team/app/manifests/1", json.dumps(document).encode(), headers=headers)
    assert status == 201
    if not running:
        yard.terminate()
    shown = yard.run("images").stdout
    assert "linux" in shown
    assert all(character.isprintable() for character in shown.replace("\n", ""))
    (listed,) = json.loads(yard.run("images", "--json").stdout)["images"]
    assert listed["platforms"] == ["\x1b[2Jlinux\ud83d/amd64"]


@pytest.mark.parametrize("running", [True, False])
def test_usage_tells_what_is_shared_and_what_is_not(make_yarddesk: Callable[..., YarddeskProcess], running: bool):
    yard = make_yarddesk()
    image, other, loose = build_image("one"), build_image("other"), build_image("loose")
    yard.push("a/one", "1", image)
    yard.push("b/both", "1", image)
    yard.push("b/both", "2", other)
    yard.push_blob("b/both", loose.layers[0])
    if not running:
        yard.terminate()
    usage = json.loads(yard.run("usage", "--json").stdout)
    blobs, manifest = sum(len(blob.content) for blob in image.blobs), len(image.manifest.content)
    others = sum(len(each.content) for each in (*other.blobs, other.manifest))
    assert usage["repositories"] == [
        {"name": "a/one", "manifests": 1, "exclusive": manifest, "shared": blobs},
        {"name": "b/both", "manifests": 2, "exclusive": manifest + others, "shared": blobs},
    ]
    assert (usage["unreferenced"], usage["unreferenced_blobs"]) == (len(loose.layers[0].content), 1)
    assert usage["used"] == 2 * manifest + blobs + others + len(loose.layers[0].content)
    assert (usage["blobs"], usage["manifests"], usage["quarantine"]) == (7, 3, 0)
    flip_a_bit(blob_file(yard.data_dir, loose.layers[0].digest))
    yard.run("verify")
    usage = json.loads(yard.run("usage", "b/both", "--json").stdout)
    assert [each["name"] for each in usage["repositories"]] == ["b/both"]
    assert (usage["unreferenced"], usage["quarantine"]) == (0, len(loose.layers[0].content))
    assert "b/both" in yard.run("usage").stdout
    yard.run("usage", "b", status=1)
