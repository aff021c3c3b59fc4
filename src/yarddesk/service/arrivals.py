"""What had arrived at its upstreams when this run began, from the history."""

from collections.abc import Sequence

from yarddesk.events import ImageSynced
from yarddesk.oci.name import Reference, RepositoryName
from yarddesk.sync.snapshot import HistoryEntry
from yarddesk.sync.states import JobState


def arrivals(history: Sequence[HistoryEntry]) -> Sequence[ImageSynced]:
    """Of each tag the last entry of all, where it says that it arrived. `history` begins with the newest."""
    last: dict[tuple[RepositoryName, Reference], HistoryEntry] = {}
    for entry in history:
        last.setdefault((entry.repository, entry.reference), entry)
    return [
        ImageSynced(repository=each.repository, reference=each.reference, digest=each.digest, upstream=each.upstream)
        for each in last.values()
        if each.outcome is JobState.DONE
    ]
