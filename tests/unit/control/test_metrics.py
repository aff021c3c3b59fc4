"""`/metrics`, read strictly: how things stand, and what was counted from the events, of the settings' upstreams alone."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import prometheus_text
from tests.support.prometheus_text import Family
from yarddesk import __version__
from yarddesk.content.pull_through import PullHealth
from yarddesk.content.upstream import Quota
from yarddesk.control.counters import EventCounters
from yarddesk.control.metrics import render_metrics
from yarddesk.events import (
    BlobsEvicted,
    Event,
    EventBus,
    HookFailed,
    ImageEvicted,
    PartEnded,
    TagConflict,
    TryBegun,
    TryFailed,
)
from yarddesk.oci.digest import Digest
from yarddesk.oci.name import RepositoryName
from yarddesk.sync.snapshot import SetAsideMarker, SyncSnapshot, UpstreamHealth
from yarddesk.sync.verdicts import FailureKind

IMAGE = "team/app:v1"


class Yard:
    def __init__(self, *upstreams: str) -> None:
        self.events = EventBus()
        self.counters = EventCounters(self.events)
        self.upstreams = upstreams or ("corp",)
        self.pulls = PullHealth()

    def tell(self, *events: Event) -> None:
        for event in events:
            self.events.publish(event)

    @property
    def text(self) -> str:
        health = tuple(UpstreamHealth(name, "registry.corp", "ok") for name in self.upstreams)
        aside = (SetAsideMarker("a.json.damaged", "It is too large."),)
        snapshot = SyncSnapshot(1, True, None, (), (), health, set_aside=aside)
        return render_metrics(snapshot, self.counters, {"used": 600, "max": 1000, "stored": 700}, lambda _: self.pulls)

    @property
    def families(self) -> dict[str, Family]:
        return prometheus_text.read(self.text)


@pytest.fixture
def yard() -> Iterator[Yard]:
    yard = Yard()
    yield yard
    yard.counters.close()
    assert yard.events.subscribers == 0


def ended(
    outcome: str = "done", seconds: float = 1.2, upstream: str = "corp", sent: int = 10, saved: int = 90
) -> Event:
    return PartEnded(
        job_id=IMAGE,
        upstream=upstream,
        outcome=outcome,
        seconds=seconds,
        bytes_sent=sent,
        bytes_saved=saved,
        tries=1,
    )


def test_before_anything_happened_each_upstream_has_its_zeros(yard: Yard) -> None:
    families = yard.families
    assert families["yarddesk_info"].value(version=__version__) == 1
    assert families["yarddesk_sync_paused"].value() == 1
    assert families["yarddesk_sync_set_aside"].value() == 1
    assert families["yarddesk_sync_images_total"].value(upstream="corp", outcome="done") == 0
    for kind in FailureKind:
        assert families["yarddesk_sync_failures_total"].value(upstream="corp", kind=kind) == 0
    assert families["yarddesk_sync_seconds"].value("_count", upstream="corp") == 0
    assert families["yarddesk_hook_failures_total"].value(hook="webhook") == 0


def test_images_bytes_and_seconds_are_counted_as_they_end(yard: Yard) -> None:
    yard.tell(ended(seconds=0.5), ended(seconds=0.51), ended(seconds=4000), ended("cancelled", sent=5, saved=7))
    families = yard.families
    images = families["yarddesk_sync_images_total"]
    assert images.value(upstream="corp", outcome="done") == 3
    assert images.value(upstream="corp", outcome="cancelled") == 1
    assert families["yarddesk_sync_bytes_sent_total"].value(upstream="corp") == 35
    assert families["yarddesk_sync_bytes_saved_total"].value(upstream="corp") == 270
    seconds = families["yarddesk_sync_seconds"]
    assert [seconds.value("_bucket", upstream="corp", le=le) for le in ("0.5", "1", "1800", "+Inf")] == [1, 2, 2, 3]
    assert seconds.value("_sum", upstream="corp") == 4001.01


def test_failures_retries_and_conflicts_are_counted(yard: Yard) -> None:
    yard.tell(
        TryBegun(job_id=IMAGE, upstream="corp", number=1),
        TryFailed(job_id=IMAGE, upstream="corp", kind="trouble", reason="out of cheese"),
        TryBegun(job_id=IMAGE, upstream="corp", number=2),
        TryFailed(job_id=IMAGE, upstream="corp", kind="conflict", reason="moved"),
        TagConflict(job_id=IMAGE, upstream="corp", there=Digest.of(b"theirs")),
    )
    families = yard.families
    failures = families["yarddesk_sync_failures_total"]
    assert [failures.value(upstream="corp", kind=kind) for kind in ("trouble", "conflict", "away")] == [1, 1, 0]
    assert families["yarddesk_sync_retries_total"].value(upstream="corp") == 1
    assert families["yarddesk_sync_conflicts_total"].value(upstream="corp") == 1
    assert "cheese" not in yard.text


def test_only_hooks_that_are_given_up_count(yard: Yard) -> None:
    yard.tell(
        HookFailed(what="webhook", image=IMAGE, reason="500"),
        HookFailed(what="webhook", image=IMAGE, reason="500", over=True),
    )
    hooks = yard.families["yarddesk_hook_failures_total"]
    assert (hooks.value(hook="webhook"), hooks.value(hook="command")) == (1, 0)


def test_what_went_to_make_room_is_counted_by_what_it_was_made_for(yard: Yard) -> None:
    images, size = (yard.families[f"yarddesk_evicted_{what}_total"] for what in ("images", "bytes"))
    assert [family.value(bound=bound) for family in (images, size) for bound in ("max_size", "min_free")] == [0] * 4
    image = ImageEvicted(
        repository=RepositoryName.parse("team/app"), digest=Digest.of(b"old"), tags=(), size=7, bound="max_size"
    )
    yard.tell(image, image, replace(image, size=5, bound="min_free"), BlobsEvicted(size=30, bound="min_free"))
    images, size = (yard.families[f"yarddesk_evicted_{what}_total"] for what in ("images", "bytes"))
    assert (images.value(bound="max_size"), size.value(bound="max_size")) == (2, 14)
    assert (images.value(bound="min_free"), size.value(bound="min_free")) == (1, 35)


def test_upstreams_that_the_settings_do_not_have_take_no_room() -> None:
    yard = Yard("corp")
    yard.tell(*(ended(upstream=f"former-{number}") for number in range(100)), ended())
    assert "former" not in yard.text
    assert yard.counters._upstreams.keys() == {"corp"}
    yard.upstreams = ()
    assert 'upstream="' not in yard.text
    yard.upstreams = ("corp",)
    assert yard.families["yarddesk_sync_images_total"].value(upstream="corp", outcome="done") == 0


@given(st.lists(st.text(min_size=1), min_size=1, max_size=3, unique=True))
def test_an_upstream_may_have_any_name(names: list[str]) -> None:
    yard = Yard(*names)
    yard.tell(*(ended(upstream=name) for name in names))
    images = yard.families["yarddesk_sync_images_total"]
    assert [images.value(upstream=name, outcome="done") for name in names] == [1] * len(names)


@pytest.mark.parametrize(
    "text",
    [
        "yarddesk_up 1\n",
        "# HELP a b\na 1\n",
        "# HELP a b\n# TYPE a gauge\na 1\na 1\n",
        "# HELP a b\n# TYPE a gauge\n# HELP a b\n# TYPE a gauge\n",
        '# HELP a b\n# TYPE a gauge\na{b="c} 1\n',
        '# HELP a b\n# TYPE a gauge\na{b="\\x"} 1\n',
        '# HELP a b\n# TYPE a gauge\na{b="c",b="d"} 1\n',
        "# HELP a b\n# TYPE a counter\na 1\n",
        "# HELP a b\n# TYPE a gauge\na one\n",
        "# HELP a b\n# TYPE a gauge\na 1",
        '# HELP a b\n# TYPE a histogram\na_bucket{le="1"} 2\na_bucket{le="+Inf"} 1\na_sum 1\na_count 1\n',
        '# HELP a b\n# TYPE a histogram\na_bucket{le="1"} 2\na_sum 1\na_count 1\n',
    ],
)
def test_the_reader_is_strict(text: str) -> None:
    with pytest.raises(AssertionError):
        prometheus_text.read(text)


def test_how_pulls_go_and_what_is_left_of_them(yard: Yard) -> None:
    families = yard.families
    assert families["yarddesk_upstream_pulls_up"].value(upstream="corp") == 1
    assert not families["yarddesk_upstream_quota_limit"].samples
    yard.pulls = PullHealth("waits", "corp asks to wait.", Quota(100, 3, 21600))
    families = yard.families
    assert families["yarddesk_upstream_pulls_up"].value(upstream="corp") == 0
    assert families["yarddesk_upstream_quota_limit"].value(upstream="corp") == 100
    assert families["yarddesk_upstream_quota_remaining"].value(upstream="corp") == 3
