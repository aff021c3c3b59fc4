"""What real clients push to the registry comes back whole, and lies there as they sent it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.peers.engines import Buildah, Podman, Skopeo
from tests.support.images import build_image, build_index, write_oci_layout
from tests.support.lonely_registry import Pushes, lonely_registry
from tests.support.registry_client import RegistryClient
from yarddesk.oci.digest import Digest
from yarddesk.oci.name import RepositoryName, Tag
from yarddesk.registry.server import EmbeddedServer
from yarddesk.storage.filesystem import FilesystemStore

SIZES = [3_000_000, 2000, 300_000]


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[FilesystemStore]:
    async with FilesystemStore.open(tmp_path / "data") as opened:
        yield opened


@pytest.fixture
def pushes() -> Pushes:
    return Pushes()


@pytest.fixture
async def host(store: FilesystemStore, pushes: Pushes) -> AsyncIterator[str]:
    """HOST:PORT of a registry."""
    async with EmbeddedServer(lonely_registry(store, pushes), port=0) as server:
        yield server.address.removeprefix("http://")


@pytest.mark.parametrize("docker", [False, True])
async def test_skopeo_copies_an_image_here_and_away(
    host: str, store: FilesystemStore, pushes: Pushes, skopeo: Skopeo, tmp_path: Path, docker: bool
) -> None:
    image = build_image("skopeo", SIZES, docker=docker)
    source = write_oci_layout(tmp_path / "source", image)
    if docker:
        # A layout holds images of OCI's types alone.
        await asyncio.to_thread(RegistryClient(f"http://{host}").push, "source", "v1", image)
        pushes.heard.clear()
        source = f"docker://{host}/source:v1"
    plain = ("--src-tls-verify=false", "--dest-tls-verify=false")
    await skopeo.run_async("copy", *plain, source, f"docker://{host}/team/app:v1")
    stored = await store.get_manifest(RepositoryName.parse("team/app"), Tag.parse("v1"))
    assert stored.content == image.manifest.content
    assert pushes.heard == [("pushed", "team/app", image.manifest.digest, ("v1",))]
    await skopeo.run_async(
        "copy", "--src-tls-verify=false", f"docker://{host}/team/app:v1", f"dir:{tmp_path / 'pulled'}"
    )
    for blob in image.blobs:
        assert (tmp_path / "pulled" / blob.digest.removeprefix("sha256:")).read_bytes() == blob.content


async def test_skopeo_pushes_every_platform_of_an_index(
    host: str, store: FilesystemStore, pushes: Pushes, skopeo: Skopeo, tmp_path: Path
) -> None:
    index = build_index("index", ["linux/amd64", "linux/arm64", "linux/arm/v7"], SIZES)
    source = write_oci_layout(tmp_path / "source", index)
    await skopeo.run_async("copy", "--all", "--dest-tls-verify=false", source, f"docker://{host}/team/app:v1")
    heard = [(entry[2], entry[3]) for entry in pushes.heard]
    assert heard[-1] == (index.manifest.digest, ("v1",))
    assert {digest for digest, _ in heard} == {manifest.digest for manifest in index.manifests}
    await skopeo.run_async(
        "copy", "--all", "--src-tls-verify=false", f"docker://{host}/team/app:v1", f"oci:{tmp_path / 'pulled'}:v1"
    )
    pulled = tmp_path / "pulled" / "blobs" / "sha256"
    for content in (*index.blobs, *index.manifests):
        assert (pulled / content.digest.removeprefix("sha256:")).read_bytes() == content.content


async def test_skopeo_mounts_lists_and_deletes(
    host: str, store: FilesystemStore, skopeo: Skopeo, tmp_path: Path
) -> None:
    image = build_image("skopeo", SIZES)
    source = write_oci_layout(tmp_path / "source", image)
    for name in ("one:v1", "one:v2", "two:v1"):
        await skopeo.run_async("copy", "--dest-tls-verify=false", source, f"docker://{host}/{name}")
    listed = await skopeo.run_async("list-tags", "--tls-verify=false", f"docker://{host}/one")
    assert '"v1",\n        "v2"' in listed.stdout
    await skopeo.run_async("delete", "--tls-verify=false", f"docker://{host}/one:v1")
    # skopeo deletes the manifest behind the tag, and with it every tag that names it.
    failed = await skopeo.run_async("inspect", "--tls-verify=false", f"docker://{host}/one:v2", status=None)
    assert failed.returncode != 0
    await skopeo.run_async("inspect", "--tls-verify=false", f"docker://{host}/two:v1")


async def test_podman_pushes_and_pulls(host: str, store: FilesystemStore, podman: Podman) -> None:
    image = build_image("podman", SIZES)
    name = f"{host}/team/app:v1"
    podman.load(image, name)
    await podman.run_async("push", "--tls-verify=false", name)
    stored = await store.get_manifest(RepositoryName.parse("team/app"), Tag.parse("v1"))
    for blob in stored.blobs:
        assert await store.blob_size(blob.digest) == blob.size
    await podman.run_async("rmi", "--all", "--force")
    await podman.run_async("pull", "--tls-verify=false", name)
    inspected = await podman.run_async("image", "inspect", "--format", "{{.Digest}}", name)
    assert Digest.parse(inspected.stdout.strip()) == stored.digest


async def test_buildah_builds_and_pushes(host: str, store: FilesystemStore, buildah: Buildah) -> None:
    name = f"{host}/team/built:v1"
    buildah.build(name, {"/etc/one": "1", "/etc/two": "2"})
    await buildah.run_async("push", "--tls-verify=false", name)
    await buildah.run_async("rmi", "--all", "--force")
    await buildah.run_async("pull", "--tls-verify=false", name)
    stored = await store.get_manifest(RepositoryName.parse("team/built"), Tag.parse("v1"))
    assert len(stored.layers) == 2


async def test_a_plain_client_finds_all_of_what_it_pushed(host: str) -> None:
    client = RegistryClient(f"http://{host}")
    index = build_index("plain", layer_sizes=SIZES)
    await asyncio.to_thread(client.push, "team/app", "v1", index)
    assert await asyncio.to_thread(client.holds, "team/app", "v1", index)
