"""Bits flipped in stored content below a running `serve`: nobody ever gets wrong bytes as a complete answer."""

import http.client
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.peers.registry import DockerRegistry
from tests.peers.yarddesk import YarddeskProcess
from tests.support.damage import blob_file, flip_a_bit, manifest_file, quarantined
from tests.support.images import build_image

MakeYarddesk = Callable[..., YarddeskProcess]
LARGE = 66 * 1024 * 1024


def upstream_settings(registry: DockerRegistry, *, push: bool = False) -> str:
    return f"""
upstreams:
  - prefix: corp
    registry: {registry.host}
    push: {str(push).lower()}
    tls: {{plain_http: true}}
sync: {{interval: 1s}}
"""


@pytest.mark.parametrize("restarted", [False, True])
def test_a_damaged_blob_is_not_served_and_a_push_of_it_heals(make_yarddesk: MakeYarddesk, restarted: bool):
    yard = make_yarddesk()
    image = build_image("app")
    yard.push("team/app", "1", image)
    layer = image.layers[0]
    if restarted:
        yard.restart()
    else:
        assert yard.blob("team/app", layer.digest) == layer.content
    flip_a_bit(blob_file(yard.data_dir, layer.digest), 1000)
    path = f"/v2/team/app/blobs/{layer.digest}"
    assert yard.request("GET", path, headers={"Range": "bytes=0-9"})[0] == 404
    assert yard.request("GET", path)[0] == 404
    assert yard.request("HEAD", path)[0] == 404
    assert quarantined(yard.data_dir) == [layer.digest]
    assert "is damaged" in yard.output()
    yard.push_blob("team/app", layer)
    assert yard.holds("team/app", "1", image)


def test_a_large_blob_is_served_from_the_first_read_on_and_never_as_a_whole_where_it_is_damaged(
    make_yarddesk: MakeYarddesk,
):
    yard = make_yarddesk()
    image = build_image("large", [LARGE])
    yard.push("team/app", "1", image)
    yard.restart()
    layer = image.layers[0]
    assert yard.blob("team/app", layer.digest) == layer.content
    flip_a_bit(blob_file(yard.data_dir, layer.digest), LARGE // 2)
    path = f"/v2/team/app/blobs/{layer.digest}"
    with pytest.raises(http.client.IncompleteRead):
        yard.request("GET", path)
    assert yard.request("GET", path)[0] == 404
    assert quarantined(yard.data_dir) == [layer.digest]


def test_a_pull_goes_on_to_the_upstream_where_our_blob_is_damaged(
    make_yarddesk: MakeYarddesk, docker_registry: DockerRegistry
):
    image = build_image("app")
    docker_registry.push("team/app", "1", image)
    yard = make_yarddesk(config=upstream_settings(docker_registry))
    assert yard.holds("corp/team/app", "1", image)
    layer = image.layers[0]
    flip_a_bit(blob_file(yard.data_dir, layer.digest), 5)
    flip_a_bit(manifest_file(yard.data_dir, "corp/team/app", image.manifest.digest), 5)
    yard.restart()
    assert yard.holds("corp/team/app", "1", image)
    assert sorted(quarantined(yard.data_dir)) == sorted([layer.digest, image.manifest.digest])
    docker_registry.stop()
    assert yard.blob("corp/team/app", layer.digest) == layer.content


def test_a_damaged_manifest_is_not_served_and_a_push_of_it_heals(make_yarddesk: MakeYarddesk):
    yard = make_yarddesk()
    image = build_image("app")
    yard.push("team/app", "1", image)
    yard.push("team/app", "2", build_image("other"))
    flip_a_bit(manifest_file(yard.data_dir, "team/app", image.manifest.digest), 30)
    yard.restart()
    for reference in ("1", image.manifest.digest):
        assert yard.request("GET", f"/v2/team/app/manifests/{reference}")[0] == 404
        assert yard.request("HEAD", f"/v2/team/app/manifests/{reference}")[0] == 404
    assert yard.tags("team/app") == ["1", "2"]
    assert quarantined(yard.data_dir) == [image.manifest.digest]
    yard.push("team/app", "1", image)
    assert yard.holds("team/app", "1", image)


@pytest.mark.parametrize("what", ["blob", "manifest"])
def test_what_is_damaged_is_not_synced_but_told_and_a_push_brings_it_there(
    make_yarddesk: MakeYarddesk, docker_registry: DockerRegistry, what: str
):
    yard = make_yarddesk(config=upstream_settings(docker_registry, push=True))
    image = build_image("app")
    yard.run("pause")
    yard.push("corp/team/app", "1", image)
    yard.terminate()
    damaged = blob_file(yard.data_dir, image.layers[0].digest)
    if what == "manifest":
        damaged = manifest_file(yard.data_dir, "corp/team/app", image.manifest.digest)
    flip_a_bit(damaged, 20)
    yard.start()
    yard.run("resume")
    for _ in range(2):
        done = yard.run("wait", "corp/team/app:1", "--timeout", "30", status=1)
        assert "damaged" in done.stderr
        assert "Push" in done.stderr
        yard.run("retry", "corp/team/app:1")
    assert docker_registry.manifest("team/app", "1") is None
    yard.push("corp/team/app", "1", image)
    yard.run("wait", "corp/team/app:1", "--timeout", "30")
    assert docker_registry.holds("team/app", "1", image)


def test_nothing_of_a_damaged_blob_is_lost(make_yarddesk: MakeYarddesk, tmp_path: Path):
    yard = make_yarddesk()
    image = build_image("app")
    yard.push("team/app", "1", image)
    path = blob_file(yard.data_dir, image.config.digest)
    flip_a_bit(path)
    wrong = path.read_bytes()
    assert yard.blob("team/app", image.config.digest) is None
    (kept,) = (yard.data_dir / "quarantine").iterdir()
    assert kept.read_bytes() == wrong
