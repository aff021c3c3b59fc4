"""`PullThrough`: what the registry asks for content that is not here, or that may be out of date."""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from yarddesk.content.target import NotFound
from yarddesk.content.upstream import Quota
from yarddesk.oci.descriptor import Descriptor
from yarddesk.oci.digest import Digest
from yarddesk.oci.manifest import Manifest
from yarddesk.oci.name import Reference, RepositoryName, Tag


class BlobNowhere(NotFound):
    """Said to a HEAD as to a GET: the length that the one is told is that of the other's answer."""

    def __init__(self, digest: Digest) -> None:
        super().__init__(f"There is no blob {digest} here, and none of its upstreams has it.")


@dataclass(frozen=True, slots=True)
class ResolvedManifest:
    """`stale`: from the store, since the upstream that should have been asked gave no answer. `unchanged`: it's what was here."""

    descriptor: Descriptor
    stale: bool = False
    unchanged: bool = False


@dataclass(frozen=True, slots=True)
class FetchedManifest:
    """`stale` and `unchanged` as in ResolvedManifest."""

    manifest: Manifest
    stale: bool = False
    unchanged: bool = False


class GrowingBlob(Protocol):
    """A file that a blob comes into, for whoever can give its bytes without reading them."""

    async def file(self) -> BinaryIO | None:
        """The file, for the caller to close; None where there is none."""
        ...

    async def reach(self, position: int, end: int) -> int:
        """Return how far, beyond `position`, the file's bytes may be given for an answer that ends at `end`.

        That is `end` only when the whole blob is verified. Raises what the blob can't come in for.
        """
        ...


@dataclass(frozen=True, slots=True)
class BlobContent:
    """A blob as it comes in: `size` of the whole in bytes, and `read`, once, the bytes from a start up to an end.

    The last of them are given only when the whole blob is verified, also where they are few and lie at its begin: wrong or
    missing bytes raise before. Who reads closes the generator. `growing` has the same bytes, where there is a file.
    """

    size: int
    read: Callable[[int, int], AsyncGenerator[bytes, None]]
    growing: GrowingBlob | None = None


@dataclass(frozen=True, slots=True)
class TagPage:
    """Tags of ours and of the upstream, in lexical order; `stale`: ours alone, since the upstream gave no answer."""

    tags: Sequence[Tag]
    stale: bool = False


@dataclass(frozen=True, slots=True)
class ReferrerList:
    """Referrers of ours and of the upstream; `stale` as in TagPage."""

    descriptors: Sequence[Descriptor]
    stale: bool = False


@dataclass(frozen=True, slots=True)
class PullHealth:
    """How pulls from an upstream go. `state`: `ok`, `away`, `trouble`, `waits` (it asked to wait) or `offline` (the settings let
    nobody be asked); `reason` in words.

    `answered`: it gave an answer since it became known.
    """

    state: str = "ok"
    reason: str = ""
    quota: Quota | None = None
    answered: bool = False

    def beside(self, state: str, reason: str) -> tuple[str, str]:
        """How the upstream is, and why, where syncs last saw it as `state` (`unknown`: they never asked) for that `reason`.

        That pulls leave it alone since it's away is newer than that a sync had an answer, which would have ended it.
        """
        if self.state == "away" and state in ("ok", "unknown"):
            return self.state, self.reason
        if state != "unknown":
            return state, reason
        if self.state == "trouble":
            return self.state, self.reason
        return ("ok" if self.answered or self.state == "waits" else state), reason


class PullThrough(Protocol):
    """Content through the upstreams of a repository's route; what comes is verified and kept in the store.

    The registry asks the store first and comes here on a miss, or where `is_fresh` says that a tag must be asked again.
    None means: the upstreams say it does not exist, or none is to be asked. Every other outcome raises UpstreamFailure.
    """

    def is_fresh(self, repository: RepositoryName, tag: Tag) -> bool:
        """Whether a tag that is in the store is to be served as it is. Synchronous and quick: asked at every pull by tag."""
        ...

    def used(self, repository: RepositoryName, digest: Digest) -> None:
        """A manifest was served from the store. Synchronous and quick, for each one."""
        ...

    async def resolve_manifest(
        self, repository: RepositoryName, reference: Reference, *, quick: bool
    ) -> ResolvedManifest | None:
        """The manifest's descriptor, from the upstream or, where that fails, stale from the store.

        `quick` (a HEAD, which pushing clients send): where the route has a push upstream, answers within a second and
        never raises UpstreamFailure.
        """
        ...

    async def fetch_manifest(self, repository: RepositoryName, reference: Reference) -> FetchedManifest | None:
        """The manifest, kept in the store (and the tag moved) before it is returned; or stale from the store."""
        ...

    async def blob_size(self, repository: RepositoryName, digest: Digest) -> int | None:
        """Size in bytes, for a HEAD. None at once where the route has a push upstream."""
        ...

    def open_blob(self, repository: RepositoryName, digest: Digest) -> AbstractAsyncContextManager[BlobContent]:
        """The blob's bytes while they come in and are kept. Raises NotFound or UpstreamFailure on entering.

        Leaving early does not end a fill that others read or that is worth keeping.
        """
        ...

    def is_filling(self, digest: Digest) -> bool:
        """Whether the blob is coming in just now."""
        ...

    async def tags(self, repository: RepositoryName, *, last: str = "", limit: int | None = None) -> TagPage | None:
        """The union with the upstream's tags, those after `last`; None where there is no such repository anywhere."""
        ...

    async def referrers(self, repository: RepositoryName, digest: Digest, artifact_type: str = "") -> ReferrerList:
        """The union with the upstream's referrers."""
        ...
