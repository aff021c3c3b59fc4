"""Markers on disk: durable, readable, theirs and Switchyard's, and nothing that a damaged one could do."""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import os
import stat
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.disk_calls import DiskCalls
from tests.support.fake_upstreams import FakeUpstream
from tests.support.images import build_image, build_index
from tests.unit.sync.yard import REPOSITORY, running
from yarddesk.content.errors import StorageError
from yarddesk.oci.digest import Digest
from yarddesk.oci.name import RepositoryName, Tag
from yarddesk.sync.journal import Journal
from yarddesk.sync.marker import DamagedMarker, decode_marker, encode_marker, job_of


def away() -> list[FakeUpstream]:
    return [FakeUpstream(away=True)]


async def test_a_marker_says_what_the_contract_promises(tmp_path: Path) -> None:
    async with running(tmp_path, upstreams=away()) as yard:
        manifest = await yard.push(build_image("a"))
        await yard.until_state("waiting")
        await yard.until(lambda: json.loads(yard.marker().read_text())["upstreams"]["corp"]["reason"])
        marker = json.loads(yard.marker().read_text())
        part = marker["upstreams"].pop("corp")
        assert {key: marker[key] for key in ("schema", "repository", "reference", "digest", "generation")} == {
            "schema": 1,
            "repository": "team/app",
            "reference": "v1",
            "digest": manifest.digest,
            "generation": 1,
        }
        assert marker["media_type"] == manifest.media_type
        assert (part["state"], part["tries"]) == ("waiting", 0)
        assert part["next_attempt"] > marker["created"]
        assert part["reason"]
        assert stat.S_IMODE(yard.marker().stat().st_mode) == 0o600
        assert stat.S_IMODE(yard.marker().parent.stat().st_mode) == 0o700


async def test_names_are_encoded_as_the_store_does(tmp_path: Path) -> None:
    async with running(tmp_path, upstreams=away()) as yard:
        image = build_image("a")
        await yard.push(image, "V1.json", repository=RepositoryName.parse("con/a.json"))
        assert (tmp_path / "pending" / "%63on" / "a%2Ejson" / "%561%2Ejson.json").is_file()
        await yard.put_blobs(image)
        manifest = await yard.push_manifest(image.manifest)
        assert (tmp_path / "pending" / "team" / "app" / f"sha256_{manifest.digest.hex}.json").is_file()
        await yard.restart()
        assert {job.id for job in yard.service.snapshot().jobs} == {
            "con/a.json:V1.json",
            f"team/app@{manifest.digest}",
        }


async def test_unknown_keys_are_kept(tmp_path: Path) -> None:
    async with running(tmp_path, upstreams=away()) as yard:
        await yard.push(build_image("a"))
        await yard.until_state("waiting")
        await yard.service.stop()
        marker = json.loads(yard.marker().read_text())
        marker["ticket"] = "OPS-1"
        marker["upstreams"]["corp"]["colour"] = "red"
        yard.marker().write_text(json.dumps(marker))
        await yard.restart()
        await yard.service.pause("team/app:v1")
        marker = json.loads(yard.marker().read_text())
        assert (marker["ticket"], marker["upstreams"]["corp"]["colour"]) == ("OPS-1", "red")


@pytest.mark.parametrize("content", ["", "{", "[]", '{"schema": 2}', '{"schema": 1, "repository": "../x"}', "null"])
async def test_a_damaged_marker_is_set_aside_and_told_and_the_rest_goes_on(
    tmp_path: Path, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(tmp_path, upstreams=away()) as yard:
        await yard.push(build_image("a"))
        await yard.service.stop()
        yard.marker("broken").write_text(content)
        with caplog.at_level(logging.ERROR):
            await yard.restart()
        assert [job.id for job in yard.service.snapshot().jobs] == ["team/app:v1"]
        aside = tmp_path / "pending" / "team" / "app" / "broken.json.damaged"
        assert aside.read_text() == content
        assert "broken.json" in caplog.text
        told = yard.service.snapshot().set_aside
        assert [each.file for each in told] == ["team/app/broken.json.damaged"]
        assert told[0].reason
        await yard.restart()
        assert yard.service.snapshot().set_aside == told, "it's told of as long as it's there"
        aside.unlink()
        await yard.until(lambda: not yard.service.snapshot().set_aside, "it's gone, and not told of any more")


@pytest.mark.parametrize("content", ["", "{", '{"schema": 2}'])
async def test_what_a_damaged_marker_queued_is_queued_again(tmp_path: Path, content: str) -> None:
    async with running(tmp_path, upstreams=away()) as yard:
        manifest = await yard.push(build_image("a"), "v1")
        await yard.push(build_image("b"), "v2")
        await yard.service.stop()
        yard.marker("v1").write_text(content)
        await yard.restart()
        jobs = {job.id: job for job in yard.service.snapshot().jobs}
        assert set(jobs) == {"team/app:v1", "team/app:v2"}
        assert jobs["team/app:v1"].digest == manifest.digest
        assert [part.upstream for part in jobs["team/app:v1"].parts] == ["corp"]
        assert json.loads(yard.marker("v1").read_text())["digest"] == manifest.digest


async def test_the_markers_of_switchyard_go_on_as_ours(tmp_path: Path) -> None:
    async with running(tmp_path, upstreams=away()) as yard:
        manifest = await yard.push(build_image("a"), "Mixed")
        await yard.service.cancel()
        await yard.service.stop()
        folder = tmp_path / "pending" / "team" / "app"
        document = {
            "name": "team/app",
            "reference": "Mixed",
            "retries": 3,
            "next_attempt": 1700000000.0,
            "created": "2025-01-01T10:00:00",
        }
        (folder / "Mixed.json").write_text(json.dumps(document))
        await yard.restart()
        job = yard.job("team/app:Mixed")
        assert (job.digest, job.parts[0].tries >= 3) == (manifest.digest, True)
        assert not (folder / "Mixed.json").exists()
        assert json.loads((folder / "%4Dixed.json").read_text())["schema"] == 1
        yard.upstream.away = False
        await yard.service.retry()
        await yard.until_empty()


async def test_at_the_start_a_marker_follows_its_tag(tmp_path: Path) -> None:
    async with running(tmp_path, upstreams=away()) as yard:
        older = await yard.push(build_image("older"))
        await yard.service.stop()
        newer = build_image("newer")
        await yard.put_blobs(newer)
        from yarddesk.oci.manifest import parse_manifest

        manifest = parse_manifest(newer.manifest.content, newer.manifest.media_type)
        await yard.store.put_manifest(REPOSITORY, manifest)
        await yard.store.put_tag(REPOSITORY, Tag.parse("v1"), manifest.digest)
        await yard.restart()
        assert yard.job().digest == manifest.digest != older.digest
        assert json.loads(yard.marker().read_text())["digest"] == manifest.digest
        assert yard.job().generation == 2


async def test_at_the_start_a_marker_stays_while_its_tag_or_its_manifest_is_here(tmp_path: Path) -> None:
    async with running(tmp_path, upstreams=away()) as yard:
        image = build_image("a")
        await yard.put_blobs(image)
        await yard.push_manifest(image.manifest, "v1", move_tag=False)
        await yard.restart()
        assert yard.job()
        await yard.store.delete_manifest(REPOSITORY, yard.job().digest)
        await yard.restart()
        assert not yard.job()
        assert not yard.marker().exists()
        assert yard.service.history()[0].outcome == "cancelled"


async def test_what_a_crash_left_of_a_write_is_cleared_away(tmp_path: Path) -> None:
    async with running(tmp_path, upstreams=away()) as yard:
        await yard.push(build_image("a"))
        await yard.service.stop()
        leftover = yard.marker().parent / ".tmp-0123456789abcdef"
        leftover.write_text('{"schema": 1')
        await yard.restart()
        assert not leftover.exists()
        assert len(yard.service.snapshot().jobs) == 1


async def test_an_index_that_was_superseding_its_children_goes_on_doing_so_after_a_restart(tmp_path: Path) -> None:
    async with running(tmp_path, upstreams=away()) as yard:
        index = build_index("multi")
        await yard.push(index)
        await yard.restart()
        await yard.push_manifest(index.manifests[0])
        assert [job.id for job in yard.service.snapshot().jobs] == ["team/app:v1"]


async def test_a_push_fails_when_its_marker_can_not_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(tmp_path, upstreams=away()) as yard:

        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("yarddesk.storage.state_files.write_durably", full)
        with pytest.raises(StorageError):
            await yard.push(build_image("a"))
        assert not yard.service.snapshot().jobs


async def test_a_push_whose_client_hangs_up_is_queued_or_not_but_never_half(tmp_path: Path) -> None:
    async with running(tmp_path, upstreams=away()) as yard:
        image = build_image("a")
        await yard.put_blobs(image)
        for turn in range(30):
            pushing = asyncio.create_task(yard.push_manifest(image.manifest, f"v{turn}"))
            for _ in range(turn):
                await asyncio.sleep(0)
            pushing.cancel()
            await asyncio.wait([pushing])
        await yard.service._queue.journal.close()
        on_disk = {path.stem for path in (tmp_path / "pending").rglob("*.json")}
        assert on_disk == {str(job.reference) for job in yard.service.snapshot().jobs}


async def test_pushing_costs_the_same_however_long_the_queue_is(tmp_path: Path) -> None:
    """Counted in calls, not in time: nothing looks at other jobs."""
    async with running(tmp_path, upstreams=away()) as yard:
        await yard.service.pause()
        image = build_image("a")
        await yard.put_blobs(image)

        def opened() -> int:
            return sum(1 for _ in (tmp_path / "pending").rglob("*"))

        for number in range(50):
            await yard.push_manifest(image.manifest, f"v{number}")
        assert opened() == 52
        assert len(yard.service._queue.schedule._tickets) == 50


@given(
    st.binary(max_size=200)
    | st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists).map(
        lambda x: json.dumps(x).encode()
    )
)
def test_whatever_lies_in_the_folder_is_a_marker_or_damaged(content: bytes) -> None:
    from datetime import UTC, datetime

    try:
        decode_marker(content, datetime.now(UTC))
    except DamagedMarker:
        return


_FIELDS = st.fixed_dictionaries(
    {
        "schema": st.just(1),
        "repository": st.sampled_from(["team/app", "..", 5, None]),
        "reference": st.sampled_from(["v1", "sha256:" + "0" * 64, "", 7]),
        "digest": st.sampled_from(["sha256:" + "a" * 64, "sha256:zz", None]),
        "created": st.sampled_from(["2026-01-01T00:00:00Z", 1.5, "yesterday", float("1e300"), None]),
        "priority": st.sampled_from([None, 0, 2, -1]),
        "generation": st.sampled_from([1, -3, "x", None, 10**30]),
        "upstreams": st.none()
        | st.lists(st.integers())
        | st.dictionaries(
            st.text(max_size=5),
            st.none() | st.fixed_dictionaries({"state": st.sampled_from(["queued", "paused", "done", "odd", 5])}),
            max_size=3,
        ),
    }
)


@given(_FIELDS)
def test_a_marker_of_the_wrong_shape_is_damaged_and_one_of_the_right_shape_survives_writing(
    document: dict[str, Any],
) -> None:
    from datetime import UTC, datetime

    now = datetime.now(UTC)
    try:
        marker = decode_marker(json.dumps(document).encode(), now)
    except DamagedMarker:
        return
    assert marker.digest is not None
    job = job_of(marker, marker.digest, marker.media_type, marker.upstreams or {}, marker.generation)
    again = decode_marker(encode_marker(job), now)
    assert (again.repository, again.reference, again.digest, again.generation, again.priority) == (
        marker.repository,
        marker.reference,
        marker.digest,
        marker.generation,
        marker.priority,
    )


async def test_an_older_generation_takes_nothing_out_of_the_queue(tmp_path: Path) -> None:
    journal, tag = Journal(tmp_path), Tag.parse("v1")
    digests = [Digest.of(content) for content in (b"one", b"two")]
    (older, _), (newer, replaced) = [
        await journal.put(REPOSITORY, tag, digest, "", ["corp"], datetime.now(UTC)) for digest in digests
    ]
    assert replaced is older
    assert not await journal.remove(older)
    assert not await journal.save(older)
    assert journal.is_current(newer)
    assert str(digests[1]) in journal.path_of(REPOSITORY, tag).read_text()
    assert await journal.remove(newer)
    assert not journal.path_of(REPOSITORY, tag).exists()
    await journal.close()


def marker_calls(data: Path, at: Callable[[int, str], None] = lambda count, name: None) -> DiskCalls:
    return DiskCalls(at, f"{data.parent}/")


async def test_folders_that_a_killed_run_made_are_durable_before_a_push_is_queued_in_them(tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "pending" / "team" / "app").mkdir(parents=True)
    calls = marker_calls(data)
    calls.install()
    try:
        async with running(data, upstreams=away()) as yard:
            await yard.push(build_image("a"))
    finally:
        calls.uninstall()
    queued = next(number for number, call in enumerate(calls.made) if call.startswith("replace data/pending/team/app/"))
    synced = {call for call in calls.made[: queued + 2] if call.startswith("fsync")}
    assert {f"fsync data{below}" for below in ("", "/pending", "/pending/team", "/pending/team/app")} <= synced


async def test_a_folder_whose_name_was_not_durable_is_made_so_by_the_next_push(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    failed: list[int] = []

    def fail_once(number: int, name: str) -> None:
        if name == "fsync" and calls.made[-1] == "fsync data/pending/team" and not failed:
            failed.append(number)
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    calls = marker_calls(data, fail_once)
    async with running(data, upstreams=away()) as yard:
        calls.install()
        try:
            with pytest.raises(StorageError):
                await yard.push(build_image("a"), "v1")
            await yard.push(build_image("b"), "v2")
        finally:
            calls.uninstall()
    assert calls.made.count("fsync data/pending/team") == 2
    assert set(yard.marker().parent.iterdir()) == {yard.marker("v2")}


async def test_the_queue_is_not_led_out_of_its_folder_by_a_link(tmp_path: Path) -> None:
    data, away_from_it = tmp_path / "data", tmp_path / "elsewhere"
    (data / "pending").mkdir(parents=True)
    away_from_it.mkdir()
    (data / "pending" / "team").symlink_to(away_from_it)
    async with running(data, upstreams=away()) as yard:
        with pytest.raises(StorageError, match="symbolic link"):
            await yard.push(build_image("a"))
    assert list(away_from_it.iterdir()) == []
