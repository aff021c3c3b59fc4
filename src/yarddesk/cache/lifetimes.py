"""How long a tag that follows an upstream is served without asking again."""

import re
from datetime import timedelta
from fnmatch import fnmatchcase

from yarddesk.oci.name import Tag
from yarddesk.settings.model import Settings

Own = timedelta | tuple[tuple[str, timedelta], ...] | None

_WILD = re.compile(r"\[[^]]*\]|[*?]")


class Lifetimes:
    """`cache.manifest_ttl`, an upstream's own, or that of the pattern which says most about the tag, wherever it stands in the map."""

    def __init__(self, settings: Settings) -> None:
        self._default = settings.cache.manifest_ttl
        self._upstreams = {upstream.name: _precise_first(upstream.manifest_ttl) for upstream in settings.upstreams}

    def seconds(self, upstream: str, tag: Tag) -> float:
        """0: ask every time."""
        own = self._upstreams.get(upstream)
        if isinstance(own, timedelta):
            return own.total_seconds()
        for pattern, ttl in own or ():
            if fnmatchcase(tag, pattern):
                return ttl.total_seconds()
        return self._default.total_seconds()


def _precise_first(ttl: Own) -> Own:
    if ttl is None or isinstance(ttl, timedelta):
        return ttl
    return tuple(sorted(ttl, key=lambda entry: _precision(entry[0]), reverse=True))


def _precision(pattern: str) -> tuple[bool, int]:
    """A tag's own name before all patterns, then by the letters that stand in them."""
    written = _WILD.sub("", pattern)
    return written == pattern, len(written)
