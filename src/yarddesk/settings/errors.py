"""What is wrong with the settings, and where."""

from yarddesk.errors import YarddeskError


class SettingsError(YarddeskError):
    """Unusable settings: exit status 2. `where` is `FILE:LINE`, an environment variable or an option; `key` the dotted key."""

    def __init__(self, where: str, key: str, reason: str, *, hint: str = "") -> None:
        place = ": ".join(part for part in (where, key, reason) if part)
        super().__init__(f"{place}." if hint and not place.endswith(".") else place, hint=hint)
        self.where = where
        self.key = key
        self.reason = reason
