"""After a restart: where at an upstream blobs are likely to be, by what the history says arrived there. Worth a mount, no more."""

import logging
from collections.abc import Iterable
from typing import Final

from yarddesk.content.graph import read_graph
from yarddesk.content.store import Store
from yarddesk.content.upstream import Upstream
from yarddesk.errors import YarddeskError
from yarddesk.oci.digest import Digest
from yarddesk.oci.name import RepositoryName
from yarddesk.sync.known import KnownContent
from yarddesk.sync.snapshot import HistoryEntry
from yarddesk.sync.states import JobState

_log = logging.getLogger(__name__)

MOST_IMAGES: Final = 200
"""So many of those that arrived last are looked into."""


async def take_hints(entries: Iterable[HistoryEntry], store: Store, upstream: Upstream, known: KnownContent) -> None:
    """Hint at the blobs of what arrived at this upstream, as far as it's here still. `entries`: newest first."""
    for repository, digest in _arrived(entries, upstream):
        try:
            graph = await read_graph(store.repository(repository), digest)
        except (YarddeskError, OSError) as error:
            _log.debug("%s@%s gives no hint: %s", repository, digest, error)
            continue
        for blob in graph.blobs.values():
            if not blob.may_be_missing:
                known.hint(blob.digest, repository)


def _arrived(entries: Iterable[HistoryEntry], upstream: Upstream) -> list[tuple[RepositoryName, Digest]]:
    images: dict[tuple[RepositoryName, Digest], None] = {}
    for entry in entries:
        is_meant = entry.upstream == upstream.name and entry.registry == upstream.registry
        if is_meant and entry.outcome is JobState.DONE:
            images[entry.repository, entry.digest] = None
            if len(images) == MOST_IMAGES:
                break
    return list(images)
