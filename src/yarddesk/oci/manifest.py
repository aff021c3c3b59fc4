"""Image manifests and indexes (OCI image specification v1.1, manifest.md and image-index.md), read from their bytes."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from yarddesk.errors import YarddeskError
from yarddesk.oci import media_types
from yarddesk.oci.descriptor import Descriptor, Platform
from yarddesk.oci.digest import Digest, InvalidDigest

MAX_MANIFEST_BYTES: Final = 4 * 1024 * 1024
"""Larger manifests are refused (distribution specification: a registry SHOULD take 4 MiB)."""

_MAX_SIZE: Final = 2**63 - 1
_PLAIN_JSON: Final = "application/json"


class InvalidManifest(YarddeskError):
    """The bytes are not a manifest that may be stored."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest's own bytes, to be kept and sent as they are, and what they refer to."""

    content: bytes
    media_type: str
    digest: Digest
    artifact_type: str = ""
    config: Descriptor | None = None
    layers: tuple[Descriptor, ...] = ()
    manifests: tuple[Descriptor, ...] = ()
    subject: Descriptor | None = None
    annotations: Mapping[str, str] | None = None

    @property
    def descriptor(self) -> Descriptor:
        """What names this manifest."""
        return Descriptor(self.media_type, self.digest, len(self.content), self.artifact_type, manifest=True)

    @property
    def blobs(self) -> tuple[Descriptor, ...]:
        """Config and layers, each digest once, in the manifest's order."""
        wanted = (*((self.config,) if self.config else ()), *self.layers)
        return tuple({blob.digest: blob for blob in wanted}.values())

    @property
    def required_blobs(self) -> tuple[Descriptor, ...]:
        """The blobs that must be here before the manifest is."""
        return tuple(blob for blob in self.blobs if not blob.may_be_missing)

    def names(self, digest: Digest) -> bool:
        """Whether it needs this content; an index may list blobs, too (BuildKit's cache does)."""
        return any(each.digest == digest for each in (*self.blobs, *self.manifests))

    @property
    def is_index(self) -> bool:
        return self.media_type in media_types.INDEXES


def parse_manifest(
    content: bytes, content_type: str = "", *, digest: Digest | None = None, lenient: bool = False
) -> Manifest:
    """Read a manifest and what it refers to.

    `content_type` is the request's or answer's; without one the document's own `mediaType` counts. `digest` is given where it
    is known (and was checked) in another algorithm than sha256. `lenient`: another registry, or this one, has taken it as a
    manifest, so it need not say itself that it is one (by its `schemaVersion`, or a media type that is not ours).

    Raises InvalidManifest, also for what one reader could take for an image and another for an index (CVE-2021-41190), and
    for duplicate keys.
    """
    if len(content) > MAX_MANIFEST_BYTES:
        raise InvalidManifest(f"The manifest has {len(content):,} bytes; {MAX_MANIFEST_BYTES:,} is the most.")
    document = _load(content)
    media_type = content_type.partition(";")[0].strip().lower()
    declared = document.get("mediaType")
    if declared is not None and not isinstance(declared, str):
        raise InvalidManifest("The manifest's mediaType is not a string.")
    if media_type and declared and declared.lower() != media_type:
        raise InvalidManifest(f"The manifest says it is {declared[:100]}, its Content-Type {media_type[:100]}.")
    media_type = media_type or (declared or "").lower() or _guess(document)
    _check_unambiguous(document, media_type)
    if not lenient:
        _check_says_so(document, media_type)
    config = document.get("config")
    subject = document.get("subject")
    annotations = document.get("annotations")
    known_image = media_type in media_types.MANIFESTS
    artifact_type = document.get("artifactType")
    parsed_config = _descriptor(config, "config") if isinstance(config, dict) else None
    if known_image and parsed_config is None:
        raise InvalidManifest("The manifest has no config.")
    return Manifest(
        content=content,
        media_type=media_type,
        digest=digest or Digest.of(content),
        artifact_type=_artifact_type(artifact_type, parsed_config),
        config=parsed_config,
        layers=_descriptors(document, "layers"),
        manifests=_descriptors(document, "manifests", manifest=True),
        subject=_descriptor(subject, "subject", manifest=True) if subject is not None else None,
        annotations=annotations if isinstance(annotations, dict) else None,
    )


def _artifact_type(declared: object, config: Descriptor | None) -> str:
    # Distribution specification, "Listing referrers": without artifactType it's the config's media type.
    if isinstance(declared, str) and declared:
        return declared
    return config.media_type if config else ""


def _load(content: bytes) -> dict[str, Any]:
    try:
        document = json.loads(content, object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise InvalidManifest("The manifest is not valid JSON.", str(error)[:200]) from error
    if not isinstance(document, dict):
        raise InvalidManifest("The manifest is not a JSON object.")
    return document


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key stands there twice")
    return result


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _guess(document: dict[str, Any]) -> str:
    # OCI manifests may leave mediaType out; what they hold tells.
    return media_types.OCI_INDEX if "manifests" in document else media_types.OCI_MANIFEST


def _check_says_so(document: dict[str, Any], media_type: str) -> None:
    """Not every JSON object is a manifest. Types that are not ours (artifacts of tomorrow) must show only that they are meant."""
    if media_type == _PLAIN_JSON:
        raise InvalidManifest(f"{_PLAIN_JSON} is not a manifest's media type.", hint="Send the manifest's own.")
    version = document.get("schemaVersion")
    if media_type in media_types.ALL_MANIFESTS:
        if type(version) is not int or version != 2:
            raise InvalidManifest("The manifest's schemaVersion is not 2.")
    elif version is None and document.get("mediaType") is None:
        raise InvalidManifest("The document has neither a schemaVersion nor a mediaType: it is no manifest.")


def _check_unambiguous(document: dict[str, Any], media_type: str) -> None:
    holds_image = "layers" in document or "config" in document or "fsLayers" in document
    holds_index = "manifests" in document
    if holds_image and holds_index:
        raise InvalidManifest("The manifest could be read as an image and as an index.")
    if media_type in media_types.INDEXES and not holds_index:
        raise InvalidManifest("The index lists no manifests.")
    if media_type in media_types.MANIFESTS and holds_index:
        raise InvalidManifest("The image manifest lists manifests, as an index does.")
    if document.get("schemaVersion") == 1:
        raise InvalidManifest(
            "Docker's schema 1 manifests are not taken.", hint="Push the image again with a current client."
        )


def _descriptors(document: dict[str, Any], key: str, *, manifest: bool = False) -> tuple[Descriptor, ...]:
    listed = document.get(key)
    if listed is None:
        return ()
    if not isinstance(listed, list):
        raise InvalidManifest(f"The manifest's {key} is not a list.")
    return tuple(_descriptor(entry, key, manifest=manifest) for entry in listed)


def _descriptor(entry: object, where: str, *, manifest: bool = False) -> Descriptor:
    if not isinstance(entry, dict):
        raise InvalidManifest(f"The manifest's {where} holds something that is not a descriptor.")
    media_type, digest, size = entry.get("mediaType"), entry.get("digest"), entry.get("size")
    if not isinstance(media_type, str) or not media_type or not isinstance(digest, str):
        raise InvalidManifest(f"A descriptor in the manifest's {where} lacks its mediaType or digest.")
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= _MAX_SIZE:
        raise InvalidManifest(f"A descriptor in the manifest's {where} has no valid size.")
    try:
        parsed = Digest.parse(digest)
    except InvalidDigest as error:
        raise InvalidManifest(f"A descriptor in the manifest's {where} has no valid digest.", error.title) from error
    artifact_type, annotations = entry.get("artifactType"), entry.get("annotations")
    return Descriptor(
        media_type=media_type,
        digest=parsed,
        size=size,
        artifact_type=artifact_type if isinstance(artifact_type, str) else "",
        platform=_platform(entry.get("platform")),
        annotations=annotations if isinstance(annotations, dict) else {},
        manifest=True if manifest else None,
    )


def _platform(entry: object) -> Platform | None:
    if not isinstance(entry, dict):
        return None
    architecture, system, variant = (str(entry.get(key) or "") for key in ("architecture", "os", "variant"))
    return Platform(architecture, system, variant)
