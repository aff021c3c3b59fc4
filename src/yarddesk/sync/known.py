"""What we know that an upstream has: what we sent, saw or asked for there lately. Bounded; a hint, never the truth."""

import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from yarddesk.oci.digest import Digest
from yarddesk.oci.name import RepositoryName

KEPT_BLOBS: Final = 20_000
FRESH_SECONDS: Final = 600.0
REFUSED_SECONDS: Final = 3600.0
_REPOSITORIES_PER_BLOB: Final = 4
_ENOUGH_REFUSALS: Final = 3
_MOST_SOURCES: Final = 1000


class _Refusals(NamedTuple):
    """Mounts from one repository that were refused, and when the last one was."""

    in_a_row: int
    at: float


@dataclass(slots=True)
class KnownContent:
    """Which contents one upstream has, under which of our repositories' names, and when that was last seen.

    `changes` grows whenever something turns out to be there after all, or not to be.
    """

    monotonic: Callable[[], float]
    kept: int = KEPT_BLOBS
    changes: int = 0
    _seen: OrderedDict[Digest, dict[RepositoryName, float]] = field(default_factory=OrderedDict)
    _lacking: OrderedDict[tuple[Digest, RepositoryName], float] = field(default_factory=OrderedDict)
    _refusals: OrderedDict[RepositoryName, _Refusals] = field(default_factory=OrderedDict)

    def add(self, digest: Digest, repository: RepositoryName) -> None:
        self.changes += 1
        self._lacking.pop((digest, repository), None)
        repositories = self._seen.setdefault(digest, {})
        repositories.pop(repository, None)
        repositories[repository] = self.monotonic()
        while len(repositories) > _REPOSITORIES_PER_BLOB:
            del repositories[next(iter(repositories))]
        self._seen.move_to_end(digest)
        while len(self._seen) > self.kept:
            self._seen.popitem(last=False)

    def hint(self, digest: Digest, repository: RepositoryName) -> None:
        """It was there at some time: worth a try to mount it from there, and no reason not to ask. Gives way to all else."""
        repositories = self._seen.get(digest, {})
        if repository in repositories or len(repositories) >= _REPOSITORIES_PER_BLOB:
            return
        if not repositories and len(self._seen) >= self.kept:
            return
        self._seen[digest] = {repository: -math.inf, **repositories}
        if not repositories:
            self._seen.move_to_end(digest, last=False)

    def lacks(self, digest: Digest, repository: RepositoryName) -> None:
        """It was asked for, and isn't there, unless it came while the answer was on its way."""
        if self.is_fresh(digest, repository):
            return
        self._lacking[digest, repository] = self.monotonic()
        self._lacking.move_to_end((digest, repository))
        while len(self._lacking) > self.kept:
            self._lacking.popitem(last=False)

    def is_fresh(self, digest: Digest, repository: RepositoryName) -> bool:
        """Whether it was seen there so lately that there is no need to ask again."""
        seen = self._seen.get(digest, {}).get(repository)
        return seen is not None and self.monotonic() - seen < FRESH_SECONDS

    def says(self, digest: Digest, repository: RepositoryName) -> bool | None:
        """Whether it's there, as far as that was seen lately; None where it's to be asked."""
        if self.is_fresh(digest, repository):
            return True
        lacked = self._lacking.get((digest, repository))
        return False if lacked is not None and self.monotonic() - lacked < FRESH_SECONDS else None

    def elsewhere(self, digest: Digest, repository: RepositoryName) -> list[RepositoryName]:
        """Other repositories that have it and that mounts may be tried from: the one seen last first, hints last."""
        names = reversed(self._seen.get(digest, {}))
        return [name for name in names if name != repository and self.may_mount_from(name)]

    def may_mount_from(self, source: RepositoryName) -> bool:
        """False for a while once several mounts in a row from there were refused: then it's quicker to send."""
        refusals = self._refusals.get(source)
        return refusals is None or refusals.in_a_row < _ENOUGH_REFUSALS or self._is_long_ago(refusals)

    def tried_to_mount(self, source: RepositoryName, mounted: bool) -> None:
        refusals = self._refusals.pop(source, None)
        if mounted:
            return
        before = 0 if refusals is None or self._is_long_ago(refusals) else refusals.in_a_row
        self._refusals[source] = _Refusals(before + 1, self.monotonic())
        while len(self._refusals) > _MOST_SOURCES:
            self._refusals.popitem(last=False)

    def forget(self, digest: Digest, repository: RepositoryName | None = None) -> None:
        """It turned out not to be as we knew (None: in no repository)."""
        self.changes += 1
        if repository is None:
            self._seen.pop(digest, None)
            return
        self._lacking.pop((digest, repository), None)
        if digest in self._seen:
            self._seen[digest].pop(repository, None)

    def _is_long_ago(self, refusals: _Refusals) -> bool:
        return self.monotonic() - refusals.at >= REFUSED_SECONDS
