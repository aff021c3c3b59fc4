"""Docker's manifests (image manifest version 2, schema 2) as OCI's: the same blobs, named by OCI's media types.

Tools that read nothing but OCI's own types can use what Docker pushed. Its digest is another one then, always the same.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

from yarddesk.oci import media_types
from yarddesk.oci.descriptor import Descriptor
from yarddesk.oci.digest import Digest
from yarddesk.oci.json_bytes import json_bytes
from yarddesk.oci.manifest import Manifest, parse_manifest

_TYPES: Final = {
    media_types.DOCKER_MANIFEST: media_types.OCI_MANIFEST,
    media_types.DOCKER_MANIFEST_LIST: media_types.OCI_INDEX,
    media_types.DOCKER_CONFIG: media_types.OCI_CONFIG,
    "application/vnd.docker.image.rootfs.diff.tar": "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.docker.image.rootfs.diff.tar.gzip": "application/vnd.oci.image.layer.v1.tar+gzip",
    "application/vnd.docker.image.rootfs.diff.tar.zstd": "application/vnd.oci.image.layer.v1.tar+zstd",
    "application/vnd.docker.image.rootfs.foreign.diff.tar": "application/vnd.oci.image.layer.nondistributable.v1.tar",
    "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip": "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
}


def is_dockers_own(media_type: str) -> bool:
    """Whether it's the type of a manifest or manifest list that Docker came with."""
    return media_type in (media_types.DOCKER_MANIFEST, media_types.DOCKER_MANIFEST_LIST)


def as_oci(manifest: Manifest, children: Mapping[Digest, Descriptor]) -> Manifest:
    """The manifest in OCI's types; itself where it has them already and names nothing else. `children`: what its children became."""
    document = json.loads(manifest.content)
    converted = _converted(document, children)
    if converted == document:
        return manifest
    content = json_bytes(converted)
    digest = Digest.of(content, manifest.digest.algorithm)
    return parse_manifest(content, _TYPES.get(manifest.media_type, manifest.media_type), digest=digest)


def _converted(document: Mapping[str, Any], children: Mapping[Digest, Descriptor]) -> dict[str, Any]:
    converted = dict(document)
    if "mediaType" in document:
        converted["mediaType"] = _TYPES.get(document["mediaType"], document["mediaType"])
    if isinstance(document.get("config"), dict):
        converted["config"] = _retyped(document["config"])
    if isinstance(document.get("layers"), list):
        converted["layers"] = [_retyped(layer) for layer in document["layers"]]
    if isinstance(document.get("manifests"), list):
        converted["manifests"] = [_replaced(child, children) for child in document["manifests"]]
    return converted


def _retyped(descriptor: Mapping[str, Any]) -> dict[str, Any]:
    return {**descriptor, "mediaType": _TYPES.get(descriptor["mediaType"], descriptor["mediaType"])}


def _replaced(descriptor: Mapping[str, Any], children: Mapping[Digest, Descriptor]) -> dict[str, Any]:
    """The descriptor of what a child became; a child that isn't here keeps its own."""
    child = children.get(Digest.parse(descriptor["digest"]))
    if child is None or child.digest == descriptor["digest"]:
        return dict(descriptor)
    named = {"mediaType": child.media_type, "digest": str(child.digest), "size": child.size}
    return {**descriptor, **named}
