"""Other settings while images are queued and under way."""

from __future__ import annotations

import asyncio
import errno
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from tests.support.fake_upstreams import FakeRoutes, FakeUpstream
from tests.support.images import build_image
from tests.unit.sync.yard import Yard, running, settle
from yarddesk.content.credentials import Secret
from yarddesk.content.upstream import UpstreamDenied
from yarddesk.settings.model import (
    AuthSettings,
    AuthType,
    CacheSettings,
    LoggerSettings,
    Settings,
    SyncSettings,
    TagFilter,
    UpstreamSettings,
)
from yarddesk.sync.errors import NothingToTry

_CORP = UpstreamSettings(registry="registry.corp", name="corp", push=True)
_BASIC = AuthSettings(AuthType.BASIC, "ci", Secret("wrong"))
_MIRROR = UpstreamSettings(registry="registry.mirror", name="mirror", push=True)


def settings_of(yard: Yard, *upstreams: UpstreamSettings) -> Settings:
    return Settings(data_dir=yard.folder, sync=yard.sync, upstreams=upstreams)


async def test_settings_that_concern_no_upstream_cut_nothing_off(tmp_path: Path) -> None:
    upstream = FakeUpstream(held=asyncio.Event())
    async with running(tmp_path, upstreams=[upstream]) as yard:
        await yard.service.reload(yard.routes, settings_of(yard, _CORP))
        await yard.push(build_image("a"))
        await yard.until(lambda: upstream.sending, "something is being sent")
        same = settings_of(yard, _CORP)
        for other in (
            replace(same, logger=LoggerSettings(level="debug")),
            replace(same, cache=CacheSettings(offline=True)),
            replace(same, sync=SyncSettings(concurrency=7, interval=timedelta(seconds=90))),
            replace(same, upstreams=(_CORP, _MIRROR)),
        ):
            await yard.service.reload(yard.routes, other)
            await settle(100)
        assert upstream.cut_off == 0
        upstream.release()
        await yard.until_empty()
        assert upstream.asked["push"] == 3


async def test_what_arrived_elsewhere_is_not_at_the_registry_that_has_its_name_now(tmp_path: Path) -> None:
    async with running(tmp_path) as yard:
        await yard.push(build_image("a"))
        await yard.until_empty()
        assert (await yard.service.wait_synced("team/app:v1")).synced
        yard.routes = FakeRoutes([FakeUpstream(registry="registry.new")])
        await yard.service.reload(yard.routes, settings_of(yard, replace(_CORP, registry="registry.new")))
        outcome = await yard.service.wait_synced("team/app:v1")
        assert not outcome.synced
        assert "never synced to corp" in outcome.reason


async def test_only_what_goes_to_an_upstream_that_changed_begins_again(tmp_path: Path) -> None:
    corp, mirror = FakeUpstream(held=asyncio.Event()), FakeUpstream(name="mirror", held=asyncio.Event())
    async with running(tmp_path, upstreams=[corp, mirror]) as yard:
        await yard.service.reload(yard.routes, settings_of(yard, _CORP, _MIRROR))
        await yard.push(build_image("a"))
        await yard.until(lambda: corp.sending == 3 or mirror.sending == 3, "something is being sent")
        await yard.until(lambda: corp.sending and mirror.sending, "both are being sent to")
        await yard.service.reload(yard.routes, settings_of(yard, _CORP, replace(_MIRROR, path="elsewhere")))
        await yard.until(lambda: mirror.cut_off, "the changed one's are cut off")
        assert corp.cut_off == 0
        corp.release()
        mirror.release()
        await yard.until_empty()
        assert await mirror.tag_of("team/app", "v1")


async def test_an_upstream_that_is_another_place_now_is_not_believed_to_have_what_the_old_one_had(
    tmp_path: Path,
) -> None:
    old, new = FakeUpstream(), FakeUpstream()
    async with running(tmp_path, upstreams=[old]) as yard:
        await yard.service.reload(yard.routes, settings_of(yard, _CORP))
        await yard.push(build_image("a"))
        await yard.until_empty()
        await yard.service.reload(FakeRoutes([new]), settings_of(yard, replace(_CORP, registry="new.corp")))
        await yard.push(build_image("a"), "v2")
        await yard.until_empty()
        assert new.asked["push"] == 3


@pytest.mark.parametrize("target", [None, "corp", "team/app:v1"])
async def test_retrying_sends_nothing_to_an_upstream_that_takes_no_pushes_any_more(
    tmp_path: Path, target: str | None
) -> None:
    upstream = FakeUpstream()
    async with running(tmp_path, upstreams=[upstream]) as yard:
        await yard.service.pause()
        await yard.push(build_image("a"))
        upstream.push = False
        await yard.service.reload(yard.routes, settings_of(yard, replace(_CORP, push=False)))
        await yard.service.resume()
        part = await yard.until_state("blocked")
        assert "settings" in part.reason
        with pytest.raises(NothingToTry, match=r"team/app:v1 can be tried.*corp takes no pushes"):
            await yard.service.retry(target)
        await settle(300)
        assert yard.part() == part
        assert not upstream.asked
        upstream.push = True
        await yard.service.reload(yard.routes, settings_of(yard, _CORP))
        await yard.until_empty()


async def test_retrying_counts_what_is_tried_alone(tmp_path: Path) -> None:
    async with running(tmp_path, upstreams=[FakeUpstream(away=True)]) as yard:
        await yard.push(build_image("a"), "v1")
        await yard.push(build_image("b"), "v2")
        await yard.until_state("waiting")
        only_v1 = replace(_CORP, tags=TagFilter(exclude=("v2",)))
        await yard.service.reload(yard.routes, settings_of(yard, only_v1))
        assert await yard.service.retry() == 1
        assert await yard.service.retry("corp") == 1
        with pytest.raises(NothingToTry, match=r"team/app:v2"):
            await yard.service.retry("team/app:v2")
        await yard.service.reload(FakeRoutes([]), settings_of(yard))
        with pytest.raises(NothingToTry, match="None of 2 images"):
            await yard.service.retry("team/app")


async def test_where_the_settings_say_how_to_sign_in_it_is_they_that_are_asked_for(tmp_path: Path) -> None:
    refused = UpstreamDenied("corp", "corp refused the password.", status=401)
    upstream = FakeUpstream(fault=lambda what, _: None if what == "ping" else refused)
    async with running(tmp_path, upstreams=[upstream]) as yard:
        await yard.service.reload(yard.routes, settings_of(yard, replace(_CORP, auth=_BASIC)))
        await yard.push(build_image("a"))
        part = await yard.until_state("blocked")
        assert (part.needs_credentials, part.needs_settings) == (False, True)
        health = yard.service.snapshot().upstreams[0]
        assert (health.needs_credentials, health.needs_settings) == (False, True)
        asked = upstream.asked.total()
        for _ in range(29):
            yard.clock.advance(10)
            await settle()
        assert upstream.asked.total() == asked, "a wrong password is not tried over and over"
        await yard.service.reload(yard.routes, settings_of(yard, _CORP))
        await yard.until(lambda: upstream.asked.total() > asked, "it's tried with the other settings")
        part = await yard.until_state("blocked")
        assert (part.needs_credentials, part.needs_settings) == (True, False)
        health = yard.service.snapshot().upstreams[0]
        assert (health.needs_credentials, health.needs_settings) == (True, False)


async def test_what_is_sent_to_an_upstream_that_takes_no_pushes_any_more_ends(tmp_path: Path) -> None:
    upstream = FakeUpstream(held=asyncio.Event())
    async with running(tmp_path, upstreams=[upstream]) as yard:
        await yard.push(build_image("a"))
        await yard.until(lambda: upstream.sending, "something is being sent")
        upstream.push = False
        await yard.service.reload(yard.routes, settings_of(yard))
        await yard.until(lambda: not upstream.sending, "it ended")
        upstream.release()
        await settle(300)
        assert "settings" in (await yard.until_state("blocked")).reason
        assert await upstream.tag_of("team/app", "v1") is None


async def test_a_marker_that_can_not_be_written_keeps_no_other_job_from_the_new_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    new = FakeUpstream(name="mirror")
    async with running(tmp_path) as yard:
        await yard.service.pause()
        for tag in ("v1", "v2", "v3"):
            await yard.push(build_image(tag), tag)

        def no_room(*_: object) -> bool:
            raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr("yarddesk.sync.journal.rewrite_marker", no_room)
            await yard.service.reload(FakeRoutes([new]), settings_of(yard, _MIRROR))
        assert "3 markers" in caplog.text
        await yard.service.resume()
        await yard.until_empty()
        assert all([await new.tag_of("team/app", tag) for tag in ("v1", "v2", "v3")])
