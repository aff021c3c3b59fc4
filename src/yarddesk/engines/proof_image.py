"""The tiny image that proves a set-up: made here, byte by byte, as the archive that `docker load` and `podman load` read.

Its form is Docker's image specification v1.2, "Combined Image JSON + Filesystem Changeset Format".
"""

import hashlib
import io
import json
import platform
import secrets
import tarfile
from dataclasses import dataclass
from typing import Final

from yarddesk.engines.model import RegistryAddress
from yarddesk.oci.name import RepositoryName, Tag

PROOF_REPOSITORY: Final = RepositoryName.parse("yarddesk/setup-proof")
"""Where the images of proofs go; what is pushed there concerns no upstream."""

# Go's names for the machines whose own names differ: an engine may refuse to pull what is for another machine.
_ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "armv6l": "arm", "i686": "386"}
_EPOCH: Final = "1970-01-01T00:00:00Z"


@dataclass(frozen=True, slots=True)
class ProofImage:
    """reference: its whole name. diff_id: its one layer, uncompressed, by digest. archive: the tar file's bytes."""

    reference: str
    tag: Tag
    diff_id: str
    archive: bytes


def build_proof_image(address: RegistryAddress) -> ProofImage:
    """An image that nobody has seen before, so that every byte of it has to travel both ways."""
    mark = secrets.token_hex(8)
    tag = Tag.parse(mark)
    reference = f"{address}/{PROOF_REPOSITORY}:{tag}"
    layer = _tar({"yarddesk-setup-proof": f"{mark}\n".encode()})
    diff_id = f"sha256:{hashlib.sha256(layer).hexdigest()}"
    config = json.dumps(
        {
            "architecture": _ARCHITECTURES.get(platform.machine(), platform.machine()),
            "os": "linux",
            "created": _EPOCH,
            "config": {"Labels": {"yarddesk.setup-proof": mark}},
            "rootfs": {"type": "layers", "diff_ids": [diff_id]},
            "history": [{"created": _EPOCH, "created_by": "yarddesk"}],
        }
    ).encode()
    config_name = f"{hashlib.sha256(config).hexdigest()}.json"
    listing = [{"Config": config_name, "RepoTags": [reference], "Layers": ["layer.tar"]}]
    archive = _tar({config_name: config, "layer.tar": layer, "manifest.json": json.dumps(listing).encode()})
    return ProofImage(reference, tag, diff_id, archive)


def _tar(files: dict[str, bytes]) -> bytes:
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w", format=tarfile.USTAR_FORMAT, bufsize=512) as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return output.getvalue()
