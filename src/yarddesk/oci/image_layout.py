"""The image layout (OCI image specification v1.1, image-layout.md): its marker file, and index.json with the names of its images."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

from yarddesk.errors import YarddeskError
from yarddesk.oci import media_types
from yarddesk.oci.descriptor import Descriptor
from yarddesk.oci.digest import Digest
from yarddesk.oci.json_bytes import json_bytes
from yarddesk.oci.manifest import InvalidManifest, Manifest, parse_manifest
from yarddesk.oci.name import ImageReference, Reference, RepositoryName, Tag, format_reference

MARKER_FILE: Final = "oci-layout"
INDEX_FILE: Final = "index.json"
BLOBS: Final = "blobs"
MARKER: Final = b'{"imageLayoutVersion":"1.0.0"}'

MAX_MARKER_BYTES: Final = 64 * 1024

_REF_NAME: Final = "org.opencontainers.image.ref.name"
_IMAGE_NAME: Final = "io.containerd.image.name"
_ORIGINAL: Final = "io.github.yarddesk.original"


class InvalidLayout(YarddeskError):
    """Not an image layout, or one that can't be trusted."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One content that index.json lists, by the names that it has there.

    `ref_name` is mostly a tag, which any tool may change; `image_name` the full name of containerd and Docker. Either may be
    empty. `repository` and `tag` are what they mean, None where they don't say. `original`: the manifest of Docker's own types,
    in the layout too, of which this one was made.
    """

    descriptor: Descriptor
    ref_name: str = ""
    image_name: str = ""
    repository: RepositoryName | None = None
    tag: Tag | None = None
    original: Digest | None = None

    @classmethod
    def named(cls, descriptor: Descriptor, ref_name: str, image_name: str, original: Digest | None = None) -> Self:
        full = _full_name(image_name) or _full_name(ref_name)
        tag = _tag(ref_name)
        if tag is None and full is not None and isinstance(full.reference, Tag):
            tag = full.reference
        return cls(descriptor, ref_name, image_name, full.repository if full else None, tag, original)

    @property
    def is_image(self) -> bool:
        """Whether it's a manifest or index, and not some other content, of which a layout may list any."""
        return self.descriptor.media_type in media_types.ALL_MANIFESTS

    @property
    def is_named(self) -> bool:
        return bool(self.ref_name or self.image_name)


def check_marker(content: bytes) -> None:
    """Raises InvalidLayout for an `oci-layout` file that is none, or of a version to come."""
    try:
        version = json.loads(content)["imageLayoutVersion"]
    except (ValueError, RecursionError, KeyError, TypeError) as error:
        raise InvalidLayout("Its oci-layout file says no imageLayoutVersion.") from error
    if not isinstance(version, str) or version.partition(".")[0] != "1":
        raise InvalidLayout(f"It's an image layout of version “{str(version)[:40]}”; version 1 is known.")


class LayoutIndex:
    """index.json. What it holds beside our images, unknown keys included, is kept as it is."""

    def __init__(self, document: Mapping[str, Any], entries: Sequence[Entry]) -> None:
        self._document = document
        self.entries = tuple(entries)

    @classmethod
    def empty(cls) -> Self:
        return cls({"schemaVersion": 2, "mediaType": media_types.OCI_INDEX, "manifests": []}, ())

    @classmethod
    def parse(cls, content: bytes) -> Self:
        """Raises InvalidLayout."""
        try:
            index = parse_manifest(content, media_types.OCI_INDEX)
        except InvalidManifest as error:
            raise InvalidLayout("Its index.json can't be read.", str(error)) from error
        entries = [_entry(descriptor) for descriptor in index.manifests]
        return cls(json.loads(content), entries)

    def render(self) -> bytes:
        return json_bytes(self._document)

    def with_image(
        self,
        manifest: Manifest,
        repository: RepositoryName | None = None,
        reference: Reference | None = None,
        *,
        original: Digest | None = None,
    ) -> Self:
        """With an image of a repository under its tag, in place of what had its name; or by digest, or (None) nameless.

        The tag alone is the name, as skopeo and umoci have it; where another repository's image has it already, the name is
        `REPOSITORY:TAG`. The full name stands beside it, as containerd, Docker and we read it, and the `original`.
        """
        if repository is None and any(entry.descriptor.digest == manifest.digest for entry in self.entries):
            return self
        image_name = "" if repository is None else format_reference(repository, reference)
        ref_name = ""
        if isinstance(reference, Tag):
            others = (each for each in self.entries if each.ref_name == reference and each.repository is not None)
            taken = repository is not None and any(each.repository != repository for each in others)
            ref_name = image_name if taken else str(reference)
        added = Entry.named(manifest.descriptor, ref_name, image_name, original)
        kept, documents = [], []
        for entry, document in zip(self.entries, self._document["manifests"] or (), strict=True):
            if not _gives_way(entry, added):
                kept.append(entry)
                documents.append(document)
        documents.append(_document(added, manifest))
        return type(self)({**self._document, "manifests": documents}, [*kept, added])


def _full_name(text: str) -> ImageReference | None:
    """What names a repository and a tag or digest in it; a tag alone doesn't."""
    if ":" not in text and "@" not in text:
        return None
    try:
        name = ImageReference.parse(text)
    except YarddeskError:
        return None
    return None if name.reference is None else name


def _tag(text: str) -> Tag | None:
    try:
        return Tag.parse(text)
    except YarddeskError:
        return None


def _digest(text: str) -> Digest | None:
    try:
        return Digest.parse(text)
    except YarddeskError:
        return None


def _entry(descriptor: Descriptor) -> Entry:
    found = (descriptor.annotations.get(key) for key in (_REF_NAME, _IMAGE_NAME, _ORIGINAL))
    ref_name, image_name, original = (text if isinstance(text, str) else "" for text in found)
    return Entry.named(descriptor, ref_name, image_name, _digest(original))


def _gives_way(entry: Entry, added: Entry) -> bool:
    """Whether an entry's name is that of the one that is added; what lists the same content without a name says nothing more."""
    if added.ref_name:
        return entry.ref_name == added.ref_name or (
            entry.tag is not None and (entry.repository, entry.tag) == (added.repository, added.tag)
        )
    same = entry.descriptor.digest == added.descriptor.digest
    return same and (not entry.is_named or entry.image_name == added.image_name)


def _document(entry: Entry, manifest: Manifest) -> dict[str, Any]:
    descriptor = entry.descriptor
    document: dict[str, Any] = {
        "mediaType": descriptor.media_type,
        "digest": str(descriptor.digest),
        "size": descriptor.size,
    }
    if manifest.subject is not None and manifest.artifact_type:
        document["artifactType"] = manifest.artifact_type
    annotations = {_REF_NAME: entry.ref_name, _IMAGE_NAME: entry.image_name, _ORIGINAL: str(entry.original or "")}
    named = {key: name for key, name in annotations.items() if name}
    return document | ({"annotations": named} if named else {})
