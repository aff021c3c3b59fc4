"""Each client moves an image to docker-registry and back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.peers.containerd import Containerd
from tests.peers.dockerd import Docker, Dockerd
from tests.peers.engines import Buildah, Podman, Skopeo, config_folder
from tests.peers.registry import DockerRegistry
from tests.peers.token_server import TokenServer
from tests.support.images import build_image, build_index, write_docker_archive, write_oci_layout


@pytest.mark.xdist_group("dockerd")
def test_docker_pushes_and_pulls(docker: Docker, docker_registry: DockerRegistry, tmp_path: Path) -> None:
    name = f"{docker_registry.host}/team/app:1"
    docker.load(write_docker_archive(tmp_path / "image.tar", build_image("docker", (1000, 2000, 3000)), name))
    docker.push(name)
    pushed = docker_registry.manifest("team/app", "1")
    assert pushed is not None
    assert docker.repository_digest(name) == pushed.digest
    docker.run("rmi", name)
    docker.pull(name)
    assert docker.repository_digest(name) == pushed.digest
    docker.run("rmi", name)


@pytest.mark.xdist_group("dockerd")
def test_dockerd_reads_its_configuration_again(own_dockerd: Dockerd, tmp_path: Path) -> None:
    own_dockerd.configure('{"registry-mirrors": ["http://127.0.0.1:9/"]}')
    info = own_dockerd.client(tmp_path).run("info", "--format", "{{json .RegistryConfig.Mirrors}}").stdout
    assert "http://127.0.0.1:9/" in info


def test_podman_pushes_and_pulls(podman: Podman, docker_registry: DockerRegistry) -> None:
    name = f"{docker_registry.host}/team/app:1"
    podman.load(build_image("podman"), name)
    podman.push(name)
    podman.run("rmi", name)
    podman.pull(name)
    assert docker_registry.tags("team/app") == ["1"]


def test_buildah_builds_and_pushes(buildah: Buildah, docker_registry: DockerRegistry) -> None:
    name = f"{docker_registry.host}/team/app:1"
    buildah.build(name, {"/one": "first layer", "/two": "second layer"})
    buildah.push(name)
    manifest = docker_registry.manifest("team/app", "1")
    assert manifest is not None
    assert manifest.content.count(b"rootfs.diff") + manifest.content.count(b"image.layer") == 2
    buildah.pull(name)


def test_skopeo_copies_all_platforms(skopeo: Skopeo, docker_registry: DockerRegistry, tmp_path: Path) -> None:
    index = build_index("skopeo", ("linux/amd64", "linux/arm64/v8"))
    source = write_oci_layout(tmp_path / "layout", index, "1")
    name = f"{docker_registry.host}/team/app:1"
    skopeo.copy(source, f"docker://{name}", "--all")
    assert docker_registry.holds("team/app", "1", index)
    assert skopeo.raw_manifest(name) == index.manifest.content
    assert skopeo.tags(f"{docker_registry.host}/team/app") == ["1"]


def test_skopeo_moves_an_image_by_the_token_dance(
    skopeo: Skopeo, make_registry: Callable[..., DockerRegistry], token_server: TokenServer, tmp_path: Path
) -> None:
    registry = make_registry(token=token_server.auth)
    source = write_oci_layout(tmp_path / "layout", build_image("skopeo"))
    skopeo.copy(source, f"docker://{registry.host}/team/app:1", "--dest-creds=ci:secret of ci")
    assert "repository:team/app:pull,push" in {scope for seen in token_server.requests for scope in seen.scopes}


def test_podman_reads_the_configuration_of_its_home(podman: Podman, docker_registry: DockerRegistry) -> None:
    name = f"{docker_registry.host}/team/app:1"
    podman.load(build_image("podman"), name)
    refused = podman.run("push", name, status=None)
    assert "server gave HTTP response to HTTPS client" in refused.stderr
    folder = config_folder(podman.home) / "registries.conf.d"
    folder.mkdir(parents=True)
    text = f'[[registry]]\nlocation = "{docker_registry.host}"\ninsecure = true\n'
    (folder / "test.conf").write_text(text, encoding="utf-8")
    podman.push(name, tls_verify=True)


def test_containerd_pulls_and_pushes(containerd: Containerd, docker_registry: DockerRegistry) -> None:
    index = build_index("containerd")
    docker_registry.push("team/app", "1", index)
    name, copy = f"{docker_registry.host}/team/app:1", f"{docker_registry.host}/team/copy:1"
    containerd.ctr.pull(name, "--plain-http", "--all-platforms")
    assert all(containerd.content(each.digest) == each.content for each in (*index.blobs, *index.manifests))
    containerd.ctr.run("images", "tag", name, copy)
    containerd.ctr.push(copy, "--plain-http")
    assert docker_registry.holds("team/copy", "1", index)
    for each in (name, copy):
        containerd.ctr.remove(each)
    assert containerd.content(index.blobs[0].digest) is None
