"""A Switchyard's data folder made ours, before anything else looks at it.

blobs/sha256/HEX               goes to blobs/sha256/ab/HEX, once it was found to hold what its name says
manifests/NAME/sha256:HEX      a manifest's bytes; its media type lies in `sha256:HEX.content-type`
manifests/NAME/TAG             the bytes of the manifest that the tag names, and `TAG.content-type`
pending/NAME/REFERENCE.json    stays where it is: the queue reads Switchyard's markers

Every step can be done again, so a run that is cut off is gone on with by the next one. A file that doesn't hold what it should,
or that nobody could ask for by its name, goes to quarantine; links are left alone. Everything here blocks: for a thread.
"""

import json
import logging
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final

from yarddesk.content.errors import StorageError
from yarddesk.errors import YarddeskError
from yarddesk.oci.digest import HEX_LENGTHS, Digest, InvalidDigest
from yarddesk.oci.manifest import MAX_MANIFEST_BYTES, InvalidManifest, Manifest, parse_manifest
from yarddesk.oci.name import InvalidName, Reference, RepositoryName, parse_reference
from yarddesk.storage.blobs import BlobFiles
from yarddesk.storage.durable import open_file, open_folder, read_whole, regular_size, replace, sync_file, sync_folder
from yarddesk.storage.layout import (
    BLOBS,
    MANIFESTS,
    PENDING,
    QUARANTINE,
    RUN_FILE,
    TAKEOVER_FILE,
    UPLOADS,
    Parts,
    encode_component,
    tag_folder,
)
from yarddesk.storage.manifests import ManifestFiles
from yarddesk.storage.quarantine import Damage, Quarantine
from yarddesk.storage.temporaries import place_content
from yarddesk.storage.tree import Tree
from yarddesk.storage.verified import Identity

_log = logging.getLogger(__name__)

_FLAT: Final = (BLOBS, "sha256")
_TYPE_SUFFIX: Final = ".content-type"
_NO_TYPE: Final = "application/json"
"""What Switchyard answers where it knows no media type."""

_OURS: Final = ("_tags", "_sha256", "_sha512", "_referrers")
_ASIDE: Final = "%"
"""Before the name of a tag's file that has the name of a folder of ours; no tag begins so."""

_HALF_WRITTEN: Final = re.compile(r"tmp\w{8}\.tmp", re.ASCII)
"""A marker that Switchyard was writing when it ended."""

_FILE_MODE: Final = 0o600
_FOLDER_MODE: Final = 0o700
_MAX_TYPE_BYTES: Final = 4096
_HASHING_THREADS: Final = 2
_TELL_SECONDS: Final = 1.0


class TakeOverStopped(StorageError):
    """The start was given up meanwhile. The next one goes on."""


@dataclass(slots=True)
class _Progress:
    """How far it is, said in the log each second. For several threads."""

    stopped: Callable[[], bool]
    blobs: int = 0
    bytes: int = 0
    files: int = 0
    taken: int = 0
    taken_bytes: int = 0
    taken_files: int = 0
    aside: int = 0
    _told: float = field(default_factory=time.monotonic)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def passed(self, length: int = 0, *, blobs: int = 0, files: int = 0, aside: int = 0) -> None:
        """So much more. Raises TakeOverStopped where nobody waits for it any more."""
        if self.stopped():
            raise TakeOverStopped(
                "The Switchyard data folder is not wholly taken over.", hint="The next start goes on."
            )
        with self._lock:
            self.taken_bytes += length
            self.taken += blobs
            self.taken_files += files
            self.aside += aside
            if time.monotonic() - self._told < _TELL_SECONDS:
                return
            self._told = time.monotonic()
            self._tell()

    def _tell(self) -> None:
        _log.info(
            "taking over Switchyard's data folder: %d of %d blobs (%s of %s bytes), %d of %d manifest files",
            self.taken,
            self.blobs,
            f"{self.taken_bytes:,}",
            f"{self.bytes:,}",
            self.taken_files,
            self.files,
        )


class TakeOver:
    """Over a folder that no other process uses meanwhile, before its bytes are counted."""

    def __init__(self, tree: Tree, blobs: BlobFiles, quarantine: Quarantine) -> None:
        self._tree = tree
        self._blobs = blobs
        self._quarantine = quarantine
        self._manifests = ManifestFiles(tree, quarantine, _already_told)

    def run_if_needed(self, stopped: Callable[[], bool]) -> None:
        """Raises OSError, StorageError, and TakeOverStopped once `stopped` says so."""
        if is_switchyards(self._tree):
            self._run(_Progress(stopped))

    def _run(self, progress: _Progress) -> None:
        place_content(self._tree, json.dumps({"schema": 1, "from": "switchyard"}).encode(), (), TAKEOVER_FILE)
        for _, size in _flat_blobs(self._tree):
            progress.blobs += 1
            progress.bytes += size
        progress.files = sum(len(names) for _, names in _repositories(self._tree))
        _log.info(
            "this is a Switchyard's data folder: %d blobs (%s bytes) and %d manifest files are checked and taken over",
            progress.blobs,
            f"{progress.bytes:,}",
            progress.files,
        )
        self._take_blobs(progress)
        for parts, names in list(_repositories(self._tree)):
            self._take_repository(parts, names, progress)
        self._make_private()
        self._tree.remove((), TAKEOVER_FILE)
        _log.info(
            "Switchyard's data folder is taken over: %d blobs and %d manifest files; %d went to quarantine",
            progress.taken,
            progress.taken_files,
            progress.aside,
        )

    # Blobs

    def _take_blobs(self, progress: _Progress) -> None:
        digests = sorted(digest for digest, _ in _flat_blobs(self._tree))
        with ThreadPoolExecutor(_HASHING_THREADS, "yarddesk-takeover") as threads:
            try:
                for _ in threads.map(lambda digest: self._take_blob(digest, progress), digests):
                    pass
            except BaseException:
                threads.shutdown(wait=False, cancel_futures=True)
                raise

    def _take_blob(self, digest: Digest, progress: _Progress) -> None:
        path = self._tree.join(_FLAT, digest.hex)
        descriptor = open_file(path, write=True)
        try:
            seen = Identity.of(os.fstat(descriptor))
            is_whole = self._blobs.is_whole(descriptor, digest, progress.passed)
            if is_whole:
                _make_private_file(descriptor)
                sync_file(descriptor)
        finally:
            os.close(descriptor)
        if is_whole:
            self._blobs.place(path, digest)
            progress.passed(blobs=1)
            return
        kept_as = self._quarantine.take_blob(digest, seen, _FLAT)
        _log.error("blob %s doesn't hash to its name: it went to quarantine/%s", digest, kept_as)
        progress.passed(aside=1)

    # Manifests and tags

    def _take_repository(self, parts: Parts, names: list[str], progress: _Progress) -> None:
        """Manifests by their digests first, so that a tag never names what isn't there."""
        types = _types(names)
        references = [self._out_of_the_way(parts, name) for name in names if name not in types]
        repository = _repository_of(parts)
        put: set[Digest] = set()
        for name in sorted(references, key=lambda name: (":" not in name, name)):
            if self._take_manifest(repository, parts, name, put):
                self._tree.remove(parts, name, sync=False)
                progress.passed(files=1)
            else:
                progress.passed(aside=1)
        for name in types:
            self._tree.remove(parts, name, sync=False)
            progress.passed(files=1)
        if os.path.isdir(self._tree.join(parts)):
            sync_folder(open_folder(self._tree.join(parts)))
        self._tree.prune(parts, keep=1)

    def _out_of_the_way(self, parts: Parts, name: str) -> str:
        """Its name once there is room for our folders."""
        if name not in _OURS:
            return name
        aside = _ASIDE + name
        while os.path.lexists(self._tree.join(parts, aside)):
            aside = _ASIDE + aside
        replace(self._tree.join(parts, name), self._tree.join(parts, aside))
        return aside

    def _take_manifest(self, repository: RepositoryName | None, parts: Parts, name: str, put: set[Digest]) -> bool:
        """Have one file's manifest, and its tag, as ours. False where that can't be: then it's in quarantine.

        `put`: those that this run has put there.
        """
        path = self._tree.join(parts, name)
        said = name.lstrip(_ASIDE) if name.lstrip(_ASIDE) in _OURS else name
        try:
            if repository is None:
                raise InvalidName(f"“{'/'.join(parts[1:])}” is not a repository name.")
            reference = parse_reference(said)
            content = read_whole(path, MAX_MANIFEST_BYTES)
            if isinstance(reference, Digest) and not reference.matches(content):
                kept_as = self._quarantine.take_manifest(
                    repository, reference, Identity.of(os.lstat(path)), (parts, name)
                )
                _log.error("manifest %s of %s doesn't hash to its name: quarantine/%s", said, repository, kept_as)
                return False
            manifest = _manifest(content, self._type_of(parts, said), reference)
        except YarddeskError as error:
            kept_as = self._quarantine.take_stranger(parts, name)
            _log.error("%s can't be taken over, and went to quarantine/%s: %s", path, kept_as, error)
            return False
        if manifest.digest not in put:
            self._manifests.put(repository, manifest)
            put.add(manifest.digest)
        if not isinstance(reference, Digest) and self._is_newer(path, repository, reference):
            self._manifests.put_tag(repository, reference, manifest.digest)
        return True

    def _type_of(self, parts: Parts, name: str) -> str:
        try:
            content = read_whole(self._tree.join(parts, name + _TYPE_SUFFIX), _MAX_TYPE_BYTES)
        except FileNotFoundError:
            return ""
        said = content.decode("ascii", "replace").strip()
        return "" if said.partition(";")[0].strip().lower() == _NO_TYPE else said

    def _is_newer(self, path: str, repository: RepositoryName, tag: Reference) -> bool:
        """False where the tag was pushed to us, or taken over, since Switchyard's file was written."""
        ours = self._tree.join(tag_folder(repository), encode_component(tag))
        return regular_size(ours) is None or os.lstat(ours).st_mtime_ns < os.lstat(path).st_mtime_ns

    def _make_private(self) -> None:
        """0700 and 0600 for what stays where it is, or was only moved: folders, what lies in quarantine, and the queue's markers, of
        which half-written ones go."""
        if sys.platform == "win32":
            return
        for top in (BLOBS, MANIFESTS, UPLOADS, PENDING, QUARANTINE):
            for path, _, names in os.walk(self._tree.join((top,)), onerror=_raise):
                os.chmod(path, _FOLDER_MODE)
                for file in (os.path.join(path, name) for name in names if top in (PENDING, QUARANTINE)):
                    if top == PENDING and _HALF_WRITTEN.fullmatch(os.path.basename(file)):
                        os.unlink(file)
                    elif not os.path.islink(file):
                        os.chmod(file, _FILE_MODE)


def is_switchyards(tree: Tree) -> bool:
    """Whether a folder is Switchyard's, or half ours. In one of ours this looks at two folders' names, and no deeper.

    Changes nothing. Raises OSError and StorageError.
    """
    if regular_size(tree.join((), TAKEOVER_FILE)) is not None or next(_flat_blobs(tree), None) is not None:
        return True
    if regular_size(tree.join((), RUN_FILE)) is not None:
        return False
    return any(name.endswith(_TYPE_SUFFIX) for _, names in _repositories(tree) for name in names)


def _flat_blobs(tree: Tree) -> Iterator[tuple[Digest, int]]:
    """What Switchyard has as blobs, with its size in bytes."""
    folder = tree.find(_FLAT)
    if folder is None:
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            digest = _digest_of(entry.name)
            if digest is None:
                continue
            if entry.is_file(follow_symlinks=False):
                yield digest, entry.stat(follow_symlinks=False).st_size


def _repositories(tree: Tree) -> Iterator[tuple[Parts, list[str]]]:
    """Each folder of manifests that holds files of Switchyard's: ours lie in folders of their own below it."""
    root = tree.find((MANIFESTS,))
    if root is None:
        return
    for path, folders, names in os.walk(root, onerror=_raise):
        folders[:] = sorted(folder for folder in folders if folder not in _OURS)
        found = sorted(name for name in names if regular_size(os.path.join(path, name)) is not None)
        if found:
            inside = os.path.relpath(path, root)
            yield (MANIFESTS, *(() if inside == os.curdir else inside.split(os.sep))), found


def _types(names: list[str]) -> set[str]:
    """Which of these files tell the media type of another. A tag may end so, too, and then has such a file of its own."""
    there = set(names)
    return {name for name in names if name.endswith(_TYPE_SUFFIX) and name + _TYPE_SUFFIX not in there}


def _manifest(content: bytes, media_type: str, reference: Reference) -> Manifest:
    """By the type that lies beside it; where that contradicts its bytes, by what they say. Raises InvalidManifest."""
    digest = reference if isinstance(reference, Digest) else None
    try:
        return parse_manifest(content, media_type, digest=digest)
    except InvalidManifest:
        if not media_type:
            raise
        return parse_manifest(content, digest=digest)


def _repository_of(parts: Parts) -> RepositoryName | None:
    try:
        return RepositoryName.parse("/".join(parts[1:]))
    except InvalidName:
        return None


def _digest_of(name: str) -> Digest | None:
    algorithm = next((each for each, length in HEX_LENGTHS.items() if length == len(name)), None)
    if algorithm is None:
        return None
    try:
        return Digest.parse(f"{algorithm}:{name}")
    except InvalidDigest:
        return None


def _make_private_file(descriptor: int) -> None:
    if sys.platform != "win32":
        os.fchmod(descriptor, _FILE_MODE)


def _raise(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


def _already_told(_repository: RepositoryName, _damage: Damage) -> None:
    """Nobody knows of these manifests yet."""
