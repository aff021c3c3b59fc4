"""Settings that are read and checked, and that this version does not act on: whoever sets one is told."""

from collections.abc import Sequence

from yarddesk.settings.model import Settings


def unheeded_keys(settings: Settings) -> Sequence[str]:
    """The keys that differ from their defaults in vain."""
    differs = {
        "upstreams[].create_repository": any(upstream.create_repository for upstream in settings.upstreams),
    }
    return [key for key, is_set in differs.items() if is_set]
