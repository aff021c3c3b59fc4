"""Tags that an upstream told us of before the manifest that they name was here."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from yarddesk.oci.digest import Digest
from yarddesk.oci.name import RepositoryName, Tag

_MOST: Final = 2000
_KEPT_SECONDS: Final = 60.0


class AwaitedTags:
    """Bounded in number and in age: what an upstream said a while ago may not be true any more."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._told: OrderedDict[tuple[RepositoryName, Tag], tuple[Digest, str, float]] = OrderedDict()

    def add(self, repository: RepositoryName, digest: Digest, tag: Tag, upstream: str) -> None:
        """`upstream` says that the tag names the digest."""
        self._told.pop((repository, tag), None)
        self._told[repository, tag] = (digest, upstream, self._monotonic())
        while len(self._told) > _MOST:
            self._told.popitem(last=False)

    def forget(self, repository: RepositoryName, tag: Tag) -> None:
        """Something newer is known of it."""
        self._told.pop((repository, tag), None)

    def take(self, repository: RepositoryName, digest: Digest) -> dict[Tag, tuple[str, float]]:
        """The tags that name what has come, with which upstream said so, and when; they are awaited no more."""
        oldest = self._monotonic() - _KEPT_SECONDS
        names = [
            key
            for key, (named, _, told) in self._told.items()
            if key[0] == repository and named == digest and told >= oldest
        ]
        return {key[1]: self._told.pop(key)[1:] for key in names}
