"""Whether an image is upstream, as far as is known here."""

from collections.abc import Callable
from dataclasses import dataclass

from yarddesk.cache.ledger import At, Entry
from yarddesk.content.upstream import Routes, place_at
from yarddesk.oci.digest import Digest
from yarddesk.oci.name import Reference, RepositoryName, Tag
from yarddesk.sync.snapshot import HistoryEntry
from yarddesk.sync.states import JobState


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """What the queue, its history and the cache know. `followed` gives what a tag was upstream when it was last heard of.

    `entry` tells where a manifest came from, and where it was read back.
    """

    routes: Callable[[], Routes]
    is_queued: Callable[[RepositoryName, Reference], bool]
    latest: Callable[[RepositoryName, Reference, str, str], HistoryEntry | None]
    followed: Callable[[RepositoryName, Tag], Digest | None]
    entry: Callable[[RepositoryName, Digest], Entry | None]

    def of(self, repository: RepositoryName, reference: Reference, digest: Digest) -> str:
        """`queued`; `synced`: all its push upstreams have it, or it came from one; `local`: here alone; `unknown`."""
        if self.is_queued(repository, reference):
            return "queued"
        upstreams = self.routes().push_upstreams(repository)
        known = self.entry(repository, digest) or Entry(pushed=True)
        if isinstance(reference, Tag) and self.followed(repository, reference) == digest:
            # Else the settings have other upstreams by now than those that it was synced to.
            if not known.pushed or known.at.issuperset(At.of(upstream, repository) for upstream in upstreams):
                return "synced"
        elif isinstance(reference, Digest) and not known.pushed:
            return "synced"
        elif known.pushed and not known.at:
            return "local"
        entries = [
            self.latest(repository, reference, upstream.name, place_at(upstream, repository)) for upstream in upstreams
        ]
        of_this = [entry for entry in entries if entry is not None and entry.digest == digest]
        if upstreams and sum(entry.outcome is JobState.DONE for entry in of_this) == len(upstreams):
            return "synced"
        if any(entry.outcome is not JobState.DONE for entry in of_this):
            return "local"
        # The history is bounded: what was synced long ago may have left it.
        return "unknown" if upstreams or self.routes().pull_upstreams(repository) else "local"
