"""Ten thousand images that wait cost next to nothing while nothing changes."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.support.fake_upstreams import FakeUpstream
from tests.support.images import build_image
from tests.unit.sync.yard import REPOSITORY, running
from yarddesk.oci.name import RepositoryName
from yarddesk.sync.marker_files import QuietFolders


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
