"""How container engines read an image's name: `nginx`, `ghcr.io/org/app:1`, `localhost:5000/app@sha256:…`."""

import re
from dataclasses import dataclass
from typing import Final, Self

from yarddesk.oci.digest import Digest
from yarddesk.oci.name import InvalidName, Reference, RepositoryName, Tag

_LATEST: Final = Tag.parse("latest")
_REGISTRY: Final = re.compile(
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:]+\])(?::[0-9]{1,5})?", re.ASCII
)


@dataclass(frozen=True, slots=True)
class ImageText:
    """`registry` is `host[:port]`, empty where none is named; without tag or digest the reference is `latest`."""

    registry: str
    name: RepositoryName
    reference: Reference

    @classmethod
    def parse(cls, text: str) -> Self:
        """Where there are a tag and a digest, the digest counts. Raises InvalidName, InvalidTag or InvalidDigest."""
        named, at, digest = text.strip().partition("@")
        head, colon, tag = named.rpartition(":")
        if not colon or "/" in tag:
            head, tag = named, ""
        reference: Reference = Tag.parse(tag) if tag else _LATEST
        if colon and not tag and head != named:
            raise InvalidName(f"“{text[:160]}” ends in a colon, and names no tag.")
        first, slash, rest = head.partition("/")
        is_registry = bool(slash) and ("." in first or ":" in first or first == "localhost")
        if is_registry and not _REGISTRY.fullmatch(first):
            raise InvalidName(f"“{first[:160]}” is no registry's host.")
        return cls(
            first if is_registry else "",
            RepositoryName.parse(rest if is_registry else head),
            Digest.parse(digest) if at else reference,
        )

    @property
    def whole_name(self) -> str:
        """With the registry, where one is named."""
        return f"{self.registry}/{self.name}" if self.registry else str(self.name)
