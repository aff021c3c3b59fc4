"""Upload sessions as files in `uploads/`, which survive the process. Everything here blocks: for threads."""

import logging
import os
import re
import time
from typing import Final

from yarddesk.oci.digest import Digest
from yarddesk.oci.name import RepositoryName
from yarddesk.storage.blobs import BlobFiles
from yarddesk.storage.durable import create_file, read_whole, regular_size, remove_if_there, write_all
from yarddesk.storage.layout import REPOSITORY_SUFFIX, TEMPORARY_PREFIX, UPLOADS
from yarddesk.storage.tree import Tree

_log = logging.getLogger(__name__)
_UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)
_MAX_NAME_BYTES: Final = 1024


class UploadFiles:
    """The folder `uploads/`. Everything here blocks: for threads."""

    def __init__(self, tree: Tree, blobs: BlobFiles) -> None:
        self._tree = tree
        self._blobs = blobs

    def path(self, upload_id: str) -> str:
        return self._tree.join((UPLOADS,), upload_id)

    def create(self, upload_id: str, repository: RepositoryName | None) -> None:
        """An empty session. Whose it is lies beside it, and first; None: nobody can go on with it after this run."""
        self._tree.make((UPLOADS,))
        owner = [] if repository is None else [(self._owner(upload_id), repository.encode())]
        try:
            for path, content in (*owner, (self.path(upload_id), b"")):
                descriptor = create_file(path)
                try:
                    write_all(descriptor, content)
                finally:
                    os.close(descriptor)
        except BaseException:
            self.remove(upload_id)
            raise

    def find(self, upload_id: str, repository: RepositoryName) -> int | None:
        """The bytes of a session of this repository; None where there is none. `upload_id` is what a client says."""
        if not _UUID.fullmatch(upload_id) or self._tree.find((UPLOADS,)) is None:
            return None
        try:
            owner = read_whole(self._owner(upload_id), _MAX_NAME_BYTES)
        except FileNotFoundError:
            return None
        return regular_size(self.path(upload_id)) if owner == repository.encode() else None

    def make_blob(self, upload_id: str, digest: Digest) -> None:
        """Give the session's file, verified and fsynced, its final name."""
        self._blobs.place(self.path(upload_id), digest)
        remove_if_there(self._owner(upload_id))

    def has_blob(self, digest: Digest) -> bool:
        return self._blobs.size(digest) is not None

    def remove(self, upload_id: str) -> None:
        remove_if_there(self.path(upload_id))
        remove_if_there(self._owner(upload_id))

    def sweep(self, idle_seconds: float, in_use: frozenset[str]) -> int:
        """Remove the sessions that nobody wrote to for so long, and what a failing disk kept of small files: how many sessions."""
        for name in self._names():
            path = self._tree.join((UPLOADS,), name)
            if name.startswith(TEMPORARY_PREFIX) and time.time() - _modified(path) >= idle_seconds:
                remove_if_there(path)
        abandoned = self.abandoned(idle_seconds) - in_use
        for upload_id in abandoned:
            self.remove(upload_id)
        return len(abandoned)

    def abandoned(self, idle_seconds: float) -> set[str]:
        """The sessions whose files nobody wrote to for so long."""
        found = {name.removesuffix(REPOSITORY_SUFFIX) for name in self._names()}
        return {
            upload_id
            for upload_id in found
            if _UUID.fullmatch(upload_id) and time.time() - self._used_at(upload_id) >= idle_seconds
        }

    def remove_leftovers(self) -> None:
        """Remove what a run that was cut off left half-written. Before this run writes anything."""
        self._tree.make((UPLOADS,))
        names = frozenset(self._names())
        for name in names:
            upload_id = name.removesuffix(REPOSITORY_SUFFIX)
            whole = {upload_id, f"{upload_id}{REPOSITORY_SUFFIX}"} <= names
            if not whole or not _UUID.fullmatch(upload_id):
                _log.info("removing uploads/%s, which a run that was cut off left", name)
                remove_if_there(self._tree.join((UPLOADS,), name))

    def _used_at(self, upload_id: str) -> float:
        """When the session was last written to, in seconds of the epoch; 0 where it's gone."""
        return max(_modified(self.path(upload_id)), _modified(self._owner(upload_id)))

    def _names(self) -> list[str]:
        folder = self._tree.find((UPLOADS,))
        if folder is None:
            return []
        with os.scandir(folder) as entries:
            return [entry.name for entry in entries if not entry.is_dir(follow_symlinks=False)]

    def _owner(self, upload_id: str) -> str:
        return f"{self.path(upload_id)}{REPOSITORY_SUFFIX}"


def _modified(path: str) -> float:
    """When a file was last written to, in seconds of the epoch; 0 where it's gone."""
    try:
        return os.lstat(path).st_mtime
    except FileNotFoundError:
        return 0.0
