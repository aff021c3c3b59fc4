"""Content descriptors (OCI image specification v1.1, descriptor.md)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from yarddesk.oci import media_types
from yarddesk.oci.digest import Digest


@dataclass(frozen=True, slots=True)
class Platform:
    """What an index says of the platform that a manifest is for."""

    architecture: str
    os: str
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


@dataclass(frozen=True, slots=True)
class Descriptor:
    """Names content: its type, digest and size in bytes.

    `manifest` says that it's read and written as a manifest; by default the media type tells.
    """

    media_type: str
    digest: Digest
    size: int
    artifact_type: str = ""
    platform: Platform | None = field(default=None, compare=False)
    annotations: Mapping[str, str] = field(default_factory=dict, compare=False, hash=False)
    manifest: bool | None = field(default=None, compare=False)

    @property
    def is_manifest(self) -> bool:
        return self.media_type in media_types.ALL_MANIFESTS if self.manifest is None else self.manifest

    @property
    def is_index(self) -> bool:
        return self.media_type in media_types.INDEXES

    def as_document(self) -> dict[str, Any]:
        """How it stands in an index of referrers."""
        document: dict[str, Any] = {"mediaType": self.media_type, "digest": self.digest, "size": self.size}
        if self.artifact_type:
            document["artifactType"] = self.artifact_type
        if self.annotations:
            document["annotations"] = dict(self.annotations)
        return document

    @property
    def may_be_missing(self) -> bool:
        """Whether a registry takes a manifest without this blob."""
        return media_types.is_non_distributable(self.media_type)
