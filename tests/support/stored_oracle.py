"""What of a data folder can be had again, found by walking it: slowly, and without any index."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FILLED_BEFORE = 1_000_000


@dataclass
class Walked:
    """By repository: manifests (digest: document and size), tags; blobs: size, and whether they came through an upstream."""

    manifests: dict[str, dict[str, tuple[dict[str, Any], int]]] = field(default_factory=dict)
    tags: dict[str, dict[str, str]] = field(default_factory=dict)
    blobs: dict[str, tuple[int, bool]] = field(default_factory=dict)

    @classmethod
    def folder(cls, data: Path) -> Walked:
        found = cls()
        for path in (data / "blobs" / "sha256").rglob("*"):
            if path.is_file():
                found.blobs[f"sha256:{path.name}"] = path.stat().st_size, path.stat().st_mtime < FILLED_BEFORE
        for folder, _, files in os.walk(data / "manifests"):
            name = Path(folder)
            if name.name not in ("_sha256", "_tags"):
                continue
            repository = str(name.parent.relative_to(data / "manifests"))
            for file in files:
                if name.name == "_sha256" and not file.endswith(".type"):
                    content = (name / file).read_bytes()
                    found.manifests.setdefault(repository, {})[f"sha256:{file}"] = json.loads(content), len(content)
                if name.name == "_tags":
                    found.tags.setdefault(repository, {})[file] = (name / file).read_text()
        return found

    def blobs_of(self, document: dict[str, Any]) -> set[str]:
        """All blobs that a manifest names."""
        return {each["digest"] for each in [*document.get("layers", []), *filter(None, [document.get("config")])]}

    def children_of(self, document: dict[str, Any]) -> set[str]:
        return {each["digest"] for each in document.get("manifests", [])}

    def is_whole(self, repository: str, digest: str) -> bool:
        """Whether it's here with all that it names."""
        found = self.manifests.get(repository, {}).get(digest)
        if found is None:
            return False
        children = all(self.is_whole(repository, child) for child in self.children_of(found[0]))
        return children and self.blobs_of(found[0]) <= self.blobs.keys()

    def images(self, repository: str) -> list[set[str]]:
        """Each root with what belongs to it alone: found by taking away what doesn't until nothing is left to take."""
        manifests, tagged = self.manifests[repository], set(self.tags.get(repository, {}).values())
        listers = {
            digest: {each for each, (document, _) in manifests.items() if digest in self.children_of(document)}
            for digest in manifests
        }
        found = []
        for root in manifests:
            if listers[root]:
                continue
            image, left = {root}, [root]
            while left:
                for child in self.children_of(manifests[left.pop()][0]) & manifests.keys() - image:
                    image.add(child)
                    left.append(child)
            while foreign := {each for each in image - {root} if each in tagged or not listers[each] <= image}:
                image -= foreign
            found.append(image)
        return found

    def can_be_had_again(self, may_go: Callable[[str, Collection[str]], bool]) -> int:
        """Bytes of the images that `may_go`, and of blobs that came through an upstream for nobody."""
        going = {
            (repository, digest)
            for repository in self.manifests
            for image in self.images(repository)
            if may_go(repository, image)
            for digest in image
        }
        needed: set[str] = set()
        gone: set[str] = set()
        size = 0
        for repository, manifests in self.manifests.items():
            for digest, (document, length) in manifests.items():
                if (repository, digest) in going:
                    size += length
                    gone |= self.blobs_of(document)
                else:
                    needed |= self.blobs_of(document)
        for blob, (length, filled) in self.blobs.items():
            if blob not in needed and (blob in gone or filled):
                size += length
        return size
