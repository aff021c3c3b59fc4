"""What the upstreams said does not exist, for some seconds: clients that look for it again and again are not passed on each time."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final

from yarddesk.content.upstream import Upstream
from yarddesk.oci.digest import Digest
from yarddesk.oci.name import Reference, RepositoryName

TAG_SECONDS: Final = 5.0
DIGEST_SECONDS: Final = 10.0
_MOST: Final = 10_000

Sought = tuple[RepositoryName, Reference]
"""A tag, a manifest or a blob of a repository."""


class Absent:
    """Only where all who were asked said so; a failure, or a denial, tells nothing."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._until: OrderedDict[tuple[Sought, tuple[str, ...]], float] = OrderedDict()
        self._repositories: dict[RepositoryName, set[tuple[Sought, tuple[str, ...]]]] = {}

    def add(self, sought: Sought, asked: Sequence[Upstream]) -> None:
        """None of them has it."""
        key = sought, tuple(upstream.name for upstream in asked)
        self._drop(key)
        seconds = DIGEST_SECONDS if isinstance(sought[1], Digest) else TAG_SECONDS
        self._until[key] = self._monotonic() + seconds
        self._repositories.setdefault(sought[0], set()).add(key)
        if len(self._until) > _MOST:
            self._drop(next(iter(self._until)))

    def includes(self, sought: Sought, asked: Sequence[Upstream]) -> bool:
        """Whether these upstreams said just now that they don't have it."""
        key = sought, tuple(upstream.name for upstream in asked)
        return self._monotonic() < self._until.get(key, 0.0)

    def changed(self, repository: RepositoryName) -> None:
        """Something came into a repository, here or there."""
        for key in self._repositories.pop(repository, set()):
            self._until.pop(key, None)

    def forget(self) -> None:
        self._until.clear()
        self._repositories.clear()

    def _drop(self, key: tuple[Sought, tuple[str, ...]]) -> None:
        if self._until.pop(key, None) is None:
            return
        keys = self._repositories[key[0][0]]
        keys.discard(key)
        if not keys:
            del self._repositories[key[0][0]]
