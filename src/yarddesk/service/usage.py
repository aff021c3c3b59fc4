"""What the store says of itself, for whoever asks, and as events."""

from yarddesk.events import ContentDamaged, EventBus, StorageChanged
from yarddesk.oci.name import RepositoryName
from yarddesk.storage.quarantine import Damage


class StoredBytes:
    """The store calls `changed`; `count` is the latest figure, 0 until the store has counted."""

    def __init__(self, events: EventBus) -> None:
        self._events = events
        self.count = 0

    def changed(self, count: int) -> None:
        self.count = count
        self._events.publish(StorageChanged(used_bytes=count))

    def damaged(self, damage: Damage, repository: RepositoryName | None) -> None:
        """A blob, or a repository's manifest, is not what its name says."""
        self._events.publish(ContentDamaged(digest=damage.digest, repository=repository, kept_as=damage.kept_as or ""))
