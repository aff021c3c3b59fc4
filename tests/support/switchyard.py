"""A Switchyard's data folder (0.1.13), as it writes it: nothing fsynced, nothing private, digests and tags side by side."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.images import Content, Graph, Image


class SwitchyardFolder:
    """`root` is its data folder; what is pushed here lies there as if Switchyard had answered 201."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in ("blobs/sha256", "manifests", "uploads", "pending"):
            (root / name).mkdir(parents=True, exist_ok=True)

    def blob(self, content: bytes, hexadecimal: str) -> Path:
        path = self.root / "blobs" / "sha256" / hexadecimal
        path.write_bytes(content)
        return path

    def manifest(self, repository: str, reference: str, content: Content) -> None:
        """Under the reference, and under its digest."""
        folder = self.root / "manifests" / repository
        folder.mkdir(parents=True, exist_ok=True)
        for name in dict.fromkeys((reference, content.digest)):
            (folder / name).write_bytes(content.content)
            (folder / f"{name}.content-type").write_text(content.media_type)

    def push(self, repository: str, tag: str, content: Graph, *, pending: bool = True) -> None:
        """All of it, and its marker where it's still to be synced."""
        for blob in content.blobs:
            self.blob(blob.content, blob.digest.removeprefix("sha256:"))
        for manifest in content.manifests:
            last = manifest is content.manifest
            self.manifest(repository, tag if last else manifest.digest, manifest)
            if pending:
                self.pending(repository, tag if last else manifest.digest)

    def pending(self, repository: str, reference: str, retries: int = 0) -> Path:
        """A marker."""
        path = self.root / "pending" / repository / f"{reference.replace(':', '_')}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        document = {
            "name": repository,
            "reference": reference,
            "retries": retries,
            "next_attempt": "2026-05-06T10:00:05+00:00",
            "created": "2026-05-06T10:00:00+00:00",
        }
        path.write_text(json.dumps(document, indent=2))
        return path

    def everything_of(self, image: Image) -> list[Path]:
        """Where its blobs lie."""
        return [self.root / "blobs" / "sha256" / blob.digest.removeprefix("sha256:") for blob in image.blobs]
