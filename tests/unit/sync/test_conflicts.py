"""A tag that somebody else moves upstream, under each `sync.on_conflict`, and what a person decides about it."""

from __future__ import annotations

import asyncio
import errno
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support.fake_upstreams import FakeUpstream
from tests.support.images import Image, build_image, build_index
from tests.unit.sync.yard import REPOSITORY, Yard, parse_digest, running, settle
from yarddesk.content.target import NotFound
from yarddesk.content.upstream import UpstreamAway, UpstreamRefused
from yarddesk.errors import YarddeskError
from yarddesk.events import TagConflict
from yarddesk.oci.digest import Digest
from yarddesk.oci.manifest import parse_manifest
from yarddesk.oci.name import Tag
from yarddesk.registry.intake import ManifestIntake
from yarddesk.registry.locks import Gate
from yarddesk.settings.model import Settings, SyncSettings, TagFilter, UpstreamSettings
from yarddesk.sync.snapshot import ConflictChoice
from yarddesk.sync.states import JobState

V1 = Tag.parse("v1")


def policy(on_conflict: str) -> SyncSettings:
    return SyncSettings(interval=timedelta(seconds=3600), on_conflict=on_conflict)


async def somebody_moves(upstream: FakeUpstream, seed: str, tag: str = "v1") -> Digest:
    """Another client pushes an image straight to the upstream."""
    image = build_image(seed)
    repository = upstream.repository(REPOSITORY)
    for blob in image.blobs:
        upload = await upstream.store.start_upload(REPOSITORY)
        await upload.write(blob.content)
        await upload.commit(parse_digest(blob.digest))
        repository._blobs.add(parse_digest(blob.digest))
    manifest = parse_manifest(image.manifest.content, image.manifest.media_type)
    await upstream.store.put_manifest(REPOSITORY, manifest)
    await upstream.store.put_tag(REPOSITORY, Tag.parse(tag), manifest.digest)
    return manifest.digest


async def synced_once(yard: Yard, seed: str = "first") -> Digest:
    manifest = await yard.push(build_image(seed))
    await yard.until_empty()
    return manifest.digest


async def in_conflict(yard: Yard) -> tuple[Digest, Digest]:
    """What somebody put under our tag, and what we want there."""
    await synced_once(yard)
    theirs = await somebody_moves(yard.upstream, "theirs")
    ours = (await yard.push(build_image("second"))).digest
    await yard.until_state("blocked")
    return theirs, ours


def digest_of(image: Image) -> Digest:
    found: Digest = parse_digest(image.manifest.digest)
    return found


async def test_a_tag_that_somebody_moved_is_overwritten_and_the_history_says_what_was_there(tmp_path: Path) -> None:
    async with running(tmp_path) as yard:
        await synced_once(yard)
        theirs = await somebody_moves(yard.upstream, "theirs")
        ours = (await yard.push(build_image("second"))).digest
        await yard.until_empty()
        assert await yard.upstream.tag_of("team/app", "v1") == ours
        assert yard.service.history()[0].replaced == theirs


async def test_a_tag_that_names_what_we_last_put_there_is_no_conflict(tmp_path: Path) -> None:
    async with running(tmp_path, sync=policy("ask")) as yard:
        first = await synced_once(yard)
        await synced_once(yard, "second")
        assert yard.service.history()[0].replaced == first


async def test_a_tag_that_was_never_seen_is_no_conflict(tmp_path: Path) -> None:
    async with running(tmp_path, sync=policy("keep")) as yard:
        theirs = await somebody_moves(yard.upstream, "theirs")
        await synced_once(yard)
        assert yard.service.history()[0].replaced == theirs


async def test_a_tag_that_vanished_upstream_is_no_conflict(tmp_path: Path) -> None:
    async with running(tmp_path, sync=policy("ask")) as yard:
        await synced_once(yard)
        await yard.upstream.store.delete_tag(REPOSITORY, V1)
        second = await synced_once(yard, "second")
        assert await yard.upstream.tag_of("team/app", "v1") == second
        assert yard.service.history()[0].replaced is None


async def test_asked_it_waits_for_a_person_and_nothing_is_sent_or_moved(tmp_path: Path) -> None:
    async with running(tmp_path, sync=policy("ask")) as yard:
        await synced_once(yard)
        theirs = await somebody_moves(yard.upstream, "theirs")
        yard.upstream.asked.clear()
        await yard.push(build_image("second"))
        part = await yard.until_state("blocked")
        assert part.conflict == theirs
        assert theirs.short in part.reason
        assert "v1" in part.reason
        assert "registry.corp" in part.reason
        assert yard.upstream.asked == {"resolve": 1}
        assert await yard.upstream.tag_of("team/app", "v1") == theirs
        assert [event.there for event in yard.seen if isinstance(event, TagConflict)] == [theirs]
        assert not (await yard.service.wait_synced("team/app:v1")).synced


async def test_kept_the_job_ends_cancelled_and_theirs_stays(tmp_path: Path) -> None:
    async with running(tmp_path, sync=policy("keep")) as yard:
        await synced_once(yard)
        theirs = await somebody_moves(yard.upstream, "theirs")
        await yard.push(build_image("second"))
        await yard.until_empty()
        assert await yard.upstream.tag_of("team/app", "v1") == theirs
        entry = yard.service.history()[0]
        assert entry.outcome is JobState.CANCELLED
        assert theirs.short in entry.reason
        assert entry.replaced is None
        assert not yard.marker().exists()
        outcome = await yard.service.wait_synced("team/app:v1")
        assert not outcome.synced
        assert theirs.short in outcome.reason


async def test_the_second_push_into_a_kept_tag_is_kept_away_too(tmp_path: Path) -> None:
    async with running(tmp_path, sync=policy("keep")) as yard:
        await synced_once(yard)
        theirs = await somebody_moves(yard.upstream, "theirs")
        for seed in ("second", "third"):
            await yard.push(build_image(seed))
            await yard.until_empty()
        assert await yard.upstream.tag_of("team/app", "v1") == theirs


@pytest.mark.parametrize("on_conflict", ["overwrite", "ask", "keep"])
async def test_a_tag_that_is_moved_while_its_layers_go_up_is_noticed(tmp_path: Path, on_conflict: str) -> None:
    upstream = FakeUpstream()
    async with running(tmp_path, sync=policy(on_conflict), upstreams=[upstream]) as yard:
        first = await synced_once(yard)
        upstream.held = asyncio.Event()
        ours = (await yard.push(build_image("second"))).digest
        await yard.until(lambda: upstream.sending, "something is being sent")
        theirs = await somebody_moves(upstream, "theirs")
        upstream.release()
        if on_conflict == "ask":
            assert (await yard.until_state("blocked")).conflict == theirs
        else:
            await yard.until_empty()
            entry = yard.service.history()[0]
            assert entry.replaced == (theirs if on_conflict == "overwrite" else None) != first
        there = await upstream.tag_of("team/app", "v1")
        assert there == (ours if on_conflict == "overwrite" else theirs)


@pytest.mark.parametrize("on_conflict", ["overwrite", "ask"])
async def test_a_tag_that_is_moved_between_our_put_and_the_read_back_is_noticed(
    tmp_path: Path, on_conflict: str
) -> None:
    upstream = FakeUpstream()
    async with running(tmp_path, sync=policy(on_conflict), upstreams=[upstream]) as yard:
        await synced_once(yard)
        stop = upstream.stops["tag"] = asyncio.Event()
        resolved = upstream.asked["resolve"]
        ours = (await yard.push(build_image("second"))).digest
        await yard.until(lambda: upstream.asked["tag"] == 2, "the tag is put")
        put = upstream.store.put_tag
        theirs: list[Digest] = []

        async def raced(repository: Any, tag: Any, digest: Digest) -> None:
            await put(repository, tag, digest)
            upstream.store.put_tag = put  # type: ignore[method-assign]
            theirs.append(await somebody_moves(upstream, "theirs"))

        upstream.store.put_tag = raced  # type: ignore[method-assign]
        stop.set()
        if on_conflict == "ask":
            assert (await yard.until_state("blocked")).conflict == theirs[0]
            assert await upstream.tag_of("team/app", "v1") == theirs[0]
            assert upstream.asked["push"] == 6, "nothing is sent a second time"
        else:
            await yard.until_empty()
            assert await upstream.tag_of("team/app", "v1") == ours
            assert yard.service.history()[0].replaced == theirs[0]
        assert upstream.asked["resolve"] > resolved


async def test_overwriting_counts_for_the_digest_that_the_person_saw(tmp_path: Path) -> None:
    async with running(tmp_path, sync=policy("ask")) as yard:
        _, ours = await in_conflict(yard)
        other = await somebody_moves(yard.upstream, "another one")
        assert await yard.service.decide("team/app:v1", ConflictChoice.OVERWRITE) == 1
        await yard.until(lambda: yard.part().conflict == other, "it asks about the other one")
        assert await yard.upstream.tag_of("team/app", "v1") == other
        await yard.service.decide("team/app:v1", ConflictChoice.OVERWRITE)
        await yard.until_empty()
        assert await yard.upstream.tag_of("team/app", "v1") == ours
        assert yard.service.history()[0].replaced == other


async def test_a_decision_to_overwrite_outlives_a_restart_and_an_upstream_that_is_away(tmp_path: Path) -> None:
    async with running(tmp_path, sync=policy("ask")) as yard:
        theirs, ours = await in_conflict(yard)
        yard.upstream.away = True
        await yard.service.decide("team/app:v1", ConflictChoice.OVERWRITE)
        await yard.until_state("waiting")
        marked = json.loads(yard.marker().read_text())["upstreams"]["corp"]["conflict"]
        assert marked == {"there": theirs, "decided": "overwrite"}
        await yard.restart()
        yard.upstream.away = False
        await yard.service.retry()
        await yard.until_empty()
        assert await yard.upstream.tag_of("team/app", "v1") == ours
        assert yard.service.history()[0].replaced == theirs


async def test_a_conflict_outlives_a_restart(tmp_path: Path) -> None:
    async with running(tmp_path, sync=policy("ask")) as yard:
        theirs, _ = await in_conflict(yard)
        yard.upstream.away = True
        await yard.restart()
        await yard.until(
            lambda: yard.clock.next_alarm is not None and yard.upstream.log[-1][0] == "resolve", "it looked"
        )
        await settle(200)
        assert yard.part().state is JobState.BLOCKED
        assert yard.part().conflict == theirs
        yard.upstream.away = False
        yard.upstream.asked.clear()
        await yard.restart()
        await settle(200)
        part = await yard.until_state("blocked")
        assert part.conflict == theirs
        assert theirs.short in part.reason
        assert await yard.upstream.tag_of("team/app", "v1") == theirs
        await yard.until(lambda: yard.upstream.asked == {"resolve": 1}, "one look")


async def test_an_undecided_tag_is_looked_at_now_and_then_and_goes_on_once_it_was_moved_back(tmp_path: Path) -> None:
    async with running(tmp_path, sync=policy("ask")) as yard:
        theirs, ours = await in_conflict(yard)
        states: list[str] = []
        yard.events.subscribe(lambda event: states.append(getattr(event, "new", "")))
        yard.upstream.asked.clear()
        for _ in range(2):
            await yard.until(lambda: yard.clock.next_alarm is not None, "it sleeps")
            yard.clock.advance(301)
            await yard.until(lambda: yard.upstream.asked["resolve"], "it looked")
            await settle()
            assert yard.part().conflict == theirs
            assert yard.upstream.asked == {"resolve": 1}
            yard.upstream.asked.clear()
        assert not states, "nothing flickers while it's looked at"
        await yard.upstream.store.put_tag(REPOSITORY, V1, digest_of(build_image("first")))
        yard.clock.advance(301)
        await yard.until_empty()
        assert await yard.upstream.tag_of("team/app", "v1") == ours


async def test_an_undecided_tag_that_somebody_moved_to_ours_is_done(tmp_path: Path) -> None:
    async with running(tmp_path, sync=policy("ask")) as yard:
        await in_conflict(yard)
        await somebody_moves(yard.upstream, "second")
        await yard.until(lambda: yard.clock.next_alarm is not None, "it sleeps")
        yard.clock.advance(301)
        await yard.until_empty()
        assert yard.service.history()[0].outcome is JobState.DONE


async def test_an_upstream_that_is_away_while_an_undecided_tag_is_looked_at_changes_nothing(tmp_path: Path) -> None:
    async with running(tmp_path, sync=policy("ask")) as yard:
        theirs, _ = await in_conflict(yard)
        yard.upstream.away = True
        yard.upstream.asked.clear()
        yard.clock.advance(301)
        await yard.until(lambda: yard.upstream.asked["resolve"], "it looked")
        await settle()
        assert yard.part().conflict == theirs
        assert yard.part().state is JobState.BLOCKED


async def test_keeping_theirs_ends_the_job(tmp_path: Path) -> None:
    async with running(tmp_path, sync=policy("ask")) as yard:
        theirs, _ = await in_conflict(yard)
        assert await yard.service.decide("team/app:v1", ConflictChoice.KEEP) == 1
        assert yard.job() is None
        assert not yard.marker().exists()
        entry = yard.service.history()[0]
        assert entry.outcome is JobState.CANCELLED
        assert theirs.short in entry.reason
        assert await yard.upstream.tag_of("team/app", "v1") == theirs


async def test_under_another_tag_it_goes_up_beside_theirs(tmp_path: Path) -> None:
    async with running(tmp_path, sync=policy("ask")) as yard:
        theirs, ours = await in_conflict(yard)
        other = Tag.parse("v1-mine")
        assert await yard.service.decide("team/app:v1", ConflictChoice.TAG, tag=other) == 1
        await yard.until_empty()
        assert await yard.upstream.tag_of("team/app", "v1") == theirs
        assert await yard.upstream.tag_of("team/app", "v1-mine") == ours
        assert (await yard.store.resolve(REPOSITORY, other)).digest == ours
        reasons = {str(entry.reference): entry.reason for entry in yard.service.history(2)}
        assert "v1-mine" in reasons["v1"]
        assert not reasons["v1-mine"]


async def test_another_tag_goes_only_where_the_first_could_not(tmp_path: Path) -> None:
    corp, mirror = FakeUpstream(), FakeUpstream(name="mirror", registry="registry.mirror")
    async with running(tmp_path, sync=policy("ask"), upstreams=[corp, mirror]) as yard:
        theirs, ours = await in_conflict(yard)
        await yard.until_state("done", upstream="mirror")
        await yard.service.decide("team/app:v1", ConflictChoice.TAG, tag=Tag.parse("v1-mine"))
        await yard.until_empty()
        assert (await corp.tag_of("team/app", "v1"), await mirror.tag_of("team/app", "v1")) == (theirs, ours)
        assert (await corp.tag_of("team/app", "v1-mine"), await mirror.tag_of("team/app", "v1-mine")) == (ours, None)


async def test_another_tag_waits_for_a_push_of_it_and_gives_way_to_that(tmp_path: Path) -> None:
    async with running(tmp_path, sync=policy("ask")) as yard:
        await in_conflict(yard)
        intake, other = ManifestIntake(yard.store, yard.service, Gate()), Tag.parse("v1-mine")
        yard.service.move_tags_by(intake.alone)
        image = build_image("pushed meanwhile")
        await yard.put_blobs(image)
        manifest = parse_manifest(image.manifest.content, image.manifest.media_type)
        begun, goes_on = asyncio.Event(), asyncio.Event()

        async def wait() -> None:
            begun.set()
            await goes_on.wait()

        push = asyncio.create_task(intake.take(REPOSITORY, manifest, (other,), check=wait))
        await begun.wait()
        decision = asyncio.create_task(yard.service.decide("team/app:v1", ConflictChoice.TAG, tag=other))
        await settle()
        assert not decision.done()
        goes_on.set()
        await push
        with pytest.raises(YarddeskError, match="is another image here already"):
            await decision
        assert (await yard.store.resolve(REPOSITORY, other)).digest == manifest.digest
        assert yard.part().conflict is not None


async def test_what_is_pushed_again_while_another_tag_waits_is_to_be_looked_at_again(tmp_path: Path) -> None:
    async with running(tmp_path, sync=policy("ask")) as yard:
        await in_conflict(yard)
        intake, other = ManifestIntake(yard.store, yard.service, Gate()), Tag.parse("v1-mine")
        yard.service.move_tags_by(intake.alone)
        async with intake.alone(REPOSITORY, other):
            decision = asyncio.create_task(yard.service.decide("team/app:v1", ConflictChoice.TAG, tag=other))
            newer = await yard.push(build_image("newer"))
        with pytest.raises(YarddeskError, match="was pushed again meanwhile"):
            await decision
        job = yard.job()
        assert job is not None
        assert job.digest == newer.digest
        with pytest.raises(NotFound):
            await yard.store.resolve(REPOSITORY, other)


@pytest.mark.parametrize("tag", [None, "v1", "taken"])
async def test_a_tag_that_is_no_other_or_not_free_is_refused(tmp_path: Path, tag: str | None) -> None:
    async with running(tmp_path, sync=policy("ask")) as yard:
        theirs, _ = await in_conflict(yard)
        await yard.service.pause("corp")
        await yard.push(build_image("elsewhere"), "taken")
        other = Tag.parse(tag) if tag else None
        with pytest.raises(YarddeskError):
            await yard.service.decide("team/app:v1", ConflictChoice.TAG, tag=other)
        assert yard.part().conflict == theirs
        assert (await yard.store.resolve(REPOSITORY, Tag.parse("taken"))).digest == digest_of(build_image("elsewhere"))


async def test_a_tag_that_the_settings_keep_from_that_upstream_is_refused(tmp_path: Path) -> None:
    async with running(tmp_path, sync=policy("ask")) as yard:
        corp = UpstreamSettings("registry.corp", "corp", push=True, tags=TagFilter(exclude=("dev-*",)))
        await yard.service.reload(yard.routes, Settings(tmp_path, sync=policy("ask"), upstreams=(corp,)))
        await in_conflict(yard)
        with pytest.raises(YarddeskError, match="takes no pushes"):
            await yard.service.decide("team/app:v1", ConflictChoice.TAG, tag=Tag.parse("dev-mine"))
        assert yard.part().conflict


@pytest.mark.parametrize("after", ["marker", "tag"])
async def test_a_crash_between_the_steps_of_another_tag_loses_nothing(
    tmp_path: Path, after: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path, sync=policy("ask")) as yard:
        theirs, ours = await in_conflict(yard)
        dead = asyncio.Event()

        async def put_tag(*what: Any) -> None:
            if after == "tag":
                await type(yard.store).put_tag(yard.store, *what)
            dead.set()
            await asyncio.Event().wait()  # nobody hears of it any more

        monkeypatch.setattr(yard.store, "put_tag", put_tag)
        decision = asyncio.create_task(yard.service.decide("team/app:v1", ConflictChoice.TAG, tag=Tag.parse("v1-mine")))
        await dead.wait()
        copy = {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
        decision.cancel()
        await asyncio.wait([decision])
        await yard.service.stop()
        monkeypatch.undo()
        for path, content in copy.items():  # the folder as it was when the process died
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_bytes(content)
        await yard.restart()
        await yard.until(lambda: yard.job("team/app:v1-mine") is None, "the other tag is up")
        assert await yard.upstream.tag_of("team/app", "v1-mine") == ours
        assert (await yard.until_state("blocked")).conflict == theirs
        assert await yard.upstream.tag_of("team/app", "v1") == theirs


async def test_two_upstreams_are_decided_about_one_by_one(tmp_path: Path) -> None:
    corp, mirror = FakeUpstream(), FakeUpstream(name="mirror", registry="registry.mirror")
    async with running(tmp_path, sync=policy("ask"), upstreams=[corp, mirror]) as yard:
        await synced_once(yard)
        at_corp, at_mirror = await somebody_moves(corp, "x"), await somebody_moves(mirror, "y")
        ours = (await yard.push(build_image("second"))).digest
        await yard.until_state("blocked")
        await yard.until_state("blocked", upstream="mirror")
        assert (yard.part().conflict, yard.part(upstream="mirror").conflict) == (at_corp, at_mirror)
        assert await yard.service.decide("team/app:v1", ConflictChoice.OVERWRITE, upstream="mirror") == 1
        await yard.until_state("done", upstream="mirror")
        assert await mirror.tag_of("team/app", "v1") == ours
        assert (await yard.until_state("blocked")).conflict == at_corp
        await yard.service.decide("team/app:v1", ConflictChoice.KEEP, upstream="corp")
        await yard.until_empty()
        assert await corp.tag_of("team/app", "v1") == at_corp


async def test_a_decision_about_a_push_that_another_replaced_is_refused(tmp_path: Path) -> None:
    async with running(tmp_path, sync=policy("ask")) as yard:
        theirs, _ = await in_conflict(yard)
        job = yard.job()
        assert job is not None
        await yard.push(build_image("third"))
        await yard.until_state("blocked")
        with pytest.raises(YarddeskError, match="pushed again"):
            await yard.service.decide("team/app:v1", ConflictChoice.OVERWRITE, generation=job.generation)
        assert yard.part().conflict == theirs
        assert await yard.service.decide("team/app:v1", ConflictChoice.KEEP, generation=job.generation + 1) == 1


async def test_a_newer_push_takes_no_decision_over(tmp_path: Path) -> None:
    async with running(tmp_path, sync=policy("ask")) as yard:
        theirs, _ = await in_conflict(yard)
        await yard.service.pause("corp")
        await yard.service.decide("team/app:v1", ConflictChoice.OVERWRITE)
        await yard.push(build_image("third"))
        await yard.service.resume("corp")
        assert (await yard.until_state("blocked")).conflict == theirs


async def test_a_decision_that_can_not_be_written_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(tmp_path, sync=policy("ask")) as yard:
        theirs, _ = await in_conflict(yard)

        def full(*_: object, **__: object) -> bool:
            raise OSError(errno.ENOSPC, "no space")

        with monkeypatch.context() as patch:
            patch.setattr("yarddesk.sync.journal.rewrite_marker", full)
            patch.setattr("yarddesk.sync.journal.remove_files", full)
            for choice in (ConflictChoice.OVERWRITE, ConflictChoice.KEEP):
                with pytest.raises(YarddeskError, match="full"):
                    await yard.service.decide("team/app:v1", choice)
                await yard.until_state("blocked")
        assert yard.part().conflict == theirs
        assert await yard.upstream.tag_of("team/app", "v1") == theirs


async def test_what_waits_for_nobody_is_not_decided_about(tmp_path: Path) -> None:
    async with running(tmp_path, sync=policy("ask"), upstreams=[FakeUpstream(away=True)]) as yard:
        await yard.push(build_image("a"))
        await yard.until_state("waiting")
        assert await yard.service.decide("team/app:v1", ConflictChoice.OVERWRITE) == 0
        assert await yard.service.decide("team/other:v1", ConflictChoice.KEEP) == 0
        assert yard.job() is not None


@pytest.mark.parametrize("on_conflict", ["overwrite", "keep"])
async def test_other_settings_decide_what_waits(tmp_path: Path, on_conflict: str) -> None:
    async with running(tmp_path, sync=policy("ask")) as yard:
        theirs, ours = await in_conflict(yard)
        await yard.service.reload(yard.routes, Settings(tmp_path, sync=policy(on_conflict)))
        await yard.until_empty()
        assert await yard.upstream.tag_of("team/app", "v1") == (ours if on_conflict == "overwrite" else theirs)


async def test_a_lost_answer_to_our_own_put_is_no_conflict_for_the_next_push(tmp_path: Path) -> None:
    """Neither is one whose read-back failed: what somebody else didn't put there is ours to replace."""
    upstream = FakeUpstream()
    async with running(tmp_path, sync=policy("ask"), upstreams=[upstream]) as yard:
        await synced_once(yard)
        put = upstream.store.put_tag

        async def lost(*what: Any) -> None:
            written = (tmp_path / "seen-tags.jsonl").read_text().splitlines()[-1]
            assert json.loads(written)["sent"] == what[2], "it's on disk before it happens"
            await put(*what)
            upstream.store.put_tag = put  # type: ignore[method-assign]
            raise UpstreamAway("corp", "The answer was lost.", temporary=True)

        upstream.store.put_tag = lost  # type: ignore[method-assign,assignment]
        second = (await yard.push(build_image("second"))).digest
        await yard.until_state("waiting")
        assert await upstream.tag_of("team/app", "v1") == second
        upstream.away = True
        await yard.restart()  # also not after a crash in between
        third = (await yard.push(build_image("third"))).digest
        upstream.away = False
        await yard.service.retry()
        await yard.until_empty()
        assert await upstream.tag_of("team/app", "v1") == third


async def test_what_was_replaced_is_told_although_the_read_back_failed_and_the_process_died(tmp_path: Path) -> None:
    upstream = FakeUpstream()
    async with running(tmp_path, upstreams=[upstream]) as yard:
        first = await synced_once(yard)
        put = upstream.store.put_tag

        marked: list[str] = []

        async def dies(*what: Any) -> None:
            marked.append(json.loads(yard.marker().read_text())["upstreams"]["corp"].get("replaced"))
            await put(*what)
            upstream.away = True

        upstream.store.put_tag = dies  # type: ignore[method-assign,assignment]
        await yard.push(build_image("second"))
        await yard.until_state("waiting")
        upstream.store.put_tag = put  # type: ignore[method-assign]
        assert marked == [first], "it's on disk before it happens"
        await yard.restart()
        await yard.push(build_image("second"))  # the same again doesn't make it forget
        upstream.away = False
        await yard.service.retry()
        await yard.until_empty()
        entry = yard.service.history()[0]
        assert (entry.outcome, entry.replaced) == (JobState.DONE, first)


async def test_a_tag_that_the_registry_would_not_move_replaced_nothing(tmp_path: Path) -> None:
    upstream = FakeUpstream()
    async with running(tmp_path, upstreams=[upstream]) as yard:
        await synced_once(yard)
        upstream.fault = lambda what, _: (
            UpstreamRefused("corp", "Tags are immutable here.", status=400) if what == "tag" else None
        )
        await yard.push(build_image("second"))
        await yard.until_state("blocked")
        await yard.service.cancel("team/app:v1")
        assert yard.service.history()[0].replaced is None


async def test_a_retry_after_a_lost_connection_still_finds_the_conflict(tmp_path: Path) -> None:
    upstream = FakeUpstream()
    async with running(tmp_path, sync=policy("ask"), upstreams=[upstream]) as yard:
        await synced_once(yard)
        upstream.held = asyncio.Event()
        await yard.push(build_image("second"))
        await yard.until(lambda: upstream.sending, "something is being sent")
        theirs = await somebody_moves(upstream, "theirs")
        upstream.away = True
        upstream.release()
        await yard.until_state("waiting")
        upstream.away = False
        await yard.service.retry()
        assert (await yard.until_state("blocked")).conflict == theirs


async def test_moving_it_away_from_what_a_pull_saw_is_a_conflict_and_what_the_pull_saw_is_none(tmp_path: Path) -> None:
    async with running(tmp_path, sync=policy("ask")) as yard:
        await synced_once(yard)
        pulled = await somebody_moves(yard.upstream, "pulled")
        yard.service.saw(yard.upstream, REPOSITORY, V1, pulled)
        await synced_once(yard, "second")
        assert yard.service.history()[0].replaced == pulled
        yard.service.saw(yard.upstream, REPOSITORY, Tag.parse("v2"), pulled)
        theirs = await somebody_moves(yard.upstream, "theirs", "v2")
        await yard.push(build_image("third"), "v2")
        assert (await yard.until_state("blocked", "team/app:v2")).conflict == theirs


async def test_an_index_that_is_kept_away_leaves_its_platforms_that_were_pushed_by_themselves(tmp_path: Path) -> None:
    index = build_index("multi")
    async with running(tmp_path, sync=policy("keep")) as yard:
        await synced_once(yard)
        await somebody_moves(yard.upstream, "theirs")
        await yard.service.pause("corp")
        await yard.push(index)
        await yard.push_manifest(index.images[0].manifest)  # by itself, while the index would take it along
        await yard.service.resume("corp")
        child = parse_digest(index.images[0].manifest.digest)
        await yard.until(lambda: yard.service.history()[0].digest == child, "it went up by itself")
        assert (await yard.upstream.store.get_manifest(REPOSITORY, child)).digest == child


async def test_a_push_by_digest_moves_no_tag_and_asks_nobody(tmp_path: Path) -> None:
    async with running(tmp_path, sync=policy("keep")) as yard:
        image = build_image("bare")
        await yard.put_blobs(image)
        await yard.push_manifest(image.manifest)
        await yard.until_empty()
        assert yard.service.history()[0].outcome is JobState.DONE
        assert not (tmp_path / "seen-tags.jsonl").exists()


async def test_a_place_that_is_called_otherwise_now_is_the_same_place(tmp_path: Path) -> None:
    corp = FakeUpstream()
    async with running(tmp_path, sync=policy("ask"), upstreams=[corp]) as yard:
        await synced_once(yard)
        theirs = await somebody_moves(corp, "theirs")
        corp.name = "renamed"
        await yard.service.reload(
            yard.routes,
            Settings(tmp_path, sync=policy("ask"), upstreams=(UpstreamSettings("registry.corp", "renamed"),)),
        )
        await yard.push(build_image("second"))
        assert (await yard.until_state("blocked", upstream="renamed")).conflict == theirs
