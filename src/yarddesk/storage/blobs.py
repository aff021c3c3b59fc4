"""Blobs as files: found, put in place, removed, listed, re-hashed. Everything here blocks: for threads."""

import contextlib
import os
import re
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from yarddesk.oci.digest import HEX_LENGTHS, Digest, Hasher
from yarddesk.storage.durable import open_file, open_folder, regular_size, sync_folder
from yarddesk.storage.layout import ALGORITHMS, BLOBS, blob_folder, shard_folders
from yarddesk.storage.tree import Tree
from yarddesk.storage.verified import Identity, VerifiedFiles

PIECE_BYTES: Final = 1024 * 1024
# Clocks of file systems are coarser than ours.
_CLOCK_SLACK_SECONDS: Final = 5.0
_FILLED_AT: Final = 0.0
# FAT knows no time before 1980, and not every file system knows seconds.
_FILLED_BEFORE: Final = 11 * 366 * 24 * 3600.0
_HEX: Final = re.compile(r"[0-9a-f]+", re.ASCII)


class BlobFiles:
    """The folder `blobs/`. A link in the place of a file or folder is never followed."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self.verified = VerifiedFiles()

    def size(self, digest: Digest) -> int | None:
        """Size in bytes; None where it's not here, or not durably: a push must not count on that one."""
        folder = self._tree.find(blob_folder(digest))
        if folder is None or not self._tree.is_durable(path := os.path.join(folder, digest.hex)):
            return None
        return regular_size(path)

    def look(self, digest: Digest) -> tuple[int, float] | None:
        """Its size and time (seconds of the epoch); None where it isn't here."""
        try:
            state = os.lstat(self._path(digest))
        except FileNotFoundError:
            return None
        return (state.st_size, state.st_mtime) if stat.S_ISREG(state.st_mode) else None

    def make_durable(self, since: float) -> None:
        """Have what was put here from a moment on (in seconds of the epoch) on disk: a run that was killed left it to the kernel."""
        changed = [
            path
            for algorithm in ALGORITHMS
            for folder in shard_folders(algorithm)
            if (path := self._tree.find(folder)) is not None and os.stat(path).st_mtime >= since - _CLOCK_SLACK_SECONDS
        ]
        above = [path for algorithm in ALGORITHMS if (path := self._tree.find((BLOBS, algorithm))) is not None]
        for path in (*changed, *above, self._tree.join((BLOBS,)), self._tree.root) if changed else ():
            sync_folder(open_folder(path))

    def open(self, digest: Digest) -> int:
        """A descriptor for reading. Raises FileNotFoundError."""
        folder = self._tree.find(blob_folder(digest))
        if folder is None:
            raise FileNotFoundError(self._path(digest))
        return open_file(os.path.join(folder, digest.hex))

    def place(self, temporary: str, digest: Digest) -> None:
        """Make a file that was verified and fsynced the blob; in place of one that is there, which may be damaged."""
        self._tree.place(temporary, blob_folder(digest), digest.hex, counted=True)
        with contextlib.suppress(FileNotFoundError):  # deleted since
            self.verified.record(digest, Identity.of(os.lstat(self._path(digest))))

    def remove(self, digest: Digest) -> bool:
        return self._tree.remove(blob_folder(digest), digest.hex, counted=True)

    def remove_old(self, digests: Sequence[Digest], before: float) -> list[int]:
        """Remove those of them that were committed by then, in seconds of the epoch; the sizes of what went.

        Not durable: what a crash brings back is collected again.
        """
        sizes = []
        for digest in digests:
            size = self.size(digest) or 0
            if self._tree.remove(
                blob_folder(digest),
                digest.hex,
                counted=True,
                sync=False,
                only_if=lambda found: found.st_mtime <= before,
            ):
                sizes.append(size)
        return sizes

    def listed(self, folder: tuple[str, ...]) -> list[Digest]:
        """The blobs in one folder of `shard_folders`; strangers' files are left out."""
        return [digest for digest, _, _ in self.entries(folder)]

    def entries(self, folder: tuple[str, ...]) -> list[tuple[Digest, int, float]]:
        """The blobs in one folder with their sizes and times (seconds of the epoch)."""
        path = self._tree.find(folder)
        if path is None:
            return []
        _, algorithm, shard = folder
        length = HEX_LENGTHS[algorithm]
        found = []
        with os.scandir(path) as entries:
            for entry in entries:
                name = entry.name
                if len(name) != length or not name.startswith(shard) or not _HEX.fullmatch(name):
                    continue
                with contextlib.suppress(FileNotFoundError):  # removed since it was seen
                    state = entry.stat(follow_symlinks=False)
                    if stat.S_ISREG(state.st_mode):
                        found.append((Digest.parse(f"{algorithm}:{name}"), state.st_size, state.st_mtime))
        return found

    def is_whole(
        self,
        descriptor: int,
        digest: Digest,
        passed: Callable[[int], None],
    ) -> bool:
        """Read an open blob and say whether it hashes to its name, which is then known of this file as it is."""
        before = os.fstat(descriptor)
        hasher = digest.hasher()
        hash_file(descriptor, hasher, None, passed)
        if hasher.hexdigest() != digest.hex:
            return False
        after = os.fstat(descriptor)
        if Identity.of(after) == Identity.of(before):
            self.verified.record(digest, Identity.of(after))
        return True

    def count(self, stopped: Callable[[], bool]) -> None:
        """Have the usage count every folder."""
        for algorithm in ALGORITHMS:
            for folder in shard_folders(algorithm):
                if stopped():
                    return
                path = self._tree.find(folder)
                if path is not None:
                    count_files(self._tree, path)

    def _path(self, digest: Digest) -> str:
        return self._tree.join(blob_folder(digest), digest.hex)


def mark_filled(path: str) -> None:
    """Its time says that it came through an upstream: no client was told that it sent it, so it has no age to be spared for."""
    os.utime(path, (time.time(), _FILLED_AT))


def is_filled(modified: float) -> bool:
    """Whether a blob's time says so."""
    return modified < _FILLED_BEFORE


def hash_file(descriptor: int, hasher: Hasher, length: int | None, passed: Callable[[int], None] | None = None) -> None:
    """Hash the file from its begin, `length` bytes or all of it; `passed` is told of each piece."""
    os.lseek(descriptor, 0, os.SEEK_SET)
    left = length
    while left is None or left > 0:
        piece = os.read(descriptor, PIECE_BYTES if left is None else min(PIECE_BYTES, left))
        if not piece:
            return
        hasher.update(piece)
        if passed is not None:
            passed(len(piece))
        if left is not None:
            left -= len(piece)


def count_files(tree: Tree, path: str) -> None:
    """Have the usage count the content in one folder: what is named by hexadecimal digits."""

    def measure() -> int:
        try:
            return sum(_content_sizes(path))
        except FileNotFoundError:  # removed since it was seen
            return 0

    tree.count(path, measure)


def _content_sizes(path: str) -> Iterator[int]:
    with os.scandir(path) as entries:
        for entry in entries:
            if _HEX.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                yield entry.stat(follow_symlinks=False).st_size
