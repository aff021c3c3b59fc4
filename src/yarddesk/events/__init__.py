"""What changed, for whoever looks: small, in order, and nothing is lost when one is missed."""

from yarddesk.events.bus import EventBus, Subscription
from yarddesk.events.types import (
    ContentDamaged,
    ContentMended,
    CredentialRequired,
    Event,
    HookFailed,
    ImageSynced,
    JobAdded,
    JobMoved,
    JobRemoved,
    JobStateChanged,
    ManifestStored,
    PauseChanged,
    SettingsChanged,
    StorageChanged,
    TagConflict,
    UpstreamStateChanged,
)

__all__ = [
    "ContentDamaged",
    "ContentMended",
    "CredentialRequired",
    "Event",
    "EventBus",
    "HookFailed",
    "ImageSynced",
    "JobAdded",
    "JobMoved",
    "JobRemoved",
    "JobStateChanged",
    "ManifestStored",
    "PauseChanged",
    "SettingsChanged",
    "StorageChanged",
    "Subscription",
    "TagConflict",
    "UpstreamStateChanged",
]
