"""What must happen before a push is answered, and before a sync is over."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from yarddesk.oci.digest import Digest
from yarddesk.oci.manifest import Manifest
from yarddesk.oci.name import Reference, RepositoryName, Tag


@dataclass(frozen=True, slots=True)
class ManifestPush:
    """A manifest that is on disk, and the tags that are about to name it (none: pushed by digest)."""

    repository: RepositoryName
    manifest: Manifest
    tags: tuple[Tag, ...]


@dataclass(frozen=True, slots=True)
class Arrival:
    """An image that is at an upstream, and was read back there. `replaced`: what its tag named there before.

    `place`: where its repository is there (Upstream.place_of); empty where the settings lost the upstream meanwhile.
    """

    repository: RepositoryName
    reference: Reference
    digest: Digest
    upstream: str
    registry: str
    place: str
    replaced: Digest | None
    bytes_sent: int
    at: datetime


class ArrivalListener(Protocol):
    """Awaited by the sync worker, before an image leaves the queue: after a crash in between it's told a second time."""

    async def image_arrived(self, arrival: Arrival) -> None:
        """Raises nothing: whoever is told of arrivals holds up no image."""
        ...


class PushListener(Protocol):
    """Awaited by the registry: what it does is durable when it returns, and what it raises fails the push."""

    async def manifest_pushed(self, push: ManifestPush) -> None:
        """The manifest is stored; its tags haven't moved yet and the 201 is not sent."""
        ...

    async def push_done(self, push: ManifestPush) -> None:
        """The tags have moved; the 201 is sent next. Raises nothing."""
        ...

    async def push_failed(self, push: ManifestPush) -> None:
        """`manifest_pushed` failed, or a tag could not be moved after it: the client gets no 201. Raises nothing."""
        ...

    async def tag_deleted(self, repository: RepositoryName, tag: Tag) -> None: ...

    async def manifest_deleted(self, repository: RepositoryName, digest: Digest, tags: tuple[Tag, ...]) -> None: ...
