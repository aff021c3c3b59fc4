"""How the place where content lies fails; the registry maps these to answers, the window to words."""

from yarddesk.errors import YarddeskError


class StorageError(YarddeskError):
    """The data folder, or what takes its place, did not do what it was asked."""


class StorageFull(StorageError):
    """No room, or no quota, is left. What was being written is gone; what was there before is untouched."""


class StorageReadOnly(StorageError):
    """It can be read but not written: mounted read-only, or our user has no right to write."""
