"""What the works on stored content stand on, in a running instance or without one."""

from collections.abc import Callable, Collection
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from yarddesk.cache.prefetch import Prefetcher
from yarddesk.content.upstream import Routes
from yarddesk.events import EventBus
from yarddesk.oci.digest import Digest
from yarddesk.oci.name import RepositoryName
from yarddesk.registry.intake import ManifestIntake
from yarddesk.registry.locks import Gate
from yarddesk.service.keeping import Keeping
from yarddesk.service.whereabouts import Whereabouts
from yarddesk.settings.model import Settings
from yarddesk.storage.filesystem import FilesystemStore


class Queued(Protocol):
    """What the sync queue says of images."""

    def queued_in(self, repository: RepositoryName) -> Collection[Digest]:
        """The manifests of a repository that are still on their way to some upstream."""
        ...


class ImageRoutes(Routes, Protocol):
    """Routes that also know an image by its name elsewhere."""

    def repository_of(self, registry: str, name: RepositoryName) -> RepositoryName | None:
        """What we call the repository that a registry calls `name`; None where it can't be pulled through us."""
        ...


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What works need beside the store. `routes` and `settings` are those in force when they are called.

    `deletes` is passed by whoever stores a manifest that counts on blobs which are here, from the look at them to the end of
    it; whoever removes blobs closes it. `pushes` is what takes in images as a client's push does, `pulls` what fetches them
    from their upstreams.
    """

    store: FilesystemStore
    events: EventBus
    routes: Callable[[], ImageRoutes]
    settings: Callable[[], Settings]
    queue: Queued
    whereabouts: Whereabouts
    deletes: Gate
    pushes: Callable[[], AbstractAsyncContextManager[ManifestIntake]]
    pulls: Callable[[], AbstractAsyncContextManager[Prefetcher]]
    keeping: Keeping
