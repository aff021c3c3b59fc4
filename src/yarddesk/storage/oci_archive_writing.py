"""An OCI image layout as a tar archive that is being written. Everything here blocks: for threads."""

import contextlib
import os
import tarfile
import threading
from typing import Final

from yarddesk.oci.digest import Digest
from yarddesk.oci.image_layout import BLOBS, INDEX_FILE, MARKER, MARKER_FILE
from yarddesk.storage.durable import (
    close_folder,
    create_file,
    open_folder,
    remove_if_there,
    replace,
    sync_file,
    sync_folder,
    write_all,
)
from yarddesk.storage.oci_archive import ArchivedBlobs
from yarddesk.storage.oci_words import TEMPORARY_PREFIX, in_words_of_layout, open_locked

_FILE_MODE: Final = 0o644
_FOLDER_MODE: Final = 0o755
_BLOCK: Final = tarfile.BLOCKSIZE


class ArchiveWriter(ArchivedBlobs):
    """WritableFiles: all goes into a file beside `path`, which takes that name, whole, by `save`.

    The same content gives the same bytes where it comes in the same order: members have no times and no owners.
    """

    at_once = 1

    def __init__(self, path: str) -> None:
        super().__init__(path, os.path.join(os.path.dirname(path), f"{TEMPORARY_PREFIX}{os.path.basename(path)}"))
        self._folders: set[str] = set()
        self._descriptor = -1
        # A write may still be under way when an export is broken off.
        self._lock = threading.Lock()

    def prepare(self) -> None:
        """Raises StorageError, also where another export writes to the same path."""
        with in_words_of_layout(self.place):
            os.makedirs(os.path.dirname(self.place), exist_ok=True)
            with contextlib.suppress(FileExistsError):  # an export that was cut off left it
                os.close(create_file(self._path))
            self._descriptor = open_locked(self._path, self.place)
            os.ftruncate(self._descriptor, 0)
            for folder in (BLOBS, f"{BLOBS}/sha256"):
                self._add_folder(folder)

    def close(self) -> None:
        """Remove what was not saved."""
        with self._lock, in_words_of_layout(self.place):
            if self._descriptor < 0:
                return
            try:
                remove_if_there(self._path)
            finally:
                self._close()

    def begin(self, digest: Digest, size: int) -> "_IncomingMember":
        with self._lock, in_words_of_layout(self.place):
            folder = f"{BLOBS}/{digest.algorithm}"
            if folder not in self._folders:
                self._add_folder(folder)
            start = self._position()
            self._write(_header(f"{folder}/{digest.hex}", size))
        return _IncomingMember(self, digest, start)

    def add_file(self, name: str, content: bytes) -> None:
        """One more small file, which is not of the layout itself."""
        with self._lock, in_words_of_layout(self.place):
            self._write(_header(name, len(content)) + content + _padding(len(content)))

    def save(self, index: bytes) -> None:
        with self._lock, in_words_of_layout(self.place):
            for name, content in ((MARKER_FILE, MARKER), (INDEX_FILE, index)):
                self._write(_header(name, len(content)) + content + _padding(len(content)))
            self._write(bytes(2 * _BLOCK))
            folder = open_folder(os.path.realpath(os.path.dirname(self.place)))
            try:
                sync_file(self._descriptor)
                replace(self._path, self.place)
            except BaseException:
                close_folder(folder)  # -1 on Windows
                raise
            try:
                sync_folder(folder)
            finally:
                self._close()  # also where that failed: what is beside it from now on is another export's

    # What a member on its way asks for, under the lock.

    def append(self, piece: bytes) -> None:
        with self._lock, in_words_of_layout(self.place):
            if self._descriptor >= 0:
                self._write(piece)

    def finish(self, digest: Digest, size: int) -> None:
        with self._lock, in_words_of_layout(self.place):
            start = self._position() - size
            self._write(_padding(size))
            self._blobs[digest] = (start, size)

    def cut(self, position: int) -> None:
        """Forget all that was written from there on."""
        with self._lock, in_words_of_layout(self.place):
            if self._descriptor >= 0:
                os.ftruncate(self._descriptor, position)
                os.lseek(self._descriptor, position, os.SEEK_SET)

    def _add_folder(self, name: str) -> None:
        self._write(_header(name, 0, tarfile.DIRTYPE))
        self._folders.add(name)

    def _position(self) -> int:
        return os.lseek(self._descriptor, 0, os.SEEK_CUR)

    def _write(self, content: bytes) -> None:
        write_all(self._descriptor, content)

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        os.close(descriptor)


class _IncomingMember:
    """A blob on its way to the archive's end."""

    def __init__(self, writer: ArchiveWriter, digest: Digest, start: int) -> None:
        self._writer = writer
        self._digest = digest
        self._start = start
        self._size = 0
        self._over = False

    def write(self, piece: bytes) -> None:
        self._writer.append(piece)
        self._size += len(piece)

    def finish(self) -> None:
        self._writer.finish(self._digest, self._size)
        self._over = True

    def abandon(self) -> None:
        if not self._over:
            self._over = True
            self._writer.cut(self._start)


def _header(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    member = tarfile.TarInfo(name)
    member.type = kind
    member.size = size
    member.mode = _FOLDER_MODE if kind == tarfile.DIRTYPE else _FILE_MODE
    # pax alone has room for a sha512's name and for sizes above 8 GiB; elsewhere this is plain ustar.
    return member.tobuf(tarfile.PAX_FORMAT)


def _padding(size: int) -> bytes:
    return bytes(-size % _BLOCK)
