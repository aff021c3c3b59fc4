"""Manifests and tags of one repository as files. Everything here blocks: for threads.

Changes of one repository come one at a time (the store sees to it); reads may come at any time.
"""

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import Enum, auto
from typing import Final

from yarddesk.content.errors import StorageError
from yarddesk.errors import YarddeskError
from yarddesk.oci.descriptor import Descriptor
from yarddesk.oci.digest import Digest
from yarddesk.oci.manifest import MAX_MANIFEST_BYTES, InvalidManifest, Manifest, parse_manifest
from yarddesk.oci.name import Reference, RepositoryName, Tag
from yarddesk.storage.contents import Held, held_on_disk
from yarddesk.storage.durable import read_whole, regular_size
from yarddesk.storage.layout import (
    ALGORITHMS,
    TYPE_SUFFIX,
    NotOurFileName,
    Parts,
    decode_reference,
    encode_component,
    encode_reference,
    manifest_folder,
    referrer_folder,
    repository_folder,
    tag_folder,
)
from yarddesk.storage.quarantine import Damage, Quarantine
from yarddesk.storage.temporaries import place_content
from yarddesk.storage.tree import Tree
from yarddesk.storage.verified import Identity

_log = logging.getLogger(__name__)
_MAX_TYPE_BYTES: Final = 4096
_MAX_TAG_BYTES: Final = 256
_REPLACED_AT_MOST: Final = 3


class ManifestCheck(Enum):
    WHOLE = auto()
    MISSING = auto()
    DAMAGED = auto()
    WRONG_TYPE = auto()
    """The bytes are whole; the media type beside them contradicts them."""


class ManifestFiles:
    """The folders `manifests/REPOSITORY`. What is there but can't be read as what it is, is logged and not there.

    A manifest whose bytes are not those of its name goes into quarantine; `damaged` hears of it, on the thread.
    """

    def __init__(self, tree: Tree, quarantine: Quarantine, damaged: Callable[[RepositoryName, Damage], None]) -> None:
        self._tree = tree
        self._quarantine = quarantine
        self._damaged = damaged

    def holds(self, repository: RepositoryName) -> bool:
        """Whether there is a manifest in the repository."""
        return self.holds_at(repository_folder(repository))

    def holds_at(self, parts: Parts) -> bool:
        """The same for a repository's folder."""
        return any(self._has_manifest((*parts, f"_{algorithm}")) for algorithm in ALGORITHMS)

    def is_tagged_at(self, parts: Parts) -> bool:
        """Whether a repository's folder holds a tag, if only one that names nothing."""
        return bool(self._listed((*parts, "_tags")))

    def has(self, repository: RepositoryName, digest: Digest) -> bool:
        """Whether the manifest's file is there; says nothing of its bytes."""
        folder = self._tree.find(manifest_folder(repository, digest.algorithm))
        return folder is not None and regular_size(os.path.join(folder, digest.hex)) is not None

    def read(self, repository: RepositoryName, digest: Digest) -> Manifest | None:
        """The manifest, its bytes checked; None where it isn't here or is damaged (pushing or pulling it again heals that)."""
        content = self._read_whole(repository, digest)
        if content is None:
            return None
        try:
            return _parsed(content, self._read_type(repository, digest), digest)
        except YarddeskError as error:
            _log.error("manifest %s in %s is taken for missing: %s", digest, repository, error)
            return None

    def verify(self, repository: RepositoryName, digest: Digest) -> ManifestCheck:
        """Read it from the disk, and its media type. A damaged one goes into quarantine, and is forgotten by whoever knew it."""
        if not self.has(repository, digest):
            return ManifestCheck.MISSING
        content = self._read_whole(repository, digest)
        if content is None:
            return ManifestCheck.MISSING if self.has(repository, digest) else ManifestCheck.DAMAGED
        try:
            parse_manifest(content, self._read_type(repository, digest), digest=digest, lenient=True)
        except InvalidManifest:
            return ManifestCheck.WRONG_TYPE
        return ManifestCheck.WHOLE

    def tags_amiss(self, repository: RepositoryName) -> list[tuple[Tag, Digest | None]]:
        """Tags that name a manifest which is not here, or (None) nothing that is a digest."""
        named = ((tag, self.read_tag(repository, tag)) for tag in self.tags(repository))
        return [(tag, digest) for tag, digest in named if digest is None or not self.has(repository, digest)]

    def _read_whole(self, repository: RepositoryName, digest: Digest) -> bytes | None:
        """The bytes that hash to the name. Where others are in the file, it's moved aside."""
        for _ in range(_REPLACED_AT_MOST):
            folder = self._tree.find(manifest_folder(repository, digest.algorithm))
            path = None if folder is None else os.path.join(folder, digest.hex)
            try:
                seen = None if path is None else Identity.of(os.lstat(path))
                content = None if path is None else read_whole(path, MAX_MANIFEST_BYTES)
            except FileNotFoundError:
                return None
            if content is None or seen is None:
                return None
            if len(content) <= MAX_MANIFEST_BYTES and digest.matches(content):
                return content
            if self._set_aside(repository, digest, seen):
                return None
        return None

    def _set_aside(self, repository: RepositoryName, digest: Digest, seen: Identity) -> bool:
        """False where another file has come into its place."""
        try:
            name = self._quarantine.take_manifest(repository, digest, seen)
        except (OSError, StorageError) as error:
            _log.error("manifest %s in %s is damaged, and can't be moved to quarantine: %s", digest, repository, error)
        else:
            if name is None:
                return False
            self._damaged(repository, Damage(digest, seen.size, name))
            return True
        self._damaged(repository, Damage(digest, seen.size, None))
        return True

    def read_content(self, repository: RepositoryName, digest: Digest) -> bytes | None:
        """The manifest's file as it is."""
        return self._read(manifest_folder(repository, digest.algorithm), digest.hex, MAX_MANIFEST_BYTES)

    def read_held(self, repository: RepositoryName, digest: Digest) -> Held | None:
        """What is in the manifest's file, whole or not; None where it isn't here."""
        content, stored = self.read_content(repository, digest), self.modified(repository, digest)
        if content is None or stored is None:
            return None
        return held_on_disk(digest, content, lambda: self._read_type(repository, digest), stored)

    def modified(self, repository: RepositoryName, digest: Digest) -> float | None:
        """When the manifest was put here last, in seconds of the epoch."""
        folder = self._tree.find(manifest_folder(repository, digest.algorithm))
        try:
            return None if folder is None else os.lstat(os.path.join(folder, digest.hex)).st_mtime
        except FileNotFoundError:
            return None

    def named(self, repository: RepositoryName, references: Iterable[Reference]) -> list[Digest | None]:
        """The manifest that each names, where there is a file of it; says nothing of its bytes. Folders are looked for once."""
        tags = self._tree.find(tag_folder(repository))
        folders = {name: self._tree.find(manifest_folder(repository, name)) for name in ALGORITHMS}

        def there(reference: Reference) -> Digest | None:
            digest = reference if isinstance(reference, Digest) else self._read_tag(tags, repository, reference)
            folder = folders.get(digest.algorithm) if digest is not None else None
            if digest is None or folder is None or regular_size(os.path.join(folder, digest.hex)) is None:
                return None
            return digest

        return [there(reference) for reference in references]

    def read_tag(self, repository: RepositoryName, tag: Tag) -> Digest | None:
        """The digest that a tag names; None where it's not here."""
        return self._read_tag(self._tree.find(tag_folder(repository)), repository, tag)

    def _read_tag(self, folder: str | None, repository: RepositoryName, tag: Tag) -> Digest | None:
        content = _read_whole_at(folder, encode_component(tag), _MAX_TAG_BYTES)
        if content is None:
            return None
        try:
            return Digest.parse(content.decode("ascii", "replace").strip())
        except YarddeskError:
            _log.error("the file of tag %s in %s holds no digest: it's taken for missing", tag, repository)
            return None

    def put(self, repository: RepositoryName, manifest: Manifest) -> None:
        """Durable on return. The manifest's own file comes last: when it's there, what belongs to it is."""
        digest = manifest.digest
        if manifest.subject is not None:
            folder = referrer_folder(repository, manifest.subject.digest)
            place_content(self._tree, b"", folder, encode_reference(digest))
        folder = manifest_folder(repository, digest.algorithm)
        place_content(self._tree, manifest.media_type.encode(), folder, f"{digest.hex}{TYPE_SUFFIX}", sync=False)
        place_content(self._tree, manifest.content, folder, digest.hex, counted=True)

    def put_tag(self, repository: RepositoryName, tag: Tag, digest: Digest) -> None:
        """Durable on return."""
        place_content(self._tree, digest.encode(), tag_folder(repository), encode_component(tag))

    def delete_tag(self, repository: RepositoryName, tag: Tag) -> bool:
        """Whether it was there."""
        folder = tag_folder(repository)
        there = self._tree.remove(folder, encode_component(tag))
        self._tree.prune(folder, keep=1)
        return there

    def delete_tags(self, repository: RepositoryName, tags: Sequence[Tag]) -> None:
        """Those that are there."""
        folder = tag_folder(repository)
        for tag in tags:
            self._tree.remove(folder, encode_component(tag), sync=tag is tags[-1])
        if tags:
            self._tree.prune(folder, keep=1)

    def delete(
        self, repository: RepositoryName, digest: Digest, tags: Sequence[Tag] | None = None
    ) -> tuple[Tag, ...] | None:
        """Remove the tags that name a manifest, then the manifest: the tags; None where the manifest wasn't there.

        Of `tags` is known that no others name it; without them, each tag of the repository is looked at.
        """
        if not self.has(repository, digest):
            return None
        manifest = self.read(repository, digest)
        tags = self.tags(repository) if tags is None else tags
        tags = tuple(tag for tag in tags if self.read_tag(repository, tag) == digest)
        for tag in tags:
            self._tree.remove(tag_folder(repository), encode_component(tag), sync=tag is tags[-1])
        folder = manifest_folder(repository, digest.algorithm)
        self._tree.remove(folder, digest.hex, counted=True, sync=False)
        self._tree.remove(folder, f"{digest.hex}{TYPE_SUFFIX}")
        if manifest is not None and manifest.subject is not None:
            marker_folder = referrer_folder(repository, manifest.subject.digest)
            self._tree.remove(marker_folder, encode_reference(digest))
            self._tree.prune(marker_folder, keep=1)
        self._tree.prune(folder, keep=1)
        self._tree.prune(tag_folder(repository), keep=1)
        return tags

    def tags(self, repository: RepositoryName) -> list[Tag]:
        """All tags, in lexical order."""
        return sorted(name for name in self._references(tag_folder(repository)) if isinstance(name, Tag))

    def digests(self, repository: RepositoryName) -> list[Digest]:
        """The digests of all manifests, in no order."""
        found = []
        for algorithm in ALGORITHMS:
            for name in self._listed(manifest_folder(repository, algorithm)):
                try:
                    found.append(Digest.parse(f"{algorithm}:{name}"))
                except YarddeskError:  # a media type's file, or a stranger's
                    continue
        return found

    def referrers(self, repository: RepositoryName, subject: Digest) -> list[Descriptor]:
        """The manifests whose subject it is, with their annotations, by digest."""
        markers = sorted(
            name for name in self._references(referrer_folder(repository, subject)) if isinstance(name, Digest)
        )
        # A marker is written before its manifest: where a push was cut off in between, there is nothing behind it.
        found = (self.read(repository, digest) for digest in markers)
        return [manifest.referrer for manifest in found if manifest is not None]

    def _references(self, parts: Parts) -> Iterator[Reference]:
        for name in self._listed(parts):
            try:
                yield decode_reference(name)
            except NotOurFileName:
                _log.warning("%s is none of ours: it's left alone", self._tree.join(parts, name))

    def _has_manifest(self, parts: Parts) -> bool:
        """Whether a folder of manifests holds one; it's read no further than to the first."""
        folder = self._tree.find(parts)
        if folder is None:
            return False
        try:
            with os.scandir(folder) as entries:
                return any(not entry.name.endswith(TYPE_SUFFIX) for entry in entries)
        except FileNotFoundError:  # emptied and removed since it was found
            return False

    def _listed(self, parts: Parts) -> list[str]:
        folder = self._tree.find(parts)
        if folder is None:
            return []
        try:
            return os.listdir(folder)
        except FileNotFoundError:  # emptied and removed since it was found
            return []

    def _read(self, parts: Parts, name: str, limit: int) -> bytes | None:
        return _read_whole_at(self._tree.find(parts), name, limit)

    def _read_type(self, repository: RepositoryName, digest: Digest) -> str:
        # Without it the document's own mediaType counts: a crash may have come between the two files' renames.
        content = self._read(
            manifest_folder(repository, digest.algorithm), f"{digest.hex}{TYPE_SUFFIX}", _MAX_TYPE_BYTES
        )
        return (content or b"").decode("ascii", "replace").strip()


def _parsed(content: bytes, media_type: str, digest: Digest) -> Manifest:
    """By the type that it was pushed with; where that contradicts its bytes, which are verified, by what they say."""
    try:
        return parse_manifest(content, media_type, digest=digest, lenient=True)
    except InvalidManifest:
        if not media_type:
            raise
        manifest = parse_manifest(content, digest=digest, lenient=True)
        _log.warning("the media type that lies beside manifest %s is wrong: it's %s", digest, manifest.media_type)
        return manifest


def _read_whole_at(folder: str | None, name: str, limit: int) -> bytes | None:
    """A small file's bytes; None where it isn't there, its folder isn't, or it's larger."""
    if folder is None:
        return None
    try:
        content = read_whole(os.path.join(folder, name), limit)
    except FileNotFoundError:
        return None
    return content if len(content) <= limit else None
