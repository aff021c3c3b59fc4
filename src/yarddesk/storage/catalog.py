"""The repositories that there are, in order, found in the folders. Everything here blocks: for threads."""

import os
from collections.abc import Callable, Iterator

from yarddesk.oci.name import RepositoryName
from yarddesk.storage.blobs import count_files
from yarddesk.storage.layout import ALGORITHMS, MANIFESTS, NotOurFileName, Parts, decode_repository
from yarddesk.storage.manifests import ManifestFiles
from yarddesk.storage.tree import Tree


class Catalog:
    """Repositories that hold a manifest. Memory is bound by the folders on one path, not by how many there are."""

    def __init__(self, tree: Tree, manifests: ManifestFiles) -> None:
        self._tree = tree
        self._manifests = manifests

    def after(self, last: str, *, tagged: bool = False) -> Iterator[RepositoryName]:
        """Those whose names are greater than `last`, in the order of their names' bytes.

        `tagged`: those, too, that hold nothing but tags, whose manifests were lost.
        """
        for parts in self._folders((MANIFESTS,), "", last):
            if self._manifests.holds_at(parts) or (tagged and self._manifests.is_tagged_at(parts)):
                yield decode_repository(parts[1:])

    def count(self, stopped: Callable[[], bool]) -> None:
        """Have the usage count every manifest, also in folders that are no repositories of ours any more."""
        for parts in self._folders((MANIFESTS,), "", ""):
            if stopped():
                return
            for algorithm in ALGORITHMS:
                path = self._tree.find((*parts, f"_{algorithm}"))
                if path is not None:
                    count_files(self._tree, path)

    def _folders(self, parts: Parts, prefix: str, last: str) -> Iterator[Parts]:
        """The folders of all repositories below `parts`, whose name with a slash is `prefix`, greater than `last`.

        `a-b` and `a.b` come between `a` and `a/b`, since `-` and `.` are less than `/`: so each component is met twice,
        once as itself and once as the begin of what is nested in it.
        """
        steps = []
        for name, component in self._components(parts):
            steps.append((f"{prefix}{component}", name, False))
            steps.append((f"{prefix}{component}/", name, True))
        for text, name, nested in sorted(steps):
            if not nested:
                if text > last:
                    yield (*parts, name)
            elif text > last or last.startswith(text):
                yield from self._folders((*parts, name), text, last)

    def _components(self, parts: Parts) -> Iterator[tuple[str, str]]:
        """File name and component of each folder that may belong to a repository."""
        path = self._tree.find(parts)
        if path is None:
            return
        try:
            with os.scandir(path) as entries:
                names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
        except FileNotFoundError:  # emptied and removed since it was found
            return
        for name in names:
            try:
                (component,) = decode_repository((name,)).components
            except NotOurFileName:  # a folder of one repository's own, or a stranger's
                continue
            yield name, component
