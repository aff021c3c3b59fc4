"""Which tags and repositories there are, in order, so that a page of a list needs no look at all of it. For the loop's thread."""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable
from typing import Final, TypeVar

from yarddesk.oci.name import RepositoryName, Tag
from yarddesk.storage.recent import Recent

MOST_NAMES: Final = 50_000
"""Repositories beyond so many are not remembered but walked through."""

_MOST_TAGS: Final = 200_000
_Name = TypeVar("_Name", bound=str)


class Listed:
    """Lists as they are on disk, kept up with every change; a change that failed makes its list unknown. Bounded.

    `tags` and `names` are None where nothing is known.
    """

    def __init__(self) -> None:
        self._tags: Recent[RepositoryName, list[Tag]] = Recent(_MOST_TAGS)
        self._names: list[RepositoryName] | None = None

    def tags(self, repository: RepositoryName, last: str, limit: int | None) -> list[Tag] | None:
        """A page of the repository's tags."""
        tags = self._tags.get(repository)
        return None if tags is None else page_of(tags, last, limit)

    def names(self, last: str, limit: int | None) -> list[RepositoryName] | None:
        """A page of the repositories."""
        return None if self._names is None else page_of(self._names, last, limit)

    def remember_tags(self, repository: RepositoryName, tags: list[Tag]) -> None:
        """All tags of the repository, sorted."""
        self._tags.put(repository, tags, 1 + len(tags))

    def remember_names(self, names: list[RepositoryName]) -> None:
        """All repositories, sorted."""
        self._names = names if len(names) <= MOST_NAMES else None

    def added(self, repository: RepositoryName) -> None:
        """The repository holds a manifest."""
        if self._names is not None and _insert(self._names, repository):
            self.remember_names(self._names)

    def removed(self, repository: RepositoryName) -> None:
        """The repository holds none any more."""
        if self._names is not None:
            _remove(self._names, repository)
        self._tags.drop(repository)

    def tagged(self, repository: RepositoryName, tag: Tag) -> None:
        tags = self._tags.get(repository)
        if tags is not None and _insert(tags, tag):
            self.remember_tags(repository, tags)

    def untagged(self, repository: RepositoryName, gone: Iterable[Tag]) -> None:
        tags = self._tags.get(repository)
        if tags is not None:
            for tag in gone:
                _remove(tags, tag)
            self.remember_tags(repository, tags)

    def forget(self, repository: RepositoryName) -> None:
        """It's not known what became of a change."""
        self._names = None
        self._tags.drop(repository)


def page_of(names: list[_Name], last: str, limit: int | None) -> list[_Name]:
    """Those after `last`, `limit` at most, of a sorted list."""
    start = bisect_right(names, last)
    return names[start : None if limit is None else start + limit]


def _insert(names: list[_Name], name: _Name) -> bool:
    """Whether it wasn't there."""
    index = bisect_left(names, name)
    if index < len(names) and names[index] == name:
        return False
    insort(names, name)
    return True


def _remove(names: list[_Name], name: _Name) -> None:
    index = bisect_left(names, name)
    if index < len(names) and names[index] == name:
        del names[index]
