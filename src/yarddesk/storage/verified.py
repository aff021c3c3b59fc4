"""Which files were found to hold what their names say, by this process."""

import os
import threading
from typing import Final, NamedTuple

from yarddesk.oci.digest import Digest
from yarddesk.storage.recent import Recent

_MOST: Final = 20_000


class Identity(NamedTuple):
    """One state of one file: whoever writes to it, or puts another in its place, makes it another one."""

    inode: int
    size: int
    modified: int
    changed: int

    @classmethod
    def of(cls, found: os.stat_result) -> "Identity":
        return cls(found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


class VerifiedFiles:
    """Blobs' files by digest, those that were used last; some 500 bytes each. For any thread."""

    def __init__(self) -> None:
        self._files: Recent[Digest, Identity] = Recent(_MOST)
        self._lock = threading.Lock()

    def record(self, digest: Digest, identity: Identity) -> None:
        with self._lock:
            self._files.put(digest, identity)

    def holds(self, digest: Digest, identity: Identity) -> bool:
        """Whether this file, as it is, was verified."""
        with self._lock:
            return self._files.get(digest) == identity
