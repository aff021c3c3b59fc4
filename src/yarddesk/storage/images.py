"""Whole images on their way out of the store, and blobs that nobody needs any more with them."""

import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final

from yarddesk.oci.digest import Digest
from yarddesk.oci.name import RepositoryName, Tag
from yarddesk.storage.contents import ContentIndex, Contents, named_by, unpacked
from yarddesk.storage.promises import Owed, Promises
from yarddesk.storage.references import Packed
from yarddesk.storage.repositories import Repositories
from yarddesk.storage.stock import LATE_SECONDS

_ANY_AGE_SECONDS: Final = 24 * 3600.0
"""Clocks are set: what is as young as this in the future is no younger than now."""


class StoredImages:
    """Both kinds of removal happen while nobody stores a manifest that was pushed: between a look and it, no push passes.

    Blobs that a client was told it need not send, or that one sent and has yet to name, stay, and so does an image that
    would take them along.
    """

    def __init__(
        self,
        contents: ContentIndex,
        repositories: Repositories,
        promises: Promises,
        owed: Owed,
        remove: Callable[[Sequence[Digest], float], Awaitable[list[int]]],
    ) -> None:
        self._contents = contents
        self._repositories = repositories
        self._promises = promises
        self._owed = owed
        self._remove = remove

    def named(self, digests: Iterable[Digest]) -> None:
        """A push came to its end that names these blobs."""
        self._owed.named(digests)

    def is_wanted(self, digest: Digest) -> bool:
        """Whether a client may be about to name it."""
        return self._promises.hold(digest, LATE_SECONDS) or self._owed.holds(digest, LATE_SECONDS)

    async def remove(self, repository: RepositoryName, tags: Sequence[Tag], manifests: Sequence[Digest]) -> int | None:
        """Remove an image, its root first among its manifests, with the blobs that only they name; how many bytes went.

        The caller has just seen in the index that this is all of it. None, and nothing is done, where some of it is wanted, or
        the repository has changed. Durable for the manifests before the first blob goes.
        """
        revision = self._repositories.revision(repository)
        contents = self._contents.repositories[repository]
        blobs = [unpacked(name) for name in _only_named_by(self._contents, contents, manifests)]
        if any(self.is_wanted(digest) for digest in (*manifests, *blobs)):
            return None
        size = sum(contents.manifests[digest].size for digest in manifests)
        if not await self._repositories.delete_tagged(repository, tags, manifests, revision):
            return None
        # A pull may have brought another manifest meanwhile that names one of them, or a client may have asked for one.
        unnamed = [digest for digest in blobs if not self._is_named(digest) and not self.is_wanted(digest)]
        return size + sum(await self._remove(unnamed, time.time() + _ANY_AGE_SECONDS) if unnamed else [])

    async def remove_left_over(self, seen: Iterable[Packed]) -> int:
        """Remove those of these that are still left over: how many bytes went."""
        left = [name for name in seen if name in self._contents.filled and name not in self._contents.references]
        going = [digest for digest in map(unpacked, left) if not self.is_wanted(digest)]
        return sum(await self._remove(going, time.time() + _ANY_AGE_SECONDS) if going else [])

    def _is_named(self, digest: Digest) -> bool:
        return bytes.fromhex(digest.hex) in self._contents.references


def left_over(index: ContentIndex) -> list[Packed]:
    """The blobs that came through an upstream and that no manifest names (any more)."""
    return [name for name in index.filled if name not in index.references]


def _only_named_by(index: ContentIndex, contents: Contents, manifests: Sequence[Digest]) -> list[Packed]:
    """The blobs that are here and that no other manifest names, of this repository or another."""
    named = Counter(named_by(contents, manifests))
    return [name for name, count in named.items() if name in index.blobs and index.references[name] == count]
