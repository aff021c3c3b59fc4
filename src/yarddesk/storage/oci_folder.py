"""An OCI image layout as a folder. Everything here blocks: for threads."""

import contextlib
import os
import threading
import uuid
from typing import BinaryIO, Final

from yarddesk.content.target import NotFound
from yarddesk.oci.descriptor import Descriptor
from yarddesk.oci.digest import Digest
from yarddesk.oci.image_layout import (
    BLOBS,
    INDEX_FILE,
    MARKER,
    MARKER_FILE,
    MAX_MARKER_BYTES,
    InvalidLayout,
    LayoutIndex,
    check_marker,
)
from yarddesk.oci.manifest import MAX_MANIFEST_BYTES
from yarddesk.storage.blobs import hash_file
from yarddesk.storage.durable import (
    create_file,
    make_folder,
    open_file,
    open_folder,
    read_whole,
    regular_size,
    remove_if_there,
    sync_file,
    sync_folder,
    write_all,
)
from yarddesk.storage.oci_words import TEMPORARY_PREFIX, in_words_of_layout, open_locked
from yarddesk.storage.temporaries import place_content
from yarddesk.storage.tree import Tree

_AT_ONCE: Final = 4


class LayoutFolder:
    """LayoutFiles. A symbolic link in the place of a blob or of its folder is never followed."""

    def __init__(self, path: str) -> None:
        self.place = path
        self._tree = Tree(path)

    def read_index(self) -> LayoutIndex:
        """Raises InvalidLayout where it's no layout."""
        with in_words_of_layout(self.place):
            try:
                check_marker(read_whole(self._tree.join((), MARKER_FILE), MAX_MARKER_BYTES))
                return LayoutIndex.parse(read_whole(self._tree.join((), INDEX_FILE), MAX_MANIFEST_BYTES))
            except FileNotFoundError as error:
                raise InvalidLayout(
                    f"{self.place} is no image layout: it has no {os.path.basename(error.filename)} file."
                ) from error

    def size(self, digest: Digest) -> int | None:
        with in_words_of_layout(self.place):
            folder = self._tree.find((BLOBS, digest.algorithm))
            return None if folder is None else regular_size(os.path.join(folder, digest.hex))

    def holds(self, descriptor: Descriptor) -> bool:
        return self.size(descriptor.digest) == descriptor.size

    def open(self, digest: Digest) -> BinaryIO:
        return os.fdopen(self._open(digest), "rb")

    def _open(self, digest: Digest) -> int:
        with in_words_of_layout(self.place):
            folder = self._tree.find((BLOBS, digest.algorithm))
            try:
                if folder is not None:
                    return open_file(os.path.join(folder, digest.hex))
            except FileNotFoundError:
                pass
        raise NotFound(f"There is no {digest} in {self.place}.")


class WritableFolder(LayoutFolder):
    """WritableFiles, for one process at a time: blobs come under their names when they are whole, index.json last."""

    at_once = _AT_ONCE

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self._lock = -1

    def prepare(self) -> LayoutIndex:
        """Have a layout there, empty or as it was. Raises InvalidLayout for a folder that holds something else."""
        with in_words_of_layout(self.place):
            self._make()
            marker = self._tree.join((), MARKER_FILE)
            # Never put in another's place: who began at the same time may have locked that one.
            with contextlib.suppress(FileExistsError):
                os.close(create_file(marker))
            self._lock = open_locked(marker, self.place)
            if regular_size(marker) == 0:  # new, or of an export that was cut off right there
                write_all(self._lock, MARKER)
                sync_file(self._lock)
            check_marker(read_whole(marker, MAX_MARKER_BYTES))
            for name in os.listdir(self.place):
                if name.startswith(TEMPORARY_PREFIX):  # of an export that was cut off
                    remove_if_there(self._tree.join((), name))
            if regular_size(self._tree.join((), INDEX_FILE)) is None:
                return LayoutIndex.empty()
        return self.read_index()

    def close(self) -> None:
        lock, self._lock = self._lock, -1
        if lock >= 0:
            os.close(lock)

    def holds(self, descriptor: Descriptor) -> bool:
        """Whether it's there and whole: what is damaged is written anew."""
        if not super().holds(descriptor):
            return False
        opened, hasher = self._open(descriptor.digest), descriptor.digest.hasher()
        try:
            with in_words_of_layout(self.place):
                hash_file(opened, hasher, descriptor.size)
        finally:
            os.close(opened)
        return hasher.hexdigest() == descriptor.digest.hex

    def begin(self, digest: Digest, size: int) -> "_IncomingFile":
        with in_words_of_layout(self.place):
            return _IncomingFile(self._tree, self._new_name(), digest)

    def save(self, index: bytes) -> None:
        with in_words_of_layout(self.place):
            self._tree.make((BLOBS,))
            place_content(self._tree, index, (), INDEX_FILE, temporary=self._new_name())

    def _make(self) -> None:
        if not os.path.isdir(self.place):
            parent = os.path.dirname(self.place)
            os.makedirs(parent, exist_ok=True)
            with contextlib.suppress(FileExistsError):  # by who began at the same time, or it's no folder
                make_folder(self.place)
            sync_folder(open_folder(os.path.realpath(parent)))
        names = [name for name in os.listdir(self.place) if not name.startswith(TEMPORARY_PREFIX)]
        if names and MARKER_FILE not in names:
            raise InvalidLayout(
                f"{self.place} is not empty, and no image layout.", hint="Name a folder that is empty, or not there."
            )

    def _new_name(self) -> str:
        return self._tree.join((), f"{TEMPORARY_PREFIX}{uuid.uuid4()}")


class _IncomingFile:
    """A blob on its way into a folder. A write may still be under way when it's abandoned: hence the lock."""

    def __init__(self, tree: Tree, temporary: str, digest: Digest) -> None:
        self._tree = tree
        self._temporary = temporary
        self._digest = digest
        self._lock = threading.Lock()
        self._descriptor = create_file(temporary)

    def write(self, piece: bytes) -> None:
        with self._lock, in_words_of_layout(self._tree.root):
            if self._descriptor >= 0:
                write_all(self._descriptor, piece)

    def finish(self) -> None:
        with self._lock, in_words_of_layout(self._tree.root):
            sync_file(self._descriptor)
            self._close()
            self._tree.place(self._temporary, (BLOBS, self._digest.algorithm), self._digest.hex)

    def abandon(self) -> None:
        with self._lock, in_words_of_layout(self._tree.root):
            self._close()
            remove_if_there(self._temporary)

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)
