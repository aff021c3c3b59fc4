"""How long a tag that follows an upstream is served without asking again."""

from datetime import timedelta
from fnmatch import fnmatchcase

from yarddesk.oci.name import Tag
from yarddesk.settings.model import Settings


class Lifetimes:
    """`cache.manifest_ttl`, an upstream's own, or the first of its patterns that matches the tag."""

    def __init__(self, settings: Settings) -> None:
        self._default = settings.cache.manifest_ttl
        self._upstreams = {upstream.name: upstream.manifest_ttl for upstream in settings.upstreams}

    def seconds(self, upstream: str, tag: Tag) -> float:
        """0: ask every time."""
        own = self._upstreams.get(upstream)
        if isinstance(own, timedelta):
            return own.total_seconds()
        for pattern, ttl in own or ():
            if fnmatchcase(tag, pattern):
                return ttl.total_seconds()
        return self._default.total_seconds()
