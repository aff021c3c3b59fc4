"""`cache.max_size`, `cache.min_free` and `yarddesk pin`, with real clients and a real upstream."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.acceptance.settings import push_everything_to
from tests.peers.dockerd import Docker
from tests.peers.engines import Skopeo
from tests.peers.registry import DockerRegistry
from tests.peers.yarddesk import YarddeskProcess
from tests.support.damage import blob_file
from tests.support.images import Image, build_image, build_index
from tests.support.waiting import until

MB = 1_000_000
MakeYard = Callable[..., YarddeskProcess]


def pull_from(registry: str, *, push: bool = False, max_size: str = "0", min_free: str = "0") -> str:
    upstream = push_everything_to(registry)
    return (upstream if push else upstream.replace("push: true", "push: false")) + (
        f"cache:\n  max_size: {max_size}\n  min_free: {min_free}\n"
    )


def cache(yard: YarddeskProcess) -> dict[str, int]:
    found = yard.control("status")["cache"]
    assert isinstance(found, dict)
    return found


def is_here(yard: YarddeskProcess, image: Image) -> bool:
    """All of it or nothing."""
    there = {blob_file(yard.data_dir, blob.digest).exists() for blob in image.blobs}
    assert len(there) == 1, image.manifest.digest
    return there == {True}


def is_settled(found: dict[str, int]) -> bool:
    """Whether all that is stored, which can be had again, was counted and is within the bound."""
    return 0 < found["used"] == found["stored"] <= found["max"]


def test_pulls_of_real_clients_stay_within_the_bound_and_what_went_comes_again(
    make_yarddesk: MakeYard, docker_registry: DockerRegistry, skopeo: Skopeo, tmp_path: Path
) -> None:
    images = {f"{number}": build_image(f"bound-{number}", (MB, 3_000)) for number in range(8)}
    for tag, image in images.items():
        docker_registry.push("team/app", tag, image)
    yard = make_yarddesk(config=pull_from(docker_registry.host, max_size="3500000"))
    for tag in images:
        skopeo.copy(f"docker://{yard.registry}/team/app:{tag}", f"oci:{tmp_path / 'out'}:{tag}")
    until(lambda: is_settled(cache(yard)), 20, "within the bound")
    assert is_here(yard, images["7"])
    assert not is_here(yard, images["0"])
    kept = [image for image in images.values() if is_here(yard, image)]
    found = cache(yard)
    whole = sum(len(each.content) for image in kept for each in (*image.blobs, *image.manifests))
    assert found == {"used": whole, "max": 3_500_000, "stored": whole}
    assert yard.metrics()["yarddesk_evicted_images_total"].value(bound="max_size") == len(images) - len(kept)
    skopeo.copy(f"docker://{yard.registry}/team/app:0", f"oci:{tmp_path / 'again'}:0")
    assert yard.holds("team/app", "0", images["0"])
    yard.restart()
    until(lambda: is_settled(cache(yard)), 20, "within the bound")
    assert is_here(yard, images["0"])


def test_docker_pulls_and_pushes_while_images_go(
    make_yarddesk: MakeYard, docker_registry: DockerRegistry, docker: Docker
) -> None:
    images = [build_image(f"busy-{number}", (MB // 2,)) for number in range(12)]
    for number, image in enumerate(images):
        docker_registry.push("team/busy", str(number), image)
    whole = build_index("busy-index", ("linux/amd64", "linux/arm64"))
    docker_registry.push("team/index", "1", whole)
    yard = make_yarddesk(config=pull_from(docker_registry.host, push=True, max_size="1200000"))
    stop = threading.Event()

    def pull_all() -> None:
        while not stop.is_set():
            for number, image in enumerate(images):
                assert yard.holds("team/busy", str(number), image)

    failures: list[BaseException] = []

    def guarded() -> None:
        try:
            pull_all()
        except BaseException as error:  # noqa: BLE001 - told below
            failures.append(error)

    thread = threading.Thread(target=guarded)
    thread.start()
    try:
        docker.run("pull", f"{yard.registry}/team/index:1")
        docker.run("tag", f"{yard.registry}/team/index:1", f"{yard.registry}/mine/app:1")
        for _ in range(3):
            docker.run("push", f"{yard.registry}/mine/app:1")
            docker.run("pull", f"{yard.registry}/team/index:1")
    finally:
        stop.set()
        thread.join()
    assert failures == []
    yard.run("wait", "--timeout", "30")
    assert docker_registry.manifest("mine/app", "1") is not None
    until(lambda: cache(yard)["used"] <= 1_200_000, 20, "within the bound")


def test_usage_is_the_same_as_soon_as_it_can_be_asked_for_after_a_kill(
    make_yarddesk: MakeYard, docker_registry: DockerRegistry
) -> None:
    images = {f"{number}": build_image(f"same-{number}", (MB, 3_000)) for number in range(4)}
    for tag, image in images.items():
        docker_registry.push("team/app", tag, image)
    yard = make_yarddesk(config=pull_from(docker_registry.host))
    assert all(yard.holds("team/app", tag, image) for tag, image in images.items())
    mine = build_image("mine", (MB,))
    yard.push("mine/app", "1", mine)
    own = sum(len(content.content) for content in (*mine.blobs, mine.manifest))
    until(lambda: cache(yard)["stored"] - cache(yard)["used"] == own, 20, "counted")
    before = cache(yard)
    yard.kill()
    yard.start()
    assert cache(yard) == before
    assert yard.metrics()["yarddesk_cache_bytes"].value() == before["used"]


def test_what_is_pushed_goes_only_once_it_is_upstream(make_yarddesk: MakeYard, docker_registry: DockerRegistry) -> None:
    yard = make_yarddesk(config=pull_from(docker_registry.host, push=True, max_size="1000"))
    first, second = build_image("first", (MB,)), build_image("second", (MB,))
    yard.run("pause")
    yard.push("team/app", "1", first)
    yard.push("team/app", "2", second)
    yard.run("cancel", "team/app:2")
    until(lambda: cache(yard)["stored"] > 2 * MB)
    assert cache(yard)["used"] == 0
    yard.run("resume")
    yard.run("wait", "team/app:1", "--timeout", "30")
    until(lambda: not blob_file(yard.data_dir, first.layers[0].digest).exists(), 20, "evicted")
    yard.run("wait", "team/app:1")  # it is upstream still
    assert is_here(yard, second)
    assert yard.tags("team/app") == ["1", "2"]  # the union with the upstream's
    assert yard.holds("team/app", "1", first)


def test_pins_hold_by_command_by_api_and_without_an_instance(
    make_yarddesk: MakeYard, docker_registry: DockerRegistry
) -> None:
    image = build_image("pinned", (MB,))
    docker_registry.push("team/app", "1", image)
    yard = make_yarddesk(config=pull_from(docker_registry.host))
    yard.run("pin", "team/app:1", status=1)  # nobody has pulled it yet
    assert yard.holds("team/app", "1", image)
    assert yard.run("pin", f"{yard.registry}/team/app:1").stdout == "team/app:1 stays here.\n"
    assert yard.control("pins")["pins"] == [
        {"reference": "team/app:1", "repository": "team/app", "digest": image.manifest.digest, "here": True}
    ]
    yard.configure(pull_from(docker_registry.host, max_size="1000"))
    until(lambda: cache(yard)["max"] == 1000)
    until(lambda: cache(yard)["used"] == 0, what="it's counted that the image is pinned")
    yard.terminate()
    assert is_here(yard, image)
    listed = json.loads(yard.run("pin", "--list", "--json").stdout)
    assert [each["reference"] for each in listed["pins"]] == ["team/app:1"]
    assert "is not pinned" in yard.run("pin", "team/app:2", "--remove", status=1).stderr
    assert "no repository team/nothing" in yard.run("pin", "team/nothing", status=1).stderr
    yard.run("pin", "team/app:1", "--remove")
    assert json.loads((yard.data_dir / "pins.json").read_text()) == []
    yard.start()
    until(lambda: not blob_file(yard.data_dir, image.layers[0].digest).exists(), 20, "evicted")
    assert yard.run("pin", "--list").stdout == "Nothing is pinned.\n"


MOUNT = 'mount -t tmpfs -o size=40m yarddesk "$1" && shift && exec "$@"'


@pytest.fixture
def small_disk(make_yarddesk: MakeYard, docker_registry: DockerRegistry, tmp_path: Path) -> YarddeskProcess:
    """A yard on a disk of 40 MiB, of which 16 MB are to stay free."""
    mounted = tmp_path / "disk"
    mounted.mkdir()
    within = ["unshare", "--mount", "sh", "-c", MOUNT, "sh", str(mounted)]
    config = pull_from(docker_registry.host, min_free="16MB")
    yard = make_yarddesk(within=within, data_dir=mounted / "data", config=config)
    yard.data_dir = Path(f"/proc/{yard.pid}/root{yard.data_dir}")  # the disk as its mount namespace has it
    return yard


def free(yard: YarddeskProcess) -> int:
    found = os.statvfs(yard.data_dir)
    return found.f_bavail * found.f_frsize


@contextmanager
def filled(yard: YarddeskProcess, leaving: int) -> Iterator[None]:
    filler = yard.data_dir.parent / "filler"
    filler.write_bytes(bytes(free(yard) - leaving))
    yield
    filler.unlink()


def test_a_disk_that_is_nearly_full_is_spared_and_pulls_go_through(
    small_disk: YarddeskProcess, docker_registry: DockerRegistry
) -> None:
    image = build_image("large", (6 * MB, 20_000))
    docker_registry.push("team/large", "1", image)
    uploads = small_disk.data_dir / "uploads"
    with filled(small_disk, leaving=15 * MB):
        for _ in range(2):
            assert small_disk.holds("team/large", "1", image)
            assert not any(blob_file(small_disk.data_dir, blob.digest).exists() for blob in image.blobs)
            assert list(uploads.iterdir()) == []
        ranged = small_disk.request(
            "GET", f"/v2/team/large/blobs/{image.layers[0].digest}", headers={"Range": "bytes=1000-1999"}
        )
        assert (ranged[0], ranged[2]) == (206, image.layers[0].content[1000:2000])
        failed = small_disk.run("pull", "team/large:1", status=1)
        assert "room" in failed.stderr + failed.stdout
        small_disk.push("team/mine", "1", image)  # a push asks only the disk
    assert small_disk.holds("team/large", "1", image)
    assert is_here(small_disk, image)


def test_what_can_be_had_again_goes_for_what_is_pulled_when_the_disk_is_small(
    small_disk: YarddeskProcess, docker_registry: DockerRegistry
) -> None:
    images = [build_image(f"rolling-{number}", (5 * MB,)) for number in range(8)]
    for number, image in enumerate(images):
        docker_registry.push("team/rolling", str(number), image)
    least = free(small_disk)
    for number, image in enumerate(images):
        assert small_disk.holds("team/rolling", str(number), image)
        least = min(least, free(small_disk))
    assert least > 15 * MB
    last, first = (blob_file(small_disk.data_dir, images[number].layers[0].digest) for number in (7, 0))
    until(lambda: small_disk.holds("team/rolling", "7", images[7]) and last.exists(), 20, "kept")
    assert not first.exists()
    assert small_disk.metrics()["yarddesk_evicted_images_total"].value(bound="min_free") > 0
    assert free(small_disk) > 15 * MB
