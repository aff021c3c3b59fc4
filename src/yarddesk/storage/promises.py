"""What clients were told that they need not send: a manifest that names it, or a tag, is about to come."""

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Final

from yarddesk.oci.digest import Digest

_MOST: Final = 20_000
LEAST_SECONDS: Final = 10.0
"""So long a promise holds whatever grace is asked for."""


class Promises:
    """When each blob or manifest was promised last, for the latest. What doesn't fit any more is remembered as: anything may be.

    They are in memory alone: after a restart the time of the file counts. A push that loses a blob by that is refused,
    and sends it again. For one thread.
    """

    def __init__(self, most: int = _MOST, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._monotonic = monotonic
        self._made: OrderedDict[Digest, float] = OrderedDict()
        self._forgotten = float("-inf")

    def make(self, digest: Digest) -> None:
        self._made[digest] = self._monotonic()
        self._made.move_to_end(digest)
        if len(self._made) > self._most:
            _, self._forgotten = self._made.popitem(last=False)

    def take_back(self, digest: Digest) -> None:
        """It isn't here after all."""
        self._made.pop(digest, None)

    def hold(self, digest: Digest, seconds: float) -> bool:
        """Whether it was promised within the last so many seconds, or may have been."""
        since = self._monotonic() - max(seconds, LEAST_SECONDS)
        return max(self._made.get(digest, self._forgotten), self._forgotten) > since


class Owed:
    """Blobs that clients sent, and whose manifest is still to come. Bounded, and for one thread, as Promises.

    How often each was sent counts: of two pushes that send the same, the second may be late.
    """

    def __init__(self, most: int = _MOST, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._monotonic = monotonic
        self._sent: OrderedDict[Digest, tuple[int, float]] = OrderedDict()
        self._forgotten = float("-inf")

    def sent(self, digest: Digest) -> None:
        count, _ = self._sent.pop(digest, (0, 0.0))
        self._sent[digest] = count + 1, self._monotonic()
        if len(self._sent) > self._most:
            _, (_, self._forgotten) = self._sent.popitem(last=False)

    def named(self, digests: Iterable[Digest]) -> None:
        """A manifest that names these was pushed."""
        for digest in digests:
            count, at = self._sent.get(digest, (0, 0.0))
            if count > 1:
                self._sent[digest] = count - 1, at
            else:
                self._sent.pop(digest, None)

    def holds(self, digest: Digest, seconds: float) -> bool:
        """Whether somebody sent it within the last so many seconds, or may have, and hasn't named it yet."""
        since = self._monotonic() - seconds
        return max(self._sent.get(digest, (0, self._forgotten))[1], self._forgotten) > since
