"""What happens at a push: the sync job is durable first, then observers hear of the manifest."""

from yarddesk.cache.ledger import Ledger
from yarddesk.content.listener import ManifestPush, PushListener
from yarddesk.events import EventBus, ManifestStored
from yarddesk.oci.digest import Digest
from yarddesk.oci.name import RepositoryName, Tag
from yarddesk.storage.images import StoredImages


class AnnouncedPushes(PushListener):
    """Notes that it's ours, passes on to the sync worker, and tells the bus."""

    def __init__(self, sync: PushListener, events: EventBus, ledger: Ledger, images: StoredImages) -> None:
        self._sync = sync
        self._events = events
        self._ledger = ledger
        self._images = images

    async def manifest_pushed(self, push: ManifestPush) -> None:
        await self._ledger.pushed(push.repository, push.manifest.digest)
        await self._sync.manifest_pushed(push)

    async def push_done(self, push: ManifestPush) -> None:
        await self._sync.push_done(push)
        self._images.named(blob.digest for blob in push.manifest.blobs)
        stored = ManifestStored(repository=push.repository, digest=push.manifest.digest, tags=push.tags, origin="push")
        self._events.publish(stored)

    async def push_failed(self, push: ManifestPush) -> None:
        await self._sync.push_failed(push)

    async def tag_deleted(self, repository: RepositoryName, tag: Tag) -> None:
        await self._sync.tag_deleted(repository, tag)

    async def manifest_deleted(self, repository: RepositoryName, digest: Digest, tags: tuple[Tag, ...]) -> None:
        self._ledger.gone(repository, (digest,))
        await self._sync.manifest_deleted(repository, digest, tags)
