"""What may lie in a data folder, and what may not."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from yarddesk.storage.layout import NotOurFileName, decode_reference, decode_repository

_OF_THE_WHOLE = {
    "control.json", "control.token", "lock", "run.json", "history.jsonl", "paused.json", "followed-tags.jsonl", "ledger.jsonl",
    "uses.jsonl", "pins.json", "reserve",
}  # fmt: skip
_UPLOAD = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_HEX = {"sha256": re.compile(r"[0-9a-f]{64}"), "sha512": re.compile(r"[0-9a-f]{128}")}


def strangers(data: Path) -> list[str]:
    """The paths below the data folder that the layout doesn't know, or whose content isn't what the name says."""
    return [
        str(path.relative_to(data))
        for path in sorted(data.rglob("*"))
        if path.is_symlink() or not (_is_folder_of_ours(path, data) if path.is_dir() else _is_file_of_ours(path, data))
    ]


def _is_folder_of_ours(path: Path, data: Path) -> bool:
    parts = path.relative_to(data).parts
    match parts:
        case ("blobs" | "manifests" | "uploads" | "pending" | "quarantine" | "engines",):
            return True
        case ("blobs", "sha256" | "sha512"):
            return True
        case ("blobs", _, shard):
            return re.fullmatch("[0-9a-f]{2}", shard) is not None
        case ("pending", *name):
            return _is_repository(name)
        case ("manifests", *name, "_sha256" | "_sha512" | "_tags" | "_referrers"):
            return _is_repository(name)
        case ("manifests", *name, "_referrers", algorithm) if algorithm in _HEX:
            return _is_repository(name)
        case ("manifests", *name, "_referrers", algorithm, subject) if algorithm in _HEX:
            return _is_repository(name) and _HEX[algorithm].fullmatch(subject) is not None
        case ("manifests", *name):
            return _is_repository(name)
    return False


def _is_file_of_ours(path: Path, data: Path) -> bool:
    match path.relative_to(data).parts:
        case (name,):
            return name in _OF_THE_WHOLE
        case ("blobs", algorithm, shard, name):
            return name.startswith(shard) and _hashes_to(path, algorithm, name)
        case ("uploads", name):
            return _UPLOAD.fullmatch(name) is not None
        case ("pending", *repository, name):
            return name.endswith(".json") and _is_repository(repository) and _is_reference(name.removesuffix(".json"))
        case ("manifests", *repository, "_tags", name):
            return _is_repository(repository) and _is_reference(name)
        case ("manifests", *repository, "_referrers", _, _, name):
            return _is_repository(repository) and _is_reference(name)
        case ("manifests", *repository, folder, name) if folder in ("_sha256", "_sha512"):
            algorithm = folder.removeprefix("_")
            if name.endswith(".type"):
                return _is_repository(repository) and (path.parent / name.removesuffix(".type")).is_file()
            return _is_repository(repository) and _hashes_to(path, algorithm, name)
    return False


def _is_repository(components: list[str]) -> bool:
    try:
        decode_repository(tuple(components))
    except NotOurFileName:
        return False
    return bool(components)


def _is_reference(name: str) -> bool:
    try:
        decode_reference(name)
    except NotOurFileName:
        return False
    return True


def _hashes_to(path: Path, algorithm: str, name: str) -> bool:
    if algorithm not in _HEX or not _HEX[algorithm].fullmatch(name):
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest() == name
