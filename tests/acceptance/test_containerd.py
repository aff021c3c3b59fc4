"""containerd, with its command line `ctr`, before `yarddesk serve`: directly, and as the mirror of another registry."""

import tarfile
from pathlib import Path

import pytest

from tests.support.images import build_image, build_index, write_oci_layout

PLATFORMS = ("linux/amd64", "linux/arm64", "linux/arm/v7")


@pytest.fixture
def serve(make_yarddesk):
    return make_yarddesk(config="upstreams: []\n")


def archive_of(folder: Path, content, tag: str) -> Path:
    """An OCI layout as a tar file, which `ctr images import` reads."""
    write_oci_layout(folder, content, tag)
    path = folder.with_suffix(".tar")
    with tarfile.open(path, "w") as archive:
        for entry in sorted(folder.iterdir()):
            archive.add(entry, entry.name)
    return path


def has(containerd, content) -> bool:
    return all(containerd.content(each.digest) == each.content for each in (*content.blobs, *content.manifests))


def mirror(folder: Path, host: str, url: str) -> str:
    """A hosts.toml that sends all pulls from `host` to us first; the option that names its folder."""
    (folder / host).mkdir(parents=True)
    capabilities = '["pull", "resolve"]'
    text = f'server = "https://{host}"\n[host."{url}"]\ncapabilities = {capabilities}\n'
    (folder / host / "hosts.toml").write_text(text, encoding="utf-8")
    return f"--hosts-dir={folder}"


@pytest.mark.parametrize("docker", [False, True], ids=["OCI", "Docker"])
def test_what_lies_here_is_pulled_byte_for_byte(serve, containerd, docker):
    image = build_image("pulled", (3_000_000, 20, 70_000), docker=docker)
    serve.push("team/app", "1", image)
    name = f"{serve.registry}/team/app:1"
    containerd.ctr.pull(name, "--plain-http")
    assert containerd.ctr.images() == [name]
    assert has(containerd, image)
    by_digest = f"{serve.registry}/team/app@{image.manifest.digest}"
    containerd.ctr.pull(by_digest, "--plain-http")
    assert by_digest in containerd.ctr.images()


@pytest.mark.parametrize("docker", [False, True], ids=["OCI index", "Docker manifest list"])
def test_all_platforms_are_pulled_and_pushed_elsewhere_byte_for_byte(serve, make_yarddesk, containerd, docker):
    index = build_index("multi", PLATFORMS, docker=docker)
    serve.push("team/multi", "1", index)
    name = f"{serve.registry}/team/multi:1"
    containerd.ctr.pull(name, "--plain-http", "--all-platforms")
    assert has(containerd, index)
    other = make_yarddesk(config="upstreams: []\n")
    copy = f"{other.registry}/team/copy:1"
    containerd.ctr.run("images", "tag", name, copy)
    containerd.ctr.push(copy, "--plain-http")
    assert other.holds("team/copy", "1", index)


def test_one_platform_of_an_index_is_pulled_without_the_others(serve, containerd):
    index = build_index("one of them", PLATFORMS)
    serve.push("team/multi", "1", index)
    containerd.ctr.pull(f"{serve.registry}/team/multi:1", "--plain-http", "--platform=linux/arm64")
    wanted = index.images[1]
    assert has(containerd, wanted)
    assert containerd.content(index.images[0].layers[0].digest) is None


def test_what_containerd_imported_is_pushed_byte_for_byte_and_fetched_again(serve, containerd, tmp_path):
    image = build_image("imported", (1_000_000, 30))
    name = f"{serve.registry}/team/imported:1"
    ctr = containerd.ctr
    base = f"--base-name={serve.registry}/team/imported"
    ctr.run("images", "import", base, str(archive_of(tmp_path / "layout", image, "1")))
    ctr.push(name, "--plain-http")
    assert serve.holds("team/imported", "1", image)
    ctr.remove(name)
    assert containerd.content(image.layers[0].digest) is None
    ctr.run("content", "fetch", "--plain-http", name)
    assert has(containerd, image)


def test_a_mirror_answers_for_the_registry_whose_images_it_fetches(
    make_yarddesk, docker_registry, containerd, tmp_path
):
    """hosts.toml has containerd send `?ns=`, by which we know whose image is meant."""
    image = build_image("mirrored", (100_000, 200))
    docker_registry.push("team/app", "1", image)
    upstream = f"  - prefix: registry.example\n    registry: {docker_registry.host}\n"
    serve = make_yarddesk(config=f"upstreams:\n{upstream}    tls: {{plain_http: true}}\n")
    hosts = mirror(tmp_path / "hosts", "registry.example", serve.url)
    containerd.ctr.pull("registry.example/team/app:1", hosts)
    assert has(containerd, image)
    docker_registry.stop()
    assert serve.holds("registry.example/team/app", "1", image)
    assert serve.manifest("team/app", "1") is None
