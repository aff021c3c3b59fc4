"""What can't be read or written on this machine's disk: it is said, and nothing else stops because of it."""

from __future__ import annotations

import errno
import logging
from pathlib import Path

import pytest

from tests.support.fake_upstreams import FakeUpstream
from tests.support.images import build_image
from tests.unit.sync.yard import Yard, running, settle
from yarddesk.content.errors import StorageError
from yarddesk.oci.descriptor import Descriptor
from yarddesk.oci.digest import Digest
from yarddesk.oci.name import Reference, RepositoryName


def denied(*_: object) -> bool:
    raise PermissionError(errno.EACCES, "Permission denied")


async def test_a_folder_that_can_not_be_looked_at_ends_no_syncing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    upstream = FakeUpstream(away=True)
    async with running(tmp_path, upstreams=[upstream]) as yard:
        await yard.push(build_image("a"))
        await yard.until_state("waiting")
        with monkeypatch.context() as patch:
            patch.setattr("yarddesk.sync.journal.marker_names", lambda _: set())
            patch.setattr("yarddesk.sync.journal.is_there", denied)
            yard.clock.advance(3601)
            await yard.until(lambda: "looked after" in caplog.text, "it is said")
        assert yard.job() is not None
        upstream.away = False
        await yard.service.retry()
        await yard.until_empty()


async def test_a_fault_in_the_look_at_the_folder_ends_no_syncing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fault(*_: object) -> set[str]:
        raise RuntimeError("a fault")

    async with running(tmp_path) as yard:
        with monkeypatch.context() as patch:
            patch.setattr("yarddesk.sync.journal.marker_names", fault)
            yard.clock.advance(3601)
            await yard.until(lambda: "a fault" in caplog.text, "it is said")
        await yard.push(build_image("a"))
        await yard.until_empty()


async def test_the_end_of_a_pause_that_can_not_be_written_stays_due_and_is_not_tried_all_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    upstream = FakeUpstream(away=True)
    async with running(tmp_path, upstreams=[upstream]) as yard:
        await yard.push(build_image("a"))
        await yard.until_state("waiting")
        await yard.service.pause("team/app:v1", for_seconds=60)
        with monkeypatch.context() as patch:
            patch.setattr("yarddesk.sync.journal.rewrite_marker", denied)
            yard.clock.advance(61)
            await yard.until(lambda: "looked after" in caplog.text, "it is said")
            await settle(500)
            assert len([record for record in caplog.records if record.levelno >= logging.ERROR]) == 1
            assert yard.part().state == "paused"
        upstream.away = False
        yard.clock.advance(10)
        await yard.until(lambda: not yard.job() or not yard.job().paused, "the pause ended")
        await yard.service.retry()
        await yard.until_empty()


@pytest.mark.parametrize("trouble", [StorageError("A file can't be read."), OSError(errno.EIO, "Input/output error")])
async def test_one_image_that_can_not_be_read_keeps_no_other_from_being_synced_after_a_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trouble: Exception
) -> None:
    upstream = FakeUpstream()
    async with running(tmp_path, upstreams=[upstream]) as yard:
        await yard.service.pause()
        for tag in ("v1", "v2"):
            await yard.push(build_image(tag), tag)
        resolve = yard.store.resolve

        async def unreadable(repository: RepositoryName, reference: Reference) -> Descriptor:
            if reference == "v1":
                raise trouble
            found: Descriptor = await resolve(repository, reference)
            return found

        async def unreadable_together(*_: object) -> list[Digest | None]:
            raise trouble

        with monkeypatch.context() as patch:
            patch.setattr(yard.store, "resolve", unreadable)
            patch.setattr(yard.store, "glance", unreadable_together)
            await yard.restart()
            assert {job.id for job in yard.service.snapshot().jobs} == {"team/app:v1", "team/app:v2"}
            await yard.service.resume()
            await yard.until(lambda: not yard.job("team/app:v2"), "the other is synced")
            assert yard.marker("v1").is_file()
            part = await yard.until_state("waiting")
            assert str(trouble.args[-1]) in part.reason
        yard.clock.advance(6)
        await yard.until_empty()
        assert await upstream.tag_of("team/app", "v1")


async def test_a_damaged_marker_that_can_not_be_set_aside_keeps_nothing_from_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    yard = Yard(tmp_path)
    yard.marker("bad").parent.mkdir(parents=True)
    yard.marker("bad").write_text("{")
    monkeypatch.setattr("yarddesk.sync.marker_files._set_aside", denied)
    await yard.service.start()
    try:
        assert "can't be read" in caplog.text
        await yard.push(build_image("a"))
        await yard.until_empty()
    finally:
        await yard.service.stop()
