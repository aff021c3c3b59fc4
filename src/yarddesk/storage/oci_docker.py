"""manifest.json, by which `docker load` finds the images of an archive, also where it knows no OCI image layouts (before 25)."""

import json
import platform
from typing import Any, Final

from yarddesk.content.target import DigestMismatch, NotFound
from yarddesk.oci.descriptor import Descriptor
from yarddesk.oci.image_layout import BLOBS, Entry
from yarddesk.oci.manifest import InvalidManifest, Manifest
from yarddesk.oci.media_types import IMAGE_CONFIGS
from yarddesk.oci.name import format_reference
from yarddesk.storage.oci_layout import OciLayout

LISTING_FILE: Final = "manifest.json"

_ARCHITECTURES: Final = {"x86_64": "amd64", "AMD64": "amd64", "aarch64": "arm64", "ARM64": "arm64"}


async def docker_listing(layout: OciLayout) -> bytes:
    """What Docker could load: images, and of indexes the image for this machine's processor."""
    listing = [await _listed(layout, entry) for entry in layout.index.entries if entry.is_image]
    return json.dumps([image for image in listing if image is not None], separators=(",", ":")).encode()


async def _listed(layout: OciLayout, entry: Entry) -> dict[str, Any] | None:
    try:
        manifest = await layout.fetch_manifest(entry.descriptor.digest)
        chosen = _for_this_machine(manifest) if manifest.is_index else manifest.descriptor
        if chosen is None:
            return None
        image = manifest if chosen.digest == manifest.digest else await layout.fetch_manifest(chosen.digest)
    except (NotFound, DigestMismatch, InvalidManifest):
        return None  # what lies in a layout beside our images needn't be whole
    if image.config is None or image.config.media_type not in IMAGE_CONFIGS:
        return None
    for blob in image.blobs:
        if not await layout.exists(blob):
            return None
    name = None if entry.repository is None or entry.tag is None else format_reference(entry.repository, entry.tag)
    return {
        "Config": _path(image.config),
        "RepoTags": [name] if name else None,
        "Layers": [_path(layer) for layer in image.layers],
    }


def _for_this_machine(index: Manifest) -> Descriptor | None:
    machine = platform.machine()
    architecture = _ARCHITECTURES.get(machine, machine)
    for child in index.manifests:
        if child.platform is not None and (child.platform.os, child.platform.architecture) == ("linux", architecture):
            return child
    return None


def _path(blob: Descriptor) -> str:
    return f"{BLOBS}/{blob.digest.algorithm}/{blob.digest.hex}"
