"""Settings that are read and checked, and that come to nothing where they stand: whoever sets one is told."""

from collections.abc import Sequence

from yarddesk.settings.model import Settings
from yarddesk.upstream.creation import EcrPlace


def unheeded_keys(settings: Settings) -> Sequence[str]:
    """The keys that are set in vain, with where they stand."""
    return [
        f"upstreams[].create_repository of {upstream.name}"
        for upstream in settings.upstreams
        if upstream.create_repository and EcrPlace.of(upstream.registry) is None
    ]
