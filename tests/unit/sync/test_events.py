"""What the sync worker tells observers: a try that began, failed and why, a part that is over, files that can't be used."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import pytest

from tests.support.fake_upstreams import FakeUpstream
from tests.support.images import build_image
from tests.unit.sync.test_conflicts import somebody_moves, synced_once
from tests.unit.sync.yard import Yard, running
from yarddesk.content.upstream import (
    UpstreamAway,
    UpstreamBroken,
    UpstreamDenied,
    UpstreamFull,
    UpstreamMissing,
    UpstreamTrouble,
    UpstreamUntrue,
    UpstreamUntrusted,
)
from yarddesk.errors import YarddeskError
from yarddesk.events import Event, MarkerSetAside, PartEnded, TagConflict, TryBegun, TryFailed
from yarddesk.oci.digest import Digest
from yarddesk.oci.name import Tag
from yarddesk.settings.model import SyncSettings
from yarddesk.sync.conflicts import TagMoved, shown
from yarddesk.sync.errors import ChildrenMissing
from yarddesk.sync.verdicts import FailureKind, judge

IMAGE = "team/app:v1"


E = TypeVar("E", bound=Event)


def seen(yard: Yard, kind: type[E]) -> list[E]:
    return [event for event in yard.seen if isinstance(event, kind)]


async def test_what_the_history_keeps_is_told_with_the_same_figures(tmp_path: Path) -> None:
    async with running(tmp_path) as yard:
        first = await yard.push(build_image("a"))
        await yard.until_empty()
        await yard.push(build_image("b"))
        await yard.until_empty()
        told, entries = seen(yard, PartEnded), yard.service.history()
    assert len(told) == len(entries) == 2
    for event, entry in zip(told, reversed(entries), strict=True):
        assert (event.job_id, event.upstream, event.outcome) == (IMAGE, "corp", "done")
        assert event.bytes_sent == entry.bytes_sent > 0
        assert (event.bytes_saved, event.tries, event.seconds) == (entry.bytes_saved, entry.tries, entry.seconds)
        assert event.replaced == entry.replaced
    assert entries[0].replaced == first.digest


async def test_a_cancelled_part_and_one_that_a_newer_push_took_the_place_of_are_over_too(tmp_path: Path) -> None:
    async with running(tmp_path, upstreams=[FakeUpstream(away=True)]) as yard:
        await yard.push(build_image("a"))
        await yard.until_state("waiting")
        newer = await yard.push(build_image("b"))
        await yard.service.cancel(IMAGE)
        told = [(event.outcome, event.reason) for event in seen(yard, PartEnded)]
    assert told == [
        ("cancelled", f"A newer push of this tag took its place: {shown(newer.digest)}."),
        ("cancelled", "Cancelled."),
    ]


async def test_each_try_is_told_and_why_it_came_to_nothing(tmp_path: Path) -> None:
    trouble = UpstreamTrouble("corp", "registry.corp is in trouble.", "out of cheese", temporary=True, status=500)
    async with running(tmp_path) as yard:
        yard.upstream.fault = lambda what, _: trouble if what == "push_manifest" else None
        await yard.push(build_image("a"))
        await yard.until_state("waiting")
        yard.upstream.fault = None
        yard.clock.advance(400)
        await yard.until_empty()
        begun = [(event.job_id, event.number) for event in seen(yard, TryBegun)]
        [failed] = seen(yard, TryFailed)
    assert begun == [(IMAGE, 1), (IMAGE, 2)]
    assert (failed.job_id, failed.upstream, failed.kind) == (IMAGE, "corp", "trouble")
    assert "out of cheese" in failed.reason


async def test_a_tag_that_stays_as_the_settings_have_it_is_a_conflict_too(tmp_path: Path) -> None:
    async with running(tmp_path, sync=SyncSettings(interval=timedelta(seconds=3600), on_conflict="keep")) as yard:
        await synced_once(yard)
        theirs = await somebody_moves(yard.upstream, "theirs")
        await yard.push(build_image("second"))
        await yard.until_empty()
        [conflict] = seen(yard, TagConflict)
        assert (conflict.there, conflict.kept) == (theirs, True)


async def test_a_file_that_was_set_aside_is_told_of_at_each_start(tmp_path: Path) -> None:
    yard = Yard(tmp_path)
    file = yard.marker("v2")
    file.parent.mkdir(parents=True)
    file.write_text("{")
    await yard.service.start()
    await yard.restart()
    await yard.service.stop()
    told = [event.file for event in seen(yard, MarkerSetAside)]
    assert told == ["team/app/v2.json.damaged"] * 2


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (UpstreamAway("corp", "away"), "away"),
        (UpstreamBroken("corp", "broke"), "trouble"),
        (UpstreamUntrue("corp", "lies"), "untrue"),
        (UpstreamDenied("corp", "no", status=403), "denied"),
        (UpstreamUntrusted("corp", "who?"), "untrusted"),
        (UpstreamFull("corp", "full"), "full"),
        (UpstreamMissing("corp", "no such repository"), "refused"),
        (TagMoved("registry.corp", Tag.parse("v1"), Digest.of(b"theirs")), "conflict"),
        (ChildrenMissing([Digest.of(b"child")]), "incomplete"),
        (YarddeskError("its content is damaged"), "local"),
        (OSError(28, "No space left on device"), "local"),
        (ZeroDivisionError(), "fault"),
    ],
)
def test_every_failure_is_of_one_kind(error: Exception, kind: str) -> None:
    assert judge(error).kind is FailureKind(kind)
