"""What the store says of itself reaches whoever subscribed."""

from yarddesk.events import ContentDamaged, Event, EventBus, StorageChanged
from yarddesk.oci.digest import Digest
from yarddesk.oci.name import RepositoryName
from yarddesk.service.usage import StoredBytes
from yarddesk.storage.quarantine import Damage


def test_bytes_and_damage_are_told():
    events, heard = EventBus(), list[Event]()
    stored, digest = StoredBytes(events), Digest.of(b"some")
    with events.subscribe(heard.append):
        stored.changed(7)
        stored.damaged(Damage(digest, 4, "blob-…"), None)
        stored.damaged(Damage(digest, 4, None), RepositoryName.parse("a/b"))
    assert stored.count == 7
    size, blob, manifest = heard
    assert isinstance(size, StorageChanged)
    assert size.used_bytes == 7
    assert isinstance(blob, ContentDamaged)
    assert (blob.digest, blob.repository, blob.kept_as) == (digest, None, "blob-…")
    assert isinstance(manifest, ContentDamaged)
    assert (manifest.repository, manifest.kept_as) == ("a/b", "")
