"""Upload sessions as files in `uploads/`, which survive the process. Everything here blocks: for threads."""

import logging
import os
import re
import time
import uuid
from hashlib import blake2b
from typing import Final

from yarddesk.oci.digest import Digest
from yarddesk.oci.name import RepositoryName
from yarddesk.storage.blobs import BlobFiles
from yarddesk.storage.durable import create_file, regular_size, remove_if_there
from yarddesk.storage.layout import UPLOADS
from yarddesk.storage.tree import Tree

_log = logging.getLogger(__name__)
# Version 8, whose content is ours (RFC 9562): what has a random UUID is no session that anybody goes on with in another run.
_UUID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", re.ASCII)
_VERSION_AT: Final = 14
_RANDOM_CHARACTERS: Final = 24
_OWNER_BYTES: Final = 6


class UploadFiles:
    """The folder `uploads/`. Everything here blocks: for threads.

    Whose a session is can be told from its name: a second file that says so would cost a small layer a fifth of its time.
    """

    def __init__(self, tree: Tree, blobs: BlobFiles) -> None:
        self._tree = tree
        self._blobs = blobs

    def path(self, upload_id: str) -> str:
        return self._tree.join((UPLOADS,), upload_id)

    def create(self, repository: RepositoryName, *, lasting: bool) -> str:
        """The name of an empty session. `lasting`: whoever pushes may go on with it in another run."""
        upload_id = _new_id(repository) if lasting else str(uuid.uuid4())
        self._tree.make((UPLOADS,))
        os.close(create_file(self.path(upload_id)))
        return upload_id

    def find(self, upload_id: str, repository: RepositoryName) -> int | None:
        """The bytes of a session of this repository; None where there is none. `upload_id` is what a client says."""
        if not _UUID.fullmatch(upload_id) or not is_of(repository, upload_id) or self._tree.find((UPLOADS,)) is None:
            return None
        return regular_size(self.path(upload_id))

    def make_blob(self, upload_id: str, digest: Digest) -> None:
        """Give the session's file, verified and fsynced, its final name."""
        self._blobs.place(self.path(upload_id), digest)

    def has_blob(self, digest: Digest) -> bool:
        return self._blobs.size(digest) is not None

    def remove(self, upload_id: str) -> None:
        remove_if_there(self.path(upload_id))

    def sweep(self, idle_seconds: float, in_use: frozenset[str]) -> int:
        """Remove the sessions that nobody wrote to for so long, and what a failing disk kept of small files: how many sessions."""
        idle = [name for name in self._names() if name not in in_use and self._is_idle(name, idle_seconds)]
        for name in idle:
            self.remove(name)
        return sum(_UUID.fullmatch(name) is not None for name in idle)

    def abandoned(self, idle_seconds: float) -> set[str]:
        """The sessions whose files nobody wrote to for so long."""
        return {name for name in self._names() if _UUID.fullmatch(name) and self._is_idle(name, idle_seconds)}

    def remove_leftovers(self) -> None:
        """Remove what a run that was cut off left half-written. Before this run writes anything."""
        self._tree.make((UPLOADS,))
        for name in self._names():
            if not _UUID.fullmatch(name):
                _log.info("removing uploads/%s, which a run that was cut off left", name)
                self.remove(name)

    def _is_idle(self, name: str, seconds: float) -> bool:
        """Whether nobody wrote to the file for so long."""
        try:
            return time.time() - os.lstat(self.path(name)).st_mtime >= seconds
        except FileNotFoundError:
            return False

    def _names(self) -> list[str]:
        folder = self._tree.find((UPLOADS,))
        if folder is None:
            return []
        with os.scandir(folder) as entries:
            return [entry.name for entry in entries if not entry.is_dir(follow_symlinks=False)]


def is_of(repository: RepositoryName, upload_id: str) -> bool:
    """Whether a session belongs to a repository: the last twelve digits of its UUID say so."""
    return upload_id == _with_owner(upload_id[:_RANDOM_CHARACTERS], repository)


def _new_id(repository: RepositoryName) -> str:
    random = str(uuid.uuid4())
    return _with_owner(f"{random[:_VERSION_AT]}8{random[_VERSION_AT + 1 : _RANDOM_CHARACTERS]}", repository)


def _with_owner(random: str, repository: RepositoryName) -> str:
    return random + blake2b(f"{random}{repository}".encode(), digest_size=_OWNER_BYTES).hexdigest()
