"""What we know that an upstream has: what we sent or saw there lately. Bounded; a hint, never the truth."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from yarddesk.oci.digest import Digest
from yarddesk.oci.name import RepositoryName

KEPT_BLOBS: Final = 20_000
FRESH_SECONDS: Final = 600.0
_REPOSITORIES_PER_BLOB: Final = 4
_ENOUGH_REFUSALS: Final = 3


@dataclass(slots=True)
class KnownContent:
    """Which blobs one upstream has, under which of our repositories' names, and when that was last seen."""

    monotonic: Callable[[], float]
    kept: int = KEPT_BLOBS
    _refused_mounts: int = 0
    _seen: OrderedDict[Digest, dict[RepositoryName, float]] = field(default_factory=OrderedDict)

    def add(self, digest: Digest, repository: RepositoryName) -> None:
        repositories = self._seen.setdefault(digest, {})
        repositories.pop(repository, None)
        repositories[repository] = self.monotonic()
        while len(repositories) > _REPOSITORIES_PER_BLOB:
            del repositories[next(iter(repositories))]
        self._seen.move_to_end(digest)
        while len(self._seen) > self.kept:
            self._seen.popitem(last=False)

    def is_fresh(self, digest: Digest, repository: RepositoryName) -> bool:
        """Whether it was seen there so lately that there is no need to ask again."""
        seen = self._seen.get(digest, {}).get(repository)
        return seen is not None and self.monotonic() - seen < FRESH_SECONDS

    def elsewhere(self, digest: Digest, repository: RepositoryName) -> list[RepositoryName]:
        """Other repositories that have it, the one seen last first."""
        return [name for name in reversed(self._seen.get(digest, {})) if name != repository]

    @property
    def mounts_work(self) -> bool:
        """False once several mounts in a row were refused: then it's quicker to send."""
        return self._refused_mounts < _ENOUGH_REFUSALS

    def tried_to_mount(self, mounted: bool) -> None:
        self._refused_mounts = 0 if mounted else self._refused_mounts + 1

    def forget(self, digest: Digest, repository: RepositoryName | None = None) -> None:
        """It turned out not to be there (None: nowhere)."""
        if repository is None:
            self._seen.pop(digest, None)
        elif digest in self._seen:
            self._seen[digest].pop(repository, None)
