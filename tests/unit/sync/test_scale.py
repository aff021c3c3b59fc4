"""Ten thousand images that wait cost next to nothing while nothing changes."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest

from tests.support.clocks import HandClock
from tests.support.fake_upstreams import FakeUpstream
from tests.support.images import OCI_INDEX, Content, build_image, build_index
from tests.unit.sync.yard import REPOSITORY, parse_digest, running, settle
from yarddesk.oci.manifest import Manifest
from yarddesk.oci.name import Reference, RepositoryName, Tag
from yarddesk.settings.model import SyncSettings
from yarddesk.storage import durable
from yarddesk.sync.errors import NothingToTry
from yarddesk.sync.journal import Journal
from yarddesk.sync.marker import Job
from yarddesk.sync.marker_files import QuietFolders
from yarddesk.sync.startup import Startup
from yarddesk.sync.watch import FolderWatch


async def test_folders_in_which_nothing_changed_are_not_listed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = RepositoryName.parse("team/other")
    async with running(tmp_path, upstreams=[FakeUpstream(away=True)]) as yard:
        await yard.service.pause()
        await yard.push(build_image("a"), "v1", "v2")
        await yard.push(build_image("a"), "v1", repository=other)
        folders = [yard.marker().parent, yard.marker(repository="team/other").parent]
        yard.service._watch.stop()
        for folder in folders:
            os.utime(folder, (1_000_000, 1_000_000))
        listed: list[str] = []
        listdir = os.listdir

        def noted(path: Path) -> list[str]:
            listed.append(str(path))
            return listdir(path)

        monkeypatch.setattr("yarddesk.sync.marker_files.os.listdir", noted)
        await yard.service._watch.scan()
        assert sorted(listed) == [str(folder) for folder in folders]
        await yard.service._watch.scan()
        assert len(listed) == 2, "nothing changed"
        yard.marker().unlink()
        await yard.service._watch.scan()
        assert listed[2:] == [str(folders[0])]
        assert {job.id for job in yard.service.snapshot().jobs} == {f"{REPOSITORY}:v2", f"{other}:v1"}


async def test_a_start_looks_at_names_and_reads_what_is_not_as_its_marker_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = RepositoryName.parse("team/other")
    async with running(tmp_path) as yard:
        await yard.service.pause()
        for tag in ("v1", "v2", "v3"):
            await yard.push(build_image(tag), tag)
            await yard.push(build_image(tag), tag, repository=other)
        await yard.store.put_tag(REPOSITORY, Tag.parse("v2"), parse_digest(build_image("v1").manifest.digest))
        asked: list[tuple[str, str, int]] = []
        resolve, glance = yard.store.resolve, yard.store.glance

        async def noted_resolve(repository: RepositoryName, reference: Reference) -> object:
            asked.append(("resolve", f"{repository}:{reference}", 1))
            return await resolve(repository, reference)

        async def noted_glance(repository: RepositoryName, references: Sequence[Reference]) -> object:
            asked.append(("glance", repository, len(references)))
            return await glance(repository, references)

        monkeypatch.setattr(yard.store, "resolve", noted_resolve)
        monkeypatch.setattr(yard.store, "glance", noted_glance)
        await yard.restart()
        assert sorted(asked) == [("glance", REPOSITORY, 3), ("glance", other, 3), ("resolve", f"{REPOSITORY}:v2", 1)]
        digests = {job.id: job.digest for job in yard.service.snapshot().jobs}
        assert len(digests) == 6
        assert digests[f"{REPOSITORY}:v2"] == build_image("v1").manifest.digest
        await yard.service.resume()
        await yard.until_empty()


async def test_what_an_index_carries_is_in_its_marker_and_need_not_be_read_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = build_index("many")
    async with running(tmp_path, upstreams=[FakeUpstream(away=True)]) as yard:
        await yard.service.pause()
        await yard.push(index)
        kept = json.loads(yard.marker().read_text())["carries"]
        assert sorted(kept) == sorted(image.manifest.digest for image in index.images)
        read: list[Reference] = []
        loading: list[bool] = []
        get_manifest = yard.store.get_manifest

        async def noted(repository: RepositoryName, reference: Reference) -> Manifest:
            if loading:
                read.append(reference)
            manifest: Manifest = await get_manifest(repository, reference)
            return manifest

        load = Startup.load

        async def noted_load(startup: Startup) -> None:
            loading.append(True)
            await load(startup)
            loading.clear()

        monkeypatch.setattr(yard.store, "get_manifest", noted)
        monkeypatch.setattr(Startup, "load", noted_load)
        await yard.restart()
        assert read == []
        await yard.push_manifest(index.images[0].manifest)
        assert len(yard.service.snapshot().jobs) == 1, "the index still takes it along"
        # As an earlier version left it.
        document = json.loads(yard.marker().read_text())
        del document["carries"]
        await yard.service.stop()
        yard.marker().write_text(json.dumps(document))
        await yard.restart()
        assert read == [parse_digest(index.manifest.digest)]
        await yard.push_manifest(index.images[1].manifest)
        assert len(yard.service.snapshot().jobs) == 1


async def test_an_index_of_indexes_is_read_at_the_start(tmp_path: Path) -> None:
    inner = build_index("inner")
    outer = Content(
        OCI_INDEX,
        json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [inner.manifest.descriptor]}).encode(),
    )
    async with running(tmp_path, upstreams=[FakeUpstream(away=True)]) as yard:
        await yard.service.pause()
        await yard.push(inner, "inner")
        await yard.push_manifest(outer, "outer")
        assert "carries" not in json.loads(yard.marker("outer").read_text())
        await yard.restart()
        await yard.push_manifest(inner.images[0].manifest)
        assert {job.id for job in yard.service.snapshot().jobs} == {f"{REPOSITORY}:inner", f"{REPOSITORY}:outer"}


async def test_a_command_about_many_images_waits_for_the_disk_as_often_as_about_few(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[str] = []
    for name in ("sync_file", "sync_folder"):
        original = getattr(durable, name)

        def noted(descriptor: int, name: str = name, original: Callable[[int], None] = original) -> None:
            waited.append(name)
            original(descriptor)

        monkeypatch.setattr(durable, name, noted)

    async def costs(folder: Path, images: int) -> dict[str, int]:
        folder.mkdir()
        async with running(folder, upstreams=[FakeUpstream(away=True)]) as yard:
            await yard.service.pause()  # so that nothing else is written
            for number in range(images):
                await yard.push(build_image("a"), f"v{number}")
            commands = {
                "pause all": yard.service.pause(),
                "pause a repository": yard.service.pause(str(REPOSITORY)),
                "resume a repository": yard.service.resume(str(REPOSITORY)),
                "pause an upstream": yard.service.pause("corp"),
                "retry": yard.service.retry(),
                "resume an upstream": yard.service.resume("corp"),
                "cancel": yard.service.cancel(),
            }
            counted = {}
            for what, command in commands.items():
                waited.clear()
                with suppress(NothingToTry):  # all of it is paused
                    await command
                counted[what] = len(waited)
            assert not yard.service.snapshot().jobs
            return counted

    few, many = await costs(tmp_path / "few", 2), await costs(tmp_path / "many", 40)
    assert few == many
    assert max(many.values()) <= 4, many


async def test_a_delete_looks_up_the_jobs_that_it_cancels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(tmp_path, upstreams=[FakeUpstream(away=True)]) as yard:
        await yard.service.pause()
        first, second = build_image("a"), build_image("b")
        await yard.push(first, "v1", "v2")
        await yard.push(second, "v3", "v4")

        def looked_through(_journal: Journal, _repository: RepositoryName) -> list[Job]:
            raise AssertionError("all that is queued of the repository is looked through")

        monkeypatch.setattr(Journal, "in_repository", looked_through)
        await yard.service.tag_deleted(REPOSITORY, Tag.parse("v3"))
        await yard.service.tag_deleted(REPOSITORY, Tag.parse("never-queued"))
        await yard.service.manifest_deleted(REPOSITORY, parse_digest(first.manifest.digest), ())
        assert {job.id for job in yard.service.snapshot().jobs} == {f"{REPOSITORY}:v4"}


async def test_a_look_at_the_folder_that_takes_long_is_taken_less_often_while_the_system_tells_of_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[float] = []
    clock = HandClock()

    async def slow(_watch: FolderWatch) -> None:
        looks.append(clock.monotonic())
        clock.advance(0.1)

    monkeypatch.setattr(FolderWatch, "scan", slow)
    async with running(tmp_path, clock=clock, sync=SyncSettings(interval=timedelta(seconds=10))) as yard:
        await yard.until(lambda: len(looks) == 1, "a look")
        await settle()
        clock.advance(90)
        await settle(200)
        assert len(looks) == 1
        clock.advance(11)
        await yard.until(lambda: len(looks) == 2, "after a thousand times as long")
        await settle()
        yard.service._watch.tells = False
        yard.service._queue.timer.set()
        await settle(200)
        clock.advance(11)
        await yard.until(lambda: len(looks) == 3, "as the settings say, where nothing else tells")


def test_a_folder_that_changed_just_now_is_not_quiet(tmp_path: Path) -> None:
    quiet, folder = QuietFolders(), tmp_path / "app"
    folder.mkdir()
    assert quiet.changed([folder]) == [folder]
    assert quiet.changed([folder]) == [folder], "it may have changed again at the same time"
    past = time.time() - 60
    os.utime(folder, (past, past))
    assert quiet.changed([folder]) == [folder]
    assert quiet.changed([folder]) == []
    folder.rmdir()
    assert quiet.changed([folder]) == [folder]


def test_now_and_then_all_folders_are_looked_through(tmp_path: Path) -> None:
    quiet, folder = QuietFolders(), tmp_path
    os.utime(folder, (1_000_000, 1_000_000))
    looks = [bool(quiet.changed([folder])) for _ in range(61)]
    assert [at for at, looked in enumerate(looks) if looked] == [0, 30, 60]
