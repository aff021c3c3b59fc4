"""How many pulls a registry says are left: Docker Hub's `ratelimit-limit` and `ratelimit-remaining`, as they come with any answer."""

import re
from collections.abc import Callable, Mapping
from typing import Final

from yarddesk.content.upstream import Quota

_FORM: Final = re.compile(r"(\d{1,9});w=(\d{1,9})")
"""The pulls, and the window's seconds. Other registries have headers of these names, in other forms and for other things."""


class QuotaMeter:
    """What was said last, counted on from there; nothing is known once the window is over."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._limit = 0
        self._remaining = 0
        self._window_seconds = 0
        self._until = monotonic()

    def heard(self, headers: Mapping[str, str]) -> None:
        """Of the registry itself: read what an answer says, if anything."""
        limit = _FORM.fullmatch(headers.get("ratelimit-limit", "").strip())
        remaining = _FORM.fullmatch(headers.get("ratelimit-remaining", "").strip())
        if limit is None or remaining is None or limit[2] != remaining[2]:
            return
        self._limit, self._remaining, self._window_seconds = int(limit[1]), int(remaining[1]), int(limit[2])
        self._until = self._monotonic() + self._window_seconds

    def pulled(self, headers: Mapping[str, str]) -> None:
        """A manifest was fetched: one pull less, unless the answer has said so itself."""
        if "ratelimit-remaining" not in headers:
            self._remaining = max(0, self._remaining - 1)

    def forget(self) -> None:
        """Another account."""
        self._until = self._monotonic()

    @property
    def left(self) -> Quota | None:
        if self._monotonic() >= self._until:
            return None
        return Quota(self._limit, self._remaining, self._window_seconds)
