"""Files that don't hold what their names say: moved to `quarantine/`, never deleted, until a person looks at them.

They are moved and not copied, so they take no more room than they did; beyond that nothing bounds them.
"""

import logging
import os
import re
import time
import uuid
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from yarddesk.content.errors import StorageError
from yarddesk.oci.digest import Digest
from yarddesk.oci.name import RepositoryName
from yarddesk.storage.durable import regular_size
from yarddesk.storage.layout import QUARANTINE, Parts, blob_folder, encode_reference, manifest_folder
from yarddesk.storage.tree import Tree
from yarddesk.storage.verified import Identity

_log = logging.getLogger(__name__)
_NAME: Final = re.compile(r"(blob|manifest)-(sha256|sha512)_([0-9a-f]+)-\d{8}T\d{6}Z-[0-9a-f]{8}", re.ASCII)

_MOST_OF_A_NAME: Final = 160


@dataclass(frozen=True, slots=True)
class Damage:
    """A blob, or a repository's manifest, that didn't hash to its name; `kept_as` is its file in quarantine, if it could be moved."""

    digest: Digest
    size: int
    kept_as: str | None

    @property
    def whereabouts(self) -> str:
        """For the log."""
        return f"moved to quarantine/{self.kept_as}" if self.kept_as else "left where it is, and not served"


class Quarantine:
    """The folder `quarantine/`: `blob-sha256_HEX-20261125T143500Z-1a2b3c4d`. Everything here blocks, and is for any thread."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._blobs: set[str] = set()
        self._manifests: set[str] = set()

    def load(self) -> None:
        """Learn what lies there from earlier runs."""
        try:
            names = self.names()
        except (OSError, StorageError) as error:
            _log.error("the quarantine can't be read: %s", error)
            return
        for name in names:
            match = _NAME.fullmatch(name)
            if match:
                known = self._blobs if match[1] == "blob" else self._manifests
                known.add(f"{match[2]}:{match[3]}")

    def take_blob(self, digest: Digest, seen: Identity, folder: Parts = ()) -> str | None:
        """Move the file that was `seen`: its name in there; None where another has taken its place meanwhile.

        `folder`: where it lies, if not where blobs do.
        """
        name = self._take("blob", digest, (folder or blob_folder(digest), digest.hex), seen)
        if name is not None:
            self._blobs.add(digest)
        return name

    def take_manifest(
        self, repository: RepositoryName, digest: Digest, seen: Identity, place: tuple[Parts, str] | None = None
    ) -> str | None:
        """As `take_blob`; `place` is a folder and a file's name. What belongs to the manifest stays: its tags wait for a whole one."""
        name = self._take(
            "manifest", digest, place or (manifest_folder(repository, digest.algorithm), digest.hex), seen
        )
        if name is not None:
            self._manifests.add(digest)
        return name

    def take_stranger(self, folder: Parts, name: str) -> str | None:
        """Move a file that has no place here: as `take_blob`."""
        seen = Identity.of(os.lstat(self._tree.join(folder, name)))
        return self._move(
            "stranger-" + quote("_".join((*folder, name)), safe="")[:_MOST_OF_A_NAME], (folder, name), seen
        )

    def has_blob(self, digest: Digest) -> bool:
        """Whether such a blob was ever found damaged; says nothing of whether there is a whole one."""
        return digest in self._blobs

    def has_manifest(self, digest: Digest) -> bool:
        """The same for a manifest, of any repository."""
        return digest in self._manifests

    def blobs(self) -> list[Digest]:
        return [Digest.parse(digest) for digest in sorted(self._blobs)]

    def names(self) -> list[str]:
        """The files in there."""
        folder = self._tree.find((QUARANTINE,))
        return [] if folder is None else sorted(os.listdir(folder))

    def manifest_paths(self) -> list[str]:
        """Where the damaged manifests lie."""
        return [self._tree.join((QUARANTINE,), name) for name in self.names() if name.startswith("manifest-")]

    def size(self) -> int:
        """Bytes of all of it."""
        return sum(regular_size(self._tree.join((QUARANTINE,), name)) or 0 for name in self.names())

    def _take(self, kind: str, digest: Digest, place: tuple[Parts, str], seen: Identity) -> str | None:
        return self._move(f"{kind}-{encode_reference(digest)}", place, seen)

    def _move(self, label: str, place: tuple[Parts, str], seen: Identity) -> str | None:
        moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        name = f"{label}-{moment}-{uuid.uuid4().hex[:8]}"
        moved = self._tree.move_out(*place, (QUARANTINE,), name, only_if=lambda found: Identity.of(found) == seen)
        return name if moved else None
