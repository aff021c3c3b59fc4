"""`Target`: one repository's content, wherever it lies (our store, an upstream, a layout on disk)."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from yarddesk.errors import YarddeskError
from yarddesk.oci.descriptor import Descriptor
from yarddesk.oci.digest import Digest
from yarddesk.oci.manifest import Manifest
from yarddesk.oci.name import Reference, RepositoryName, Tag

ContentStream = AbstractAsyncContextManager[AsyncIterator[bytes]]
"""Bytes in pieces of any size; leaving the context lets go of whatever produces them."""

ContentSource = Callable[[int], ContentStream]
"""Opens the content at an offset in bytes, as often as need be: a body that may have to be sent again."""


Turn = Callable[[], Awaitable[None]]
"""Awaited where a push may stand still for as long as others want: between two of its requests."""


class NotFound(YarddeskError):
    """The content, tag, repository or upload session is not there."""

    codes: tuple[str, ...] = ()
    """The specification's, where a registry said it by one."""


class Damaged(NotFound):
    """It was here, and its bytes were not those of its name: it lies in quarantine, and is not here any more."""


class DigestMismatch(YarddeskError):
    """The bytes don't hash to the digest, or are not as many as the descriptor says."""


class Target(Protocol):
    """Content of one repository. Every method raises NotFound or, where a network lies between, UpstreamFailure."""

    async def resolve(self, reference: Reference) -> Descriptor:
        """The manifest that a tag or digest names. Reads no more than it must (a HEAD, where there is HTTP)."""
        ...

    async def exists(self, descriptor: Descriptor) -> bool:
        """Whether the blob or manifest is there. A hint: who depends on it reads it."""
        ...

    async def fetch_manifest(self, reference: Reference) -> Manifest:
        """The manifest, whole, checked against its digest; MAX_MANIFEST_BYTES at most."""
        ...

    def fetch(self, descriptor: Descriptor, *, offset: int = 0) -> ContentStream:
        """The content from `offset` on. A short answer raises; the digest is checked by who reads (VerifyingReader)."""
        ...

    async def push(self, descriptor: Descriptor, source: ContentSource) -> None:
        """Put the content there. Idempotent; visible as a whole or not at all; raises DigestMismatch when it's not the descriptor's.

        A manifest needs its blobs and children to be there.
        """
        ...

    async def tag(self, descriptor: Descriptor, tag: Tag) -> None:
        """Let `tag` name a manifest that is there."""
        ...

    async def referrers(self, digest: Digest, artifact_type: str = "") -> Sequence[Descriptor]:
        """Manifests whose subject is `digest`; none is an empty sequence."""
        ...


class MountingTarget(Target, Protocol):
    """A target that may have a blob under another repository's name already, and may say that it has what it lost.

    Its pushes may take long: `turn` is awaited between the pieces that a blob goes in, where it goes in several.
    """

    async def push(self, descriptor: Descriptor, source: ContentSource, *, turn: Turn | None = None) -> None: ...

    async def is_readable(self, descriptor: Descriptor) -> bool:
        """Whether a blob's bytes can be had, from a look at the first: `exists` may answer from what was true once."""
        ...

    async def mount(self, descriptor: Descriptor, source: RepositoryName) -> bool:
        """Make a blob of the repository `source` one of this one's; False where it must be pushed after all."""
        ...
