"""Bits that a disk flips."""

from __future__ import annotations

from pathlib import Path

from yarddesk.oci.digest import Digest
from yarddesk.oci.name import RepositoryName
from yarddesk.storage.layout import blob_folder, manifest_folder


def blob_file(data_dir: Path, digest: str) -> Path:
    """Where a blob lies."""
    parsed = Digest.parse(digest)
    return data_dir.joinpath(*blob_folder(parsed), parsed.hex)


def manifest_file(data_dir: Path, repository: str, digest: str) -> Path:
    """Where a repository's manifest lies."""
    parsed = Digest.parse(digest)
    return data_dir.joinpath(*manifest_folder(RepositoryName.parse(repository), parsed.algorithm), parsed.hex)


def flip_a_bit(path: Path, offset: int = 0) -> None:
    """In place, as a disk does it."""
    with path.open("r+b") as file:
        file.seek(offset)
        (byte,) = file.read(1)
        file.seek(offset)
        file.write(bytes([byte ^ 0x10]))


def quarantined(data_dir: Path) -> list[str]:
    """The digests in quarantine, as its files name them."""
    folder = data_dir / "quarantine"
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    return [name.split("-")[1].replace("_", ":") for name in names]
