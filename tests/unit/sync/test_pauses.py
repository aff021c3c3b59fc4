"""A repository that is paused: what is queued of it, and what will be pushed to it, stays until it's resumed."""

from __future__ import annotations

import asyncio
import errno
import json
from datetime import datetime
from pathlib import Path

import pytest

from tests.support.fake_upstreams import FakeUpstream
from tests.support.images import build_image
from tests.unit.storage.gate import Gate
from tests.unit.sync.yard import REPOSITORY, running, settle
from yarddesk.content.upstream import UpstreamTrouble
from yarddesk.events import PauseChanged
from yarddesk.oci.name import RepositoryName
from yarddesk.settings.model import Settings, UpstreamSettings
from yarddesk.sync.errors import NothingToTry
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


@pytest.mark.parametrize("full", [False, True])
async def test_an_upstream_that_is_renamed_stays_paused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, full: bool
) -> None:
    def named(*names: str) -> Settings:
        return Settings(
            tmp_path, upstreams=tuple(UpstreamSettings(f"{n}.example", name) for n, name in enumerate(names))
        )

    async with running(tmp_path, upstreams=[FakeUpstream(), FakeUpstream(name="other")]) as yard:
        await yard.service.reload(yard.routes, named("corp", "other"))
        await yard.service.pause("corp")
        await yard.push(build_image("a"))
        await yard.until(lambda: yard.part(upstream="other").state == "done", "it's at the other one")
        if full:
            monkeypatch.setattr("yarddesk.sync.pauses.replace_file", _no_room)
        # The names change places.
        yard.routes.upstreams[:] = [FakeUpstream(name="other"), FakeUpstream(name="corp")]
        await yard.service.reload(yard.routes, named("other", "corp"))
        await yard.push(build_image("b"))
        await yard.until(lambda: yard.part(upstream="corp").state == "done", "it's at the one that is called so now")
        assert yard.part(upstream="other").state == "paused"
        if not full:
            assert list(json.loads((tmp_path / "paused.json").read_text())["upstreams"]) == ["other"]


def _no_room(path: Path, _: bytes) -> None:
    raise OSError(errno.ENOSPC, "No space left on device", str(path))


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


@pytest.mark.parametrize(
    ("pauses", "why", "how"),
    [
        ([None], "Everything is paused.", "Resume all of it (yarddesk resume)."),
        ([None, "corp", "team/app"], "Everything is paused.", "Resume all of it (yarddesk resume)."),
        (["corp"], "corp is paused.", "Resume it (yarddesk resume corp)."),
        (["team/app", "team/app:v1"], "team/app is paused.", "Resume it (yarddesk resume team/app)."),
        (["team/app:v1"], "team/app:v1 is paused.", "Resume it (yarddesk resume team/app:v1)."),
        (
            ["team/app:v1", "corp"],
            "team/app:v1 and corp are paused.",
            "Resume it (yarddesk resume team/app:v1, yarddesk resume corp).",
        ),
    ],
)
@pytest.mark.parametrize("target", [None, "corp", "team/app", "team/app:v1"])
async def test_retrying_what_is_paused_says_what_keeps_it_and_how_to_go_on(
    tmp_path: Path, pauses: list[str | None], why: str, how: str, target: str | None
) -> None:
    async with running(tmp_path, upstreams=[FakeUpstream(away=True)]) as yard:
        await yard.push(build_image("a"), "v1")
        await yard.until_state("waiting")
        for each in pauses:
            await yard.service.pause(each)
        asked = yard.upstream.asked.total()
        with pytest.raises(NothingToTry) as refused:
            await yard.service.retry(target)
        assert refused.value.title == "Nothing of team/app:v1 can be tried now."
        assert refused.value.hint == f"{why} {how}"
        assert yard.service.kept_back(target) == f"1 image is kept back. {why} {how}"
        await settle(200)
        assert yard.part().state == "paused"
        assert yard.upstream.asked.total() == asked
        yard.upstream.away = False
        for command in _commands(how):
            await yard.service.resume(command)
        await yard.until_empty()


def _commands(hint: str) -> list[str | None]:
    """What a person would type."""
    typed = hint[hint.index("(") + 1 : hint.index(")")].split(", ")
    return [each.removeprefix("yarddesk resume").strip() or None for each in typed]


async def test_retrying_what_is_paused_in_part_counts_what_is_tried_and_says_what_is_not(tmp_path: Path) -> None:
    corp, mirror = FakeUpstream(away=True), FakeUpstream(name="mirror", away=True)
    async with running(tmp_path, upstreams=[corp, mirror]) as yard:
        for number in range(6):
            await yard.push(build_image(f"image-{number}"), f"v{number}")
        await yard.until_state("waiting", "team/app:v5", "mirror")
        assert await yard.service.retry() == 6
        assert yard.service.kept_back() == ""
        await yard.service.pause("mirror")
        assert await yard.service.retry() == 6
        assert yard.service.kept_back("corp") == ""
        in_part = "Some of it is kept back. mirror is paused. Resume it (yarddesk resume mirror)."
        assert yard.service.kept_back() == in_part
        await yard.service.resume("mirror")
        for number in range(2):
            await yard.service.pause(f"team/app:v{number}")
        assert await yard.service.retry("team/app") == 4
        assert yard.service.kept_back() == (
            "2 images are kept back. team/app:v0 and team/app:v1 are paused."
            " Resume it (yarddesk resume team/app:v0, yarddesk resume team/app:v1)."
        )
        for number in range(2, 5):
            await yard.service.pause(f"team/app:v{number}")
        assert await yard.service.retry() == 1
        assert yard.service.kept_back() == (
            "5 images are kept back. team/app:v0, team/app:v1, team/app:v2 and 2 more are paused."
            " Resume all of it (yarddesk resume)."
        )
        assert await yard.service.move_up("team/app:v0") == 1
        assert yard.service.kept_back("team/app:v0").startswith("1 image is kept back. team/app:v0 is paused.")
        corp.away = mirror.away = False
        await yard.service.resume()
        await yard.service.retry()
        await yard.until_empty()


async def test_what_was_retried_while_it_was_paused_does_not_wait_for_its_next_try_once_resumed(tmp_path: Path) -> None:
    refusing = [UpstreamTrouble("corp", "busy", temporary=True, status=429, retry_after_seconds=600)]
    upstream = FakeUpstream(fault=lambda _what, _of: refusing.pop() if refusing else None)
    async with running(tmp_path, upstreams=[upstream]) as yard:
        await yard.push(build_image("a"))
        await yard.until_state("waiting")
        await yard.service.pause("team/app")
        with pytest.raises(NothingToTry):
            await yard.service.retry("team/app:v1")
        await yard.service.resume("team/app")
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


async def test_a_pause_that_is_cancelled_while_it_is_written_holds_and_others_wait_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, first, second = tmp_path / "paused.json", Paused("corp"), Paused("mirror")
    pauses = Pauses(path)
    with monkeypatch.context() as patch:
        gate = Gate(patch, "replace")
        left = asyncio.ensure_future(pauses.pause(first, None))
        try:
            await gate.reached()
            left.cancel()
            other = asyncio.ensure_future(pauses.pause(second, None))
            await settle(20)
            assert not left.done()
        finally:
            gate.open()
        await asyncio.wait([left, other])
    again = Pauses(path)
    await again.load(datetime.fromisoformat("2026-01-01T00:00:00+00:00"))
    assert all(known.holds(each) for known in (pauses, again) for each in (first, second))


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
