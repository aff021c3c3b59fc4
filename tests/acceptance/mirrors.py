"""Upstreams whose requests are counted, and the real engines whose configuration sends what they pull to a yarddesk before them."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

from tests.peers.containerd import Containerd
from tests.peers.dockerd import Dockerd
from tests.peers.engines import Podman, Skopeo, config_folder
from tests.peers.registry import DockerRegistry, TokenAuth
from tests.peers.yarddesk import YarddeskProcess
from tests.support.images import Graph, Image

HUB = "docker.io"
EXAMPLE = "registry.example"


class Upstream:
    """A docker-registry that is asked, and can be stopped; images are put there past its door, and its log."""

    def __init__(self, folder: Path, stack: ExitStack, *, token: TokenAuth | None = None) -> None:
        self.registry = DockerRegistry(folder / "front", token=token)
        storage = {"filesystem": {"rootdirectory": str(self.registry.content_folder)}}
        self._back_door = DockerRegistry(folder / "back", settings={"storage": storage})
        for registry in (self.registry, self._back_door):
            stack.callback(registry.stop)
            registry.start()

    def push(self, repository: str, tag: str, content: Graph) -> None:
        self._back_door.push(repository, tag, content)

    def blobs_read(self, repository: str) -> list[str]:
        """The digests of the blobs that were fetched from a repository, as often as they were."""
        return self._read(repository, "blobs")

    def manifests_read(self, repository: str) -> list[str]:
        """The tags and digests by which manifests were fetched from a repository, as often as they were."""
        return self._read(repository, "manifests")

    def _read(self, repository: str, kind: str) -> list[str]:
        seen = self.registry.seen("GET", f"^/v2/{repository}/{kind}/")
        # Without a token it answers 401 first.
        return [each.path.rpartition("/")[2] for each in seen if each.status != 401]


class Client(Protocol):
    """An engine with a store of its own."""

    def name(self, registry: str, repository: str, tag: str) -> str:
        """How a person calls what lies at HUB or EXAMPLE."""
        ...

    def pull(self, name: str) -> None: ...

    def has(self, name: str, image: Image) -> bool:
        """Whether that name is this image for it, whole."""
        ...

    def empty(self) -> None:
        """Take everything out of its store."""
        ...


class DockerClient:
    """dockerd with `registry-mirrors`. They stand for Docker Hub alone, and in its version 20.10 have no path."""

    def __init__(self, folder: Path, serve: YarddeskProcess, stack: ExitStack) -> None:
        engine = Dockerd(folder / "dockerd", settings={"registry-mirrors": [serve.url]})
        stack.callback(engine.stop)
        engine.start()
        self._docker = engine.client(folder / "docker")
        self._address = serve.registry

    def name(self, registry: str, repository: str, tag: str) -> str:
        return f"{registry if registry == HUB else f'{self._address}/{registry}'}/{repository}:{tag}"

    def pull(self, name: str) -> None:
        self._docker.pull(name)

    def has(self, name: str, image: Image) -> bool:
        # It checks what it unpacks against the configuration, whose digest is the image's name.
        return self._docker.run("image", "inspect", "--format={{.Id}}", name).stdout.strip() == image.config.digest

    def empty(self) -> None:
        self._docker.run("rmi", "--force", *self._docker.run("images", "--quiet").stdout.split())
        assert self._docker.run("images", "--all", "--quiet").stdout == ""


class PodmanClient:
    """podman with a mirror for each registry in registries.conf."""

    def __init__(self, folder: Path, serve: YarddeskProcess, stack: ExitStack) -> None:
        self._podman = Podman(folder / "podman")
        send_to_mirror(self._podman.home, serve.registry)

    def name(self, registry: str, repository: str, tag: str) -> str:
        return f"{registry}/{repository}:{tag}"

    def pull(self, name: str) -> None:
        self._podman.pull(name, tls_verify=True)

    def has(self, name: str, image: Image) -> bool:
        found = self._podman.run("image", "inspect", "--format={{.Id}}", name).stdout.strip()
        return f"sha256:{found}" == image.config.digest

    def empty(self) -> None:
        self._podman.run("rmi", "--all", "--force")
        assert self._podman.run("images", "--all", "--quiet").stdout == ""


class SkopeoClient:
    """skopeo, which copies into folders, with a mirror for each registry in registries.conf."""

    def __init__(self, folder: Path, serve: YarddeskProcess, stack: ExitStack) -> None:
        self._skopeo = Skopeo(folder / "skopeo")
        self._folders: dict[str, Path] = {}
        self._count = 0
        send_to_mirror(self._skopeo.home, serve.registry)

    def name(self, registry: str, repository: str, tag: str) -> str:
        return f"{registry}/{repository}:{tag}"

    def pull(self, name: str, *options: str) -> None:
        self._count += 1
        self._folders[name] = self._skopeo.home / f"copy-{self._count}"
        self._skopeo.run("copy", *options, f"docker://{name}", f"dir:{self._folders[name]}")

    def folder(self, name: str) -> Path:
        """Where the last copy of it went."""
        return self._folders[name]

    def has(self, name: str, image: Image) -> bool:
        folder = self.folder(name)
        blobs = all((folder / blob.digest.removeprefix("sha256:")).read_bytes() == blob.content for blob in image.blobs)
        return blobs and (folder / "manifest.json").read_bytes() == image.manifest.content

    def empty(self) -> None:
        self._folders.clear()


class ContainerdClient:
    """containerd, by `ctr`, with a hosts.toml for each registry: to a mirror it says `?ns=`, also where that has a path."""

    def __init__(self, folder: Path, serve: YarddeskProcess, stack: ExitStack) -> None:
        self._engine = Containerd(folder / "containerd")
        stack.callback(self._engine.stop)
        self._engine.start()
        self._address = serve.registry
        self._hosts = folder / "hosts"
        for registry, mirror in ((HUB, serve.url), (EXAMPLE, f"{serve.url}/{EXAMPLE}")):
            (self._hosts / registry).mkdir(parents=True)
            text = f'server = "https://{registry}"\n[host."{mirror}"]\ncapabilities = ["pull", "resolve"]\n'
            (self._hosts / registry / "hosts.toml").write_text(text, encoding="utf-8")

    def name(self, registry: str, repository: str, tag: str) -> str:
        return f"{registry}/{repository}:{tag}"

    def pull(self, name: str) -> None:
        direct = name.startswith(self._address)
        self._engine.ctr.pull(name, "--plain-http" if direct else f"--hosts-dir={self._hosts}")

    def has(self, name: str, image: Image) -> bool:
        contents = all(self._engine.content(each.digest) == each.content for each in (image.manifest, *image.blobs))
        return contents and name in self._engine.ctr.images()

    def empty(self) -> None:
        for name in self._engine.ctr.images():
            self._engine.ctr.remove(name)
        blobs = self._engine.folder / "content/io.containerd.content.v1.content/blobs"
        assert not [path for path in blobs.rglob("*") if path.is_file()]


CLIENTS: dict[str, Callable[[Path, YarddeskProcess, ExitStack], Client]] = {
    "docker": DockerClient,
    "podman": PodmanClient,
    "skopeo": SkopeoClient,
    "containerd": ContainerdClient,
}


def send_to_mirror(home: Path, address: str) -> None:
    """For podman and skopeo: all that they pull from HUB and EXAMPLE comes from a yarddesk, which they may speak HTTP with."""
    folder = config_folder(home) / "registries.conf.d"
    folder.mkdir(parents=True)
    tables = [f'[[registry]]\nlocation = "{address}"\ninsecure = true\n']
    for registry in (HUB, EXAMPLE):
        mirror = f'[[registry.mirror]]\nlocation = "{address}/{registry}"\ninsecure = true\n'
        tables.append(f'[[registry]]\nlocation = "{registry}"\n{mirror}')
    (folder / "mirror.conf").write_text("".join(tables), encoding="utf-8")


def mirror_settings(hub: Upstream, own: Upstream, example: Upstream) -> str:
    """Two registries stand for HUB, the second with a password, whose tags are asked for each time; one for EXAMPLE.

    The first two are the catch-all as well, which is what a mirror without a path asks.
    """
    entries: list[dict[str, object]] = []
    for prefix in (HUB, ""):
        entries.append({"name": f"hub{prefix}", "prefix": prefix} | _at(hub))
        login = {"type": "basic", "username": "ci", "password": "${UPSTREAM_PASSWORD}"}
        entries.append({"name": f"own{prefix}", "prefix": prefix, "auth": login, "manifest_ttl": "0"} | _at(own))
    entries.append({"name": "example", "prefix": EXAMPLE, "manifest_ttl": "0"} | _at(example))
    # JSON is YAML.
    return json.dumps({"upstreams": entries})


def _at(upstream: Upstream) -> dict[str, object]:
    return {"registry": upstream.registry.host, "tls": {"plain_http": True}}
