"""Media types of the OCI image specification v1.1 and of Docker's image manifest version 2, schema 2."""

import re
from typing import Final

OCI_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX: Final = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_MANIFEST_LIST: Final = "application/vnd.docker.distribution.manifest.list.v2+json"
OCTET_STREAM: Final = "application/octet-stream"
EMPTY: Final = "application/vnd.oci.empty.v1+json"
OCI_CONFIG: Final = "application/vnd.oci.image.config.v1+json"
DOCKER_CONFIG: Final = "application/vnd.docker.container.image.v1+json"

MANIFESTS: Final = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
INDEXES: Final = frozenset({OCI_INDEX, DOCKER_MANIFEST_LIST})
ALL_MANIFESTS: Final = MANIFESTS | INDEXES
IMAGE_CONFIGS: Final = frozenset({OCI_CONFIG, DOCKER_CONFIG})

ACCEPT_MANIFESTS: Final = ", ".join((OCI_INDEX, OCI_MANIFEST, DOCKER_MANIFEST_LIST, DOCKER_MANIFEST))
"""An Accept header's value for any manifest that yarddesk understands."""

_NON_DISTRIBUTABLE: Final = (
    "application/vnd.oci.image.layer.nondistributable.",
    "application/vnd.docker.image.rootfs.foreign.",
)


_BLOBS: Final = (
    "application/vnd.oci.image.layer.",
    "application/vnd.oci.image.config.",
    "application/vnd.oci.empty.",
    "application/vnd.docker.image.rootfs.",
    "application/vnd.docker.container.image.",
    "application/vnd.buildkit.cacheconfig.",
)


_NAME: Final = r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}"
_MEDIA_TYPE: Final = re.compile(rf"{_NAME}/{_NAME}", re.ASCII)


def is_media_type(text: str) -> bool:
    """Whether it's one by RFC 6838, 4.2, without parameters, and so fit for a header."""
    return _MEDIA_TYPE.fullmatch(text) is not None


def is_blob(media_type: str) -> bool:
    """Whether content of this type is a layer or a config, also where an index lists it (BuildKit's caches are such indexes)."""
    return media_type.lower().startswith(_BLOBS)


def is_non_distributable(media_type: str) -> bool:
    """Whether a layer of this type may be missing from a registry (image specification, "Non-distributable layers")."""
    return media_type.startswith(_NON_DISTRIBUTABLE)
