"""What the commands do with stored content, beside a running instance's pushes or alone on the data folder."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

from yarddesk.content.upstream import Routes
from yarddesk.control.works import Document, Report, Work
from yarddesk.events import EventBus
from yarddesk.oci.digest import Digest
from yarddesk.oci.name import Reference, RepositoryName, Tag
from yarddesk.registry.locks import Gate
from yarddesk.settings.model import Settings
from yarddesk.storage.filesystem import FilesystemStore


class Queued(Protocol):
    """What the sync queue says of images."""

    def queued(self) -> Sequence[tuple[RepositoryName, Reference, Digest]]:
        """All that is still on its way to some upstream."""
        ...

    async def manifest_deleted(self, repository: RepositoryName, digest: Digest, tags: tuple[Tag, ...]) -> None: ...


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What works need beside the store. `routes` and `settings` are those in force when they are called.

    `deletes` is passed by whoever stores a manifest that counts on blobs which are here, from the look at them to the end of
    it; whoever removes blobs closes it.
    """

    store: FilesystemStore
    events: EventBus
    routes: Callable[[], Routes]
    settings: Callable[[], Settings]
    queue: Queued
    deletes: Gate


class Upkeep:
    """The works by the name of their command."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self.works: Mapping[str, Work] = MappingProxyType({"usage": self.usage})

    async def usage(self, _parameters: Document, _report: Report) -> Document:
        """How much is stored."""
        return {"used": await self._around.store.used_bytes()}
