"""Container images made from a seed: the same seed gives the same bytes, and other seeds share no layer."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import random
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from platform import machine
from typing import Any, Protocol

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"

THIS_PLATFORM = f"linux/{ {'x86_64': 'amd64', 'aarch64': 'arm64'}[machine()] }"
"""What an engine on this machine takes of an index."""


@dataclass(frozen=True)
class Content:
    """Some bytes with their media type."""

    media_type: str
    content: bytes

    @cached_property
    def digest(self) -> str:
        return "sha256:" + hashlib.sha256(self.content).hexdigest()

    @property
    def descriptor(self) -> dict[str, Any]:
        return {"mediaType": self.media_type, "digest": self.digest, "size": len(self.content)}


class Graph(Protocol):
    """All that hangs below one manifest: manifests children first, that manifest last."""

    @property
    def manifest(self) -> Content: ...

    @property
    def blobs(self) -> tuple[Content, ...]: ...

    @property
    def manifests(self) -> tuple[Content, ...]: ...


@dataclass(frozen=True)
class Image:
    """One platform's image."""

    manifest: Content
    config: Content
    layers: tuple[Content, ...]
    platform: str

    @property
    def blobs(self) -> tuple[Content, ...]:
        """All that must be there before the manifest."""
        return (self.config, *self.layers)

    @property
    def manifests(self) -> tuple[Content, ...]:
        return (self.manifest,)


@dataclass(frozen=True)
class Index:
    """Images of several platforms under one index (OCI) or manifest list (Docker)."""

    manifest: Content
    images: tuple[Image, ...]

    @property
    def blobs(self) -> tuple[Content, ...]:
        """All blobs of all images, each once."""
        return tuple({blob.digest: blob for image in self.images for blob in image.blobs}.values())

    @property
    def manifests(self) -> tuple[Content, ...]:
        """Children first, the index last."""
        return (*(image.manifest for image in self.images), self.manifest)


def build_image(
    seed: str, layer_sizes: Sequence[int] = (2000, 3000), *, platform: str = "linux/amd64", docker: bool = False
) -> Image:
    """An image with a layer of incompressible bytes for each size (in bytes); docker: Docker's media types."""
    layers = [_layer(f"{seed}/{number}", size) for number, size in enumerate(layer_sizes)]
    system, architecture = platform.split("/")[:2]
    diff_ids = ["sha256:" + hashlib.sha256(plain).hexdigest() for plain in layers]
    config = {
        "created": "2024-01-01T00:00:00Z",
        "architecture": architecture,
        "os": system,
        "config": {"Cmd": ["/file-0"], "Labels": {"seed": seed}},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "history": [{"created": "2024-01-01T00:00:00Z", "created_by": f"layer {n}"} for n in range(len(layers))],
    }
    kinds = (DOCKER_MANIFEST, DOCKER_CONFIG, DOCKER_LAYER) if docker else (OCI_MANIFEST, OCI_CONFIG, OCI_LAYER)
    config_content = Content(kinds[1], _json(config))
    # Random bytes don't compress, so the quickest level loses nothing; mtime 0 keeps the bytes the same.
    contents = tuple(Content(kinds[2], gzip.compress(plain, compresslevel=1, mtime=0)) for plain in layers)
    return Image(manifest_of(config_content, contents, media_type=kinds[0]), config_content, contents, platform)


def manifest_of(config: Content, layers: Sequence[Content], *, media_type: str = OCI_MANIFEST, **more: Any) -> Content:
    """The manifest that names these; more: further keys, as `subject` or `annotations`."""
    manifest = {
        "schemaVersion": 2,
        "mediaType": media_type,
        "config": config.descriptor,
        "layers": [layer.descriptor for layer in layers],
    }
    return Content(media_type, _json(manifest | more))


def build_index(
    seed: str,
    platforms: Sequence[str] = ("linux/amd64", "linux/arm64"),
    layer_sizes: Sequence[int] = (2000, 3000),
    *,
    docker: bool = False,
) -> Index:
    """An image for each platform (OS/ARCHITECTURE, OS/ARCHITECTURE/VARIANT) and the index above them."""
    images = [build_image(f"{seed}/{name}", layer_sizes, platform=name, docker=docker) for name in platforms]
    return index_of(images, docker=docker)


def index_of(images: Sequence[Image], *, docker: bool = False) -> Index:
    """The index of these images."""
    media_type = DOCKER_LIST if docker else OCI_INDEX
    manifests = [image.manifest.descriptor | {"platform": _platform(image.platform)} for image in images]
    document = {"schemaVersion": 2, "mediaType": media_type, "manifests": manifests}
    return Index(Content(media_type, _json(document)), tuple(images))


def write_oci_layout(folder: Path, content: Graph, tag: str = "latest") -> str:
    """Write an OCI image layout and give its name as skopeo and podman take it (`oci:FOLDER:TAG`)."""
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True, exist_ok=True)
    for item in (*content.blobs, *content.manifests):
        (blobs / item.digest.removeprefix("sha256:")).write_bytes(item.content)
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}', encoding="ascii")
    named = content.manifest.descriptor | {"annotations": {"org.opencontainers.image.ref.name": tag}}
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [named]}
    (folder / "index.json").write_bytes(_json(index))
    return f"oci:{folder}:{tag}"


def write_docker_archive(path: Path, image: Image, name: str) -> Path:
    """Write what `docker load` and `podman load` read; name: REPOSITORY:TAG."""
    config_name = image.config.digest.removeprefix("sha256:") + ".json"
    layer_names = [f"{layer.digest.removeprefix('sha256:')}/layer.tar" for layer in image.layers]
    listing = [{"Config": config_name, "RepoTags": [name], "Layers": layer_names}]
    with tarfile.open(path, "w") as archive:
        _add(archive, config_name, image.config.content)
        for layer_name, layer in zip(layer_names, image.layers, strict=True):
            _add(archive, layer_name, gzip.decompress(layer.content))
        _add(archive, "manifest.json", _json(listing))
    return path


def _layer(seed: str, size: int) -> bytes:
    """An uncompressed layer: a tar archive of one file of `size` bytes."""
    name = "file-" + hashlib.sha256(seed.encode()).hexdigest()[:12]
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        _add(archive, name, random.Random(seed).randbytes(size))
    return buffer.getvalue()


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))


def _platform(name: str) -> dict[str, str]:
    return dict(zip(("os", "architecture", "variant"), name.split("/"), strict=False))


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
