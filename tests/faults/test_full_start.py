"""A start on a disk that is full already: what is stored is served, pushes are refused in words, and all goes on with room."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.peers.yarddesk import YarddeskProcess
from tests.support.disks import filled, refused_for_want_of_room, small_disk
from tests.support.images import build_image
from tests.support.waiting import until

BEFORE = build_image("before", (300_000,))
NEW = build_image("new", (400_000,))
CONFIG = "upstreams: []\ncache: {min_free: 0}\n"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", 16) as disk:
        yield disk


def push_is_refused(serve: YarddeskProcess) -> None:
    """A blob's, and a manifest's of blobs that are here; and nothing of it stays."""
    path, plain = f"/v2/team/app/blobs/uploads/?digest={NEW.layers[0].digest}", "application/octet-stream"
    status, _, body = serve.request("POST", path, NEW.layers[0].content, {"Content-Type": plain})
    refused_for_want_of_room(status, body)
    manifest = BEFORE.manifest
    status, _, body = serve.request(
        "PUT", "/v2/team/app/manifests/2", manifest.content, {"Content-Type": manifest.media_type}
    )
    refused_for_want_of_room(status, body)
    assert serve.tags("team/app") == ["1"]
    until(lambda: list((serve.data_dir / "uploads").iterdir()) == [], 10, "nothing partial")


def is_found(serve: YarddeskProcess) -> bool:
    """Whether the commands find it."""
    try:
        document = json.loads((serve.data_dir / "control.json").read_text())
    except FileNotFoundError:
        return False
    assert document["url"] == serve.url
    assert document["pid"] == serve.pid
    return True


@pytest.mark.parametrize("mode", ["serve", "desktop"])
@pytest.mark.parametrize("ended", ["in order", "killed"])
def test_it_starts_is_found_and_goes_on_once_there_is_room(make_yarddesk, disk, mode, ended, request):
    environment = request.getfixturevalue("desktop").environment if mode == "desktop" else None
    app = make_yarddesk(mode=mode, data_dir=disk / "data", config=CONFIG, environment=environment)
    assert (app.data_dir / "reserve").exists()
    app.push("team/app", "1", BEFORE)
    if ended == "killed":
        app.kill()
    else:
        app.terminate()
    with filled(disk):
        app.start()
        assert is_found(app)
        assert app.holds("team/app", "1", BEFORE)
        assert json.loads(app.run("status", "--json").stdout)["url"] == app.url
        app.run("gc")
        (disk / "more").mkdir()
        with filled(disk / "more"):
            push_is_refused(app)
    app.push("team/app", "2", NEW)
    app.restart()
    assert app.holds("team/app", "1", BEFORE)
    assert app.holds("team/app", "2", NEW)


def test_where_no_room_was_kept_it_serves_and_is_found_as_soon_as_there_is_some(make_yarddesk, disk):
    serve = make_yarddesk(data_dir=disk / "data", config=CONFIG)
    serve.push("team/app", "1", BEFORE)
    serve.terminate()
    (serve.data_dir / "reserve").unlink()
    with filled(disk):
        serve.start()
        assert not is_found(serve)
        assert "no command finds this instance" in serve.output()
        assert serve.holds("team/app", "1", BEFORE)
        push_is_refused(serve)
        assert "No yarddesk is running" in serve.run("status", status=1).stderr
    until(lambda: is_found(serve), 10, "the commands find it")
    serve.run("status")
    serve.push("team/app", "2", NEW)
    assert serve.holds("team/app", "2", NEW)
    assert serve.terminate() == 0
    assert not (serve.data_dir / "control.json").exists()


def test_a_first_start_on_a_full_disk_takes_pushes_once_there_is_room(make_yarddesk, disk):
    with filled(disk):
        serve = make_yarddesk(data_dir=disk / "data", config=CONFIG)
        assert serve.tags("team/app") == []
    serve.push("team/app", "1", BEFORE)
    until(lambda: is_found(serve), 10, "the commands find it")
    serve.kill()
    serve.start()
    assert "the last run ended uncleanly" in serve.output()
    assert serve.holds("team/app", "1", BEFORE)
    reserve = os.stat(serve.data_dir / "reserve")
    assert reserve.st_mode & 0o777 == 0o600


def test_a_command_alone_does_its_work_on_a_full_disk(make_yarddesk, disk):
    serve = make_yarddesk(data_dir=disk / "data", config=CONFIG)
    for image in (BEFORE, NEW):
        serve.push("team/app", "1", image)
    serve.terminate()
    with filled(disk):
        freed = json.loads(serve.run("gc", "--untagged", "--grace", "0", "--json").stdout)
        assert freed["blobs"] == len(BEFORE.blobs)
        serve.start()
        assert serve.holds("team/app", "1", NEW)
