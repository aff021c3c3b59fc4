"""Image manifests and indexes (OCI image specification v1.1, manifest.md and image-index.md), read from their bytes."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import isfinite
from typing import Any, Final

from yarddesk.errors import YarddeskError
from yarddesk.oci import media_types
from yarddesk.oci.descriptor import Descriptor, Platform
from yarddesk.oci.digest import Digest, InvalidDigest

MAX_MANIFEST_BYTES: Final = 4 * 1024 * 1024
"""Larger manifests are refused (distribution specification: a registry SHOULD take 4 MiB)."""

_MAX_SIZE: Final = 2**63 - 1
_MAX_NUMBER: Final = 2**64
_PLAIN_JSON: Final = "application/json"
_KEYS: Final = (
    "schemaVersion",
    "mediaType",
    "artifactType",
    "config",
    "layers",
    "blobs",
    "fsLayers",
    "manifests",
    "subject",
    "annotations",
)
_DESCRIPTOR_KEYS: Final = ("mediaType", "digest", "size", "urls", "annotations", "data", "artifactType", "platform")


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
    def referrer(self) -> Descriptor:
        """What names it among the referrers of its subject (distribution specification, "Listing referrers")."""
        return replace(self.descriptor, annotations=self.annotations or {})

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

    Raises InvalidManifest, also for what one reader could take for an image and another for an index (CVE-2021-41190): for
    duplicate keys, keys that differ from known ones in case alone, and numbers that not every reader can hold.
    """
    if len(content) > MAX_MANIFEST_BYTES:
        raise InvalidManifest(f"The manifest has {len(content):,} bytes; {MAX_MANIFEST_BYTES:,} is the most.")
    document = _load(content)
    media_type = _media_type(document, content_type)
    _check_unambiguous(document, media_type)
    if not lenient:
        _check_says_so(document, media_type)
    reader = _Reader(document, known=media_type in media_types.ALL_MANIFESTS)
    config = reader.one("config")
    if media_type in media_types.MANIFESTS and config is None:
        raise InvalidManifest("The manifest has no config.")
    listed = reader.all("manifests")
    return Manifest(
        content=content,
        media_type=media_type,
        digest=digest or Digest.of(content),
        artifact_type=_artifact_type(document.get("artifactType"), config),
        config=config,
        # "blobs" is what the artifact manifests before the image specification's v1.1 called their layers.
        layers=(
            *reader.all("layers"),
            *(() if reader.known else reader.all("blobs")),
            *(entry for entry in listed if media_types.is_blob(entry.media_type)),
        ),
        manifests=tuple(replace(entry, manifest=True) for entry in listed if not media_types.is_blob(entry.media_type)),
        subject=reader.one("subject", manifest=True),
        annotations=_annotations(document.get("annotations"), strict=reader.known and not lenient),
    )


def _media_type(document: dict[str, Any], content_type: str) -> str:
    """The type that the header and the document agree on: those that we know in lower case, others as they were written."""
    declared = document.get("mediaType")
    if declared is not None and not isinstance(declared, str):
        raise InvalidManifest("The manifest's mediaType is not a string.")
    media_type = content_type.partition(";")[0].strip()
    if media_type and declared and declared.lower() != media_type.lower():
        raise InvalidManifest(f"The manifest says it is {declared[:100]}, its Content-Type {media_type[:100]}.")
    media_type = declared or media_type or _guess(document)
    if not media_types.is_media_type(media_type):
        raise InvalidManifest(f"“{media_type[:100]}” is no media type.")
    return media_type.lower() if media_type.lower() in media_types.ALL_MANIFESTS else media_type


def _artifact_type(declared: object, config: Descriptor | None) -> str:
    # Distribution specification, "Listing referrers": without artifactType it's the config's media type.
    if isinstance(declared, str) and declared:
        return declared
    return config.media_type if config else ""


def _load(content: bytes) -> dict[str, Any]:
    try:
        # As text: of bytes alone json takes UTF-16 and UTF-32, too, which other readers take for something else.
        document = json.loads(
            content.decode(),
            object_pairs_hook=_unique,
            parse_constant=_no_constant,
            parse_int=_whole_number,
            parse_float=_fraction,
        )
    except (ValueError, RecursionError) as error:
        raise InvalidManifest("The manifest is not valid JSON.", str(error)[:200]) from error
    if not isinstance(document, dict):
        raise InvalidManifest("The manifest is not a JSON object.")
    _check_spelling(document, _KEYS)
    return document


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key stands there twice")
    return result


def _whole_number(digits: str) -> int:
    number = int(digits)  # more than some thousand digits are a ValueError
    if abs(number) >= _MAX_NUMBER:
        raise ValueError("a number is larger than readers can hold")
    return number


def _fraction(digits: str) -> float:
    number = float(digits)
    if not isfinite(number):
        raise ValueError("a number is larger than readers can hold")
    return number


def _check_spelling(found: dict[str, Any], meant: tuple[str, ...]) -> None:
    """Go's readers take `Layers` for `layers`, and others don't: what they would read differently is not taken at all."""
    folded = {key.casefold(): key for key in meant}
    for key in found:
        known = folded.get(key.casefold(), key)
        if known != key:
            raise InvalidManifest(f"The manifest has a key “{key[:40]}”, which some readers take for “{known}”.")


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _guess(document: dict[str, Any]) -> str:
    # OCI manifests may leave mediaType out; what they hold tells.
    return media_types.OCI_INDEX if "manifests" in document else media_types.OCI_MANIFEST


def _check_says_so(document: dict[str, Any], media_type: str) -> None:
    """Not every JSON object is a manifest. Types that are not ours (artifacts of tomorrow) must show only that they are meant."""
    if media_type.lower() == _PLAIN_JSON:
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


class _Reader:
    """What a document refers to. Where its type isn't known to us, only what looks like a descriptor is taken for one."""

    def __init__(self, document: dict[str, Any], *, known: bool) -> None:
        self._document = document
        self.known = known

    def one(self, key: str, *, manifest: bool = False) -> Descriptor | None:
        entry = self._document.get(key)
        return None if entry is None else self._read(entry, key, manifest)

    def all(self, key: str) -> tuple[Descriptor, ...]:
        entries = self._document.get(key)
        if entries is None:
            return ()
        if not isinstance(entries, list):
            if self.known:
                raise InvalidManifest(f"The manifest's {key} is not a list.")
            return ()
        found = (self._read(entry, key, False) for entry in entries)
        return tuple(descriptor for descriptor in found if descriptor is not None)

    def _read(self, entry: object, key: str, manifest: bool) -> Descriptor | None:
        try:
            return _descriptor(entry, key, manifest=manifest)
        except InvalidManifest:
            if self.known:
                raise
            return None


def _descriptor(entry: object, where: str, *, manifest: bool = False) -> Descriptor:
    if not isinstance(entry, dict):
        raise InvalidManifest(f"The manifest's {where} holds something that is not a descriptor.")
    media_type, digest, size = entry.get("mediaType"), entry.get("digest"), entry.get("size")
    if not isinstance(media_type, str) or not media_type or not isinstance(digest, str):
        raise InvalidManifest(f"A descriptor in the manifest's {where} lacks its mediaType or digest.")
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= _MAX_SIZE:
        raise InvalidManifest(f"A descriptor in the manifest's {where} has no valid size.")
    _check_spelling(entry, _DESCRIPTOR_KEYS)
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
        annotations=_annotations(annotations, strict=False) or {},
        manifest=manifest,
    )


def _annotations(found: object, *, strict: bool) -> dict[str, str] | None:
    if not isinstance(found, dict):
        if strict and found is not None:
            raise InvalidManifest("The manifest's annotations are not an object.")
        return None
    texts = {key: value for key, value in found.items() if isinstance(value, str)}
    if strict and len(texts) != len(found):
        raise InvalidManifest("The manifest has an annotation that is not a string.")
    return texts


def _platform(entry: object) -> Platform | None:
    if not isinstance(entry, dict):
        return None
    architecture, system, variant = (str(entry.get(key) or "") for key in ("architecture", "os", "variant"))
    return Platform(architecture, system, variant)
