"""Where content is kept: on the file system alone."""

from yarddesk.settings.errors import SettingsError
from yarddesk.settings.model import Settings


def refuse_s3(settings: Settings) -> None:
    """Raises SettingsError where a bucket is asked for."""
    if settings.storage.backend != "filesystem":
        key = "storage.bucket" if settings.storage.bucket else "storage.backend"
        raise SettingsError(
            settings.place(key),
            key,
            "this version keeps its content on the file system alone",
            hint="Set storage.backend: filesystem (YARDDESK_STORAGE_BACKEND=filesystem) to go without the bucket.",
        )
