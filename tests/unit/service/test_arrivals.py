"""What the history tells of images that arrived."""

from __future__ import annotations

from datetime import UTC, datetime

from yarddesk.oci.digest import Digest
from yarddesk.oci.name import RepositoryName, Tag
from yarddesk.service.arrivals import arrivals
from yarddesk.sync.snapshot import HistoryEntry
from yarddesk.sync.states import JobState

AT = datetime(2026, 3, 1, tzinfo=UTC)


def entry(tag: str, content: bytes, outcome: JobState, upstream: str = "corp") -> HistoryEntry:
    name = RepositoryName.parse("team/app")
    return HistoryEntry(name, Tag.parse(tag), Digest.of(content), upstream, "registry.corp", outcome, AT)


def test_of_each_tag_only_the_last_entry_counts_and_only_where_it_arrived() -> None:
    history = [
        entry("v1", b"new", JobState.DONE),
        entry("v1", b"old", JobState.DONE),
        entry("v2", b"a", JobState.CANCELLED, "mirror"),
        entry("v2", b"a", JobState.DONE),
        entry("v3", b"a", JobState.DONE, "mirror"),
        entry("v3", b"a", JobState.CANCELLED),
    ]
    found = [(each.reference, each.digest, each.upstream) for each in arrivals(history)]
    assert found == [("v1", Digest.of(b"new"), "corp"), ("v3", Digest.of(b"a"), "mirror")]
