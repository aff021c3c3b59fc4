"""What a registry turned out not to do. It's asked again after an hour: registries are updated, and one answer may have been odd.

What it doesn't have may come at any moment: that is remembered for seconds.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from yarddesk.oci.name import RepositoryName

_REMEMBERED_SECONDS: Final = 3600.0
_ABSENT_SECONDS: Final = 10.0
_MOST_REPOSITORIES: Final = 1000


class Abilities:
    """Of one registry, in memory."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._unlisted_until = monotonic()
        self._unlisted: OrderedDict[RepositoryName, float] = OrderedDict()

    def lists_referrers(self, repository: RepositoryName) -> bool:
        """Whether it's worth asking for such a list."""
        now = self._monotonic()
        return now >= self._unlisted_until and now >= self._unlisted.get(repository, now)

    def lists_no_referrers(self, repository: RepositoryName | None = None, *, absent: bool = False) -> None:
        """It didn't, for this repository, or for any. `absent`: it has no such repository."""
        until = self._monotonic() + (_ABSENT_SECONDS if absent else _REMEMBERED_SECONDS)
        if repository is None:
            self._unlisted_until = until
            return
        self._unlisted.pop(repository, None)
        self._unlisted[repository] = until
        if len(self._unlisted) > _MOST_REPOSITORIES:
            self._unlisted.popitem(last=False)
