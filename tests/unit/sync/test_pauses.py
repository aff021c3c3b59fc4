"""A repository that is paused: what is queued of it, and what will be pushed to it, stays until it's resumed."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime
from pathlib import Path

import pytest

from tests.support.fake_upstreams import FakeUpstream
from tests.support.images import build_image
from tests.unit.sync.yard import REPOSITORY, running, settle
from yarddesk.content.upstream import UpstreamTrouble
from yarddesk.events import PauseChanged
from yarddesk.oci.name import RepositoryName
from yarddesk.sync.pauses import Paused, Pauses

OTHER = RepositoryName.parse("team/other")


async def test_what_is_queued_and_what_is_pushed_later_stays_until_it_is_resumed(tmp_path: Path) -> None:
    async with running(tmp_path, upstreams=[FakeUpstream(held=asyncio.Event())]) as yard:
        await yard.push(build_image("a"), "v1")
        await yard.until(lambda: yard.upstream.sending, "it's being sent")
        assert await yard.service.pause("team/app") == 1
        assert yard.upstream.sending == 0
        yard.upstream.release()
        await yard.push(build_image("b"), "v2")
        await yard.push(build_image("c"), "v1", repository=OTHER)
        await yard.until(lambda: not yard.job("team/other:v1"), "another repository's image goes on")
        assert yard.part("team/app:v1").state == yard.part("team/app:v2").state == "paused"
        assert yard.service.snapshot().paused_repositories == {REPOSITORY: None}
        await yard.restart()
        await settle(200)
        assert yard.part("team/app:v1").state == yard.part("team/app:v2").state == "paused"
        assert await yard.service.resume("team/app") == 2
        await yard.until_empty()
        assert not (tmp_path / "paused.json").exists()


async def test_a_repository_of_which_nothing_is_queued_is_paused_where_it_is_here(tmp_path: Path) -> None:
    async with running(tmp_path) as yard:
        assert await yard.service.pause("team/app") == 0
        await yard.push(build_image("a"), "v1")
        await yard.until_empty()
        assert await yard.service.pause("team/app") == 1
        await yard.push(build_image("b"), "v2")
        await settle(200)
        assert yard.part("team/app:v2").state == "paused"
        assert await yard.service.resume("team/app") == 1
        await yard.until_empty()
        assert await yard.service.resume("nothing/here") == 0


async def test_an_upstream_with_nothing_queued_is_paused(tmp_path: Path) -> None:
    async with running(tmp_path) as yard:
        assert await yard.service.pause("corp") == 1
        assert await yard.service.resume("corp") == 1


async def test_resuming_everything_or_one_image_of_it(tmp_path: Path) -> None:
    async with running(tmp_path) as yard:
        await yard.push(build_image("seen"), "v0")
        await yard.until_empty()
        await yard.service.pause("team/app")
        await yard.push(build_image("a"), "v1")
        await yard.service.pause("team/app:v1")
        await yard.service.resume("team/app:v1")
        await settle(200)
        assert yard.part().state == "paused", "its repository is still"
        await yard.service.resume()
        await yard.until_empty()


async def test_resuming_a_repository_ends_the_pauses_of_its_images_too(tmp_path: Path) -> None:
    async with running(tmp_path, upstreams=[FakeUpstream(held=asyncio.Event())]) as yard:
        await yard.push(build_image("a"), "v1")
        await yard.service.pause("team/app:v1")
        yard.upstream.release()
        assert await yard.service.resume("team/app") == 1
        await yard.until_empty()


async def test_a_pause_for_some_time_ends_by_itself_also_over_a_restart(tmp_path: Path) -> None:
    async with running(tmp_path, upstreams=[FakeUpstream(held=asyncio.Event())]) as yard:
        await yard.push(build_image("a"), "v1")
        await yard.service.pause("team/app", for_seconds=60)
        yard.upstream.release()
        yard.clock.advance(59)
        await yard.restart()
        await settle(200)
        assert yard.part().state == "paused"
        heard: list[PauseChanged] = []
        yard.events.subscribe(heard.append, PauseChanged)
        yard.clock.advance(2)
        await yard.until_empty()
        assert [(event.paused, event.repository) for event in heard] == [(False, REPOSITORY)]


async def test_however_many_images_are_queued_a_pause_is_one_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []

    def rewrite(path: Path, _: bytes) -> bool:
        written.append(path.name)
        return True

    async with running(tmp_path) as yard:
        await yard.service.pause("corp")
        await yard.push(build_image("a"), *(f"v{number}" for number in range(50)))
        monkeypatch.setattr("yarddesk.sync.journal.rewrite_marker", rewrite)
        assert await yard.service.pause("team/app") == 50
        assert await yard.service.resume("team/app") == 50
        assert not written


async def test_what_waits_for_its_next_try_is_not_tried_before_it_is_resumed(tmp_path: Path) -> None:
    upstream = FakeUpstream()
    async with running(tmp_path, upstreams=[upstream]) as yard:
        await yard.push(build_image("seen"), "v0")
        await yard.until_empty()
        upstream.fault = lambda what, _: UpstreamTrouble("corp", "No.", temporary=True) if what == "push" else None
        await yard.push(build_image("a"), "v1")
        await yard.until_state("waiting")
        await yard.service.pause("team/app")
        upstream.fault = None
        yard.clock.advance(400)
        await settle(200)
        assert yard.part().state == "paused"
        await yard.service.resume("team/app")
        await yard.until_empty()


async def test_pauses_of_an_older_version_are_read(tmp_path: Path) -> None:
    before = {"schema": 1, "all": False, "until": None, "upstreams": {"corp": None}}
    (tmp_path / "paused.json").write_text(json.dumps(before))
    async with running(tmp_path) as yard:
        snapshot = yard.service.snapshot()
        assert snapshot.upstreams[0].paused
        assert not snapshot.paused_repositories


async def test_what_is_pushed_while_the_pause_is_written_rests_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pause = Pauses.pause
    async with running(tmp_path, upstreams=[FakeUpstream(held=asyncio.Event())]) as yard:

        async def late(pauses: Pauses, paused: Paused, until: datetime | None) -> None:
            await yard.push(build_image("b"), "v2")
            await yard.until_state("transferring", "team/app:v2")
            await pause(pauses, paused, until)

        monkeypatch.setattr(Pauses, "pause", late)
        await yard.push(build_image("a"), "v1")
        await yard.service.pause("team/app")
        assert yard.upstream.sending == 0
        assert yard.part("team/app:v1").state == yard.part("team/app:v2").state == "paused"
