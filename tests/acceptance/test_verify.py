"""`yarddesk verify`: finds each flipped bit, mends what an upstream has, and says what is lost."""

import json
import signal
import sys
from collections.abc import Callable
from typing import Any

import pytest

from tests.peers.registry import DockerRegistry
from tests.peers.yarddesk import YarddeskProcess
from tests.support.damage import blob_file, flip_a_bit, manifest_file, quarantined
from tests.support.images import build_image, build_index
from tests.support.programs import Program

MakeYarddesk = Callable[..., YarddeskProcess]


def settings(registry: DockerRegistry, **more: bool) -> str:
    keys = "".join(f"\n    {name}: {str(value).lower()}" for name, value in more.items())
    return f"""
upstreams:
  - prefix: corp
    name: corp
    registry: {registry.host}
    tls: {{plain_http: true}}{keys}
"""


def verified(yard: YarddeskProcess, status: int) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(yard.run("verify", "--json", status=status).stdout)
    return document


@pytest.mark.parametrize("running", [True, False])
def test_what_is_whole_is_said_to_be(make_yarddesk: MakeYarddesk, running: bool):
    yard = make_yarddesk()
    content = build_index("app")
    yard.push("team/app", "1", content)
    if not running:
        yard.terminate()
    found = verified(yard, 0)
    assert (found["blobs"], found["manifests"]) == (len(content.blobs), len(content.manifests))
    assert found["bytes"] == sum(len(each.content) for each in (*content.blobs, *content.manifests))
    assert found["amiss"] == []


@pytest.mark.parametrize("running", [True, False])
@pytest.mark.parametrize("way", [{}, {"push": True, "pull": False}], ids=["pull", "push"])
def test_what_an_upstream_has_is_fetched_anew(
    make_yarddesk: MakeYarddesk, docker_registry: DockerRegistry, running: bool, way: dict[str, bool]
):
    content = build_index("app")
    yard = make_yarddesk(config=settings(docker_registry, **way))
    if way:
        yard.push("corp/team/app", "1", content)
        yard.run("wait", "corp/team/app:1")
    else:
        docker_registry.push("team/app", "1", content)
        assert yard.holds("corp/team/app", "1", content)
    damaged = {content.blobs[1].digest, content.manifests[0].digest}
    flip_a_bit(blob_file(yard.data_dir, content.blobs[1].digest), 100)
    flip_a_bit(manifest_file(yard.data_dir, "corp/team/app", content.manifests[0].digest), 10)
    if not running:
        yard.terminate()
    found = verified(yard, 0)
    assert {each["digest"] for each in found["amiss"]} == damaged
    assert {each["mended_from"] for each in found["amiss"]} == {"corp"}
    assert set(quarantined(yard.data_dir)) == damaged
    assert verified(yard, 0)["amiss"] == []
    if not running:
        yard.start()
    docker_registry.stop()
    assert yard.holds("corp/team/app", "1", content)


@pytest.mark.parametrize("running", [True, False])
def test_what_nobody_else_has_is_named_until_it_is_pushed_again(make_yarddesk: MakeYarddesk, running: bool):
    yard = make_yarddesk()
    one, other = build_image("one"), build_image("other")
    yard.push("team/app", "1", one)
    yard.push("team/other", "1", other)
    flip_a_bit(blob_file(yard.data_dir, one.layers[0].digest))
    flip_a_bit(manifest_file(yard.data_dir, "team/other", other.manifest.digest))
    if not running:
        yard.terminate()
    for _ in range(2):  # asked again it says no less
        found = verified(yard, 1)
        assert found["unmended"] == 2
        by_digest = {each["digest"]: each for each in found["amiss"]}
        assert by_digest[one.layers[0].digest]["images"] == ["team/app:1"]
        assert (by_digest[other.manifest.digest]["repository"], by_digest[other.manifest.digest]["tag"]) == (
            "team/other",
            "1",
        )
        said = yard.run("verify", status=1)
        assert "Needed by: team/app:1" in said.stderr
        assert "Push it again" in said.stderr
    if not running:
        yard.start()
    yard.push("team/app", "1", one)
    yard.push("team/other", "1", other)
    assert verified(yard, 0)["amiss"] == []
    assert yard.holds("team/app", "1", one)
    assert yard.holds("team/other", "1", other)


def test_an_upstream_that_is_away_is_the_reason_and_the_next_verify_mends(
    make_yarddesk: MakeYarddesk, docker_registry: DockerRegistry
):
    image = build_image("app")
    docker_registry.push("team/app", "1", image)
    yard = make_yarddesk(config=settings(docker_registry))
    assert yard.holds("corp/team/app", "1", image)
    flip_a_bit(blob_file(yard.data_dir, image.config.digest))
    docker_registry.stop()
    (amiss,) = verified(yard, 1)["amiss"]
    assert amiss["mended_from"] is None
    assert docker_registry.host in amiss["reason"]
    docker_registry.start()
    (amiss,) = verified(yard, 0)["amiss"]
    assert (amiss["problem"], amiss["mended_from"]) == ("missing", "corp")
    assert verified(yard, 0)["amiss"] == []


def test_a_sync_that_was_blocked_by_damage_goes_on_once_it_is_mended(
    make_yarddesk: MakeYarddesk, make_registry: Callable[..., DockerRegistry]
):
    hub, corp = make_registry(), make_registry()
    image = build_image("app")
    hub.push("team/app", "base", image)
    yard = make_yarddesk(
        config=f"""
upstreams:
  - {{prefix: corp, name: hub, registry: "{hub.host}", tls: {{plain_http: true}}}}
  - {{prefix: corp, name: corp, registry: "{corp.host}", push: true, pull: false, tls: {{plain_http: true}}}}
"""
    )
    yard.run("pause")
    yard.push("corp/team/app", "mine", image)
    flip_a_bit(blob_file(yard.data_dir, image.layers[1].digest), 7)
    yard.run("resume")
    assert "damaged" in yard.run("wait", "corp/team/app:mine", status=1).stderr
    (amiss,) = verified(yard, 0)["amiss"]
    assert (amiss["digest"], amiss["mended_from"]) == (image.layers[1].digest, "hub")
    yard.run("wait", "corp/team/app:mine", "--timeout", "30")
    assert corp.holds("team/app", "mine", image)


def test_a_wrong_media_type_is_put_right_and_a_tag_that_names_nothing_told(make_yarddesk: MakeYarddesk):
    yard = make_yarddesk()
    image = build_image("app")
    yard.push("team/app", "1", image)
    yard.push("team/app", "2", build_image("other"))
    path = manifest_file(yard.data_dir, "team/app", image.manifest.digest)
    kind = path.with_name(f"{path.name}.type")
    right = kind.read_text()
    kind.write_text("application/vnd.oci.image.index.v1+json")
    assert verified(yard, 0)["media_types_put_right"] == 1
    assert kind.read_text() == right
    (path.parent.parent / "_tags" / "2").write_text("nonsense")
    (amiss,) = verified(yard, 1)["amiss"]
    assert (amiss["kind"], amiss["repository"], amiss["tag"]) == ("tag", "team/app", "2")


def test_an_instance_that_is_told_to_stop_does_not_verify_to_the_end(make_yarddesk: MakeYarddesk):
    yard = make_yarddesk()
    yard.terminate()
    endless = blob_file(yard.data_dir, f"sha256:{'ab' * 32}")
    endless.parent.mkdir(parents=True, mode=0o700, exist_ok=True)
    with endless.open("wb") as file:
        file.truncate(1 << 40)  # a hole
    yard.start()
    command = [sys.executable, "-m", "yarddesk", "verify", "--data-dir", str(yard.data_dir)]
    asking = Program(command, environment=yard.environment, log=yard.folder / "verify.log")
    asking.start()
    asking.wait_for_line("verifying blobs", 60)
    assert yard.terminate(10) == 0
    assert asking.wait(10) == 1
    assert "before this was done" in asking.output()
    asking.start()  # alone now
    asking.wait_for_line("verifying blobs", 60)
    asking.send(signal.SIGINT)
    assert asking.wait(10) == 130
