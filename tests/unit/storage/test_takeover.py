"""A Switchyard's data folder becomes ours: whole, checked, and however often it is cut off."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.support.content import image as manifest_of
from tests.support.content import read_blob
from tests.support.data_folder import strangers
from tests.support.disk_calls import DiskCalls
from tests.support.images import Content, Image, build_image, build_index
from tests.support.switchyard import SwitchyardFolder
from tests.unit.storage.gate import Gate
from yarddesk.content.target import NotFound
from yarddesk.oci.digest import Digest
from yarddesk.oci.name import RepositoryName, Tag, parse_reference
from yarddesk.storage.filesystem import FilesystemStore

ROOT = Path(__file__).parents[3]
APP = RepositoryName.parse("team/app")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


async def holds(store: FilesystemStore, repository: str, reference: str, content: Image) -> None:
    """The image is there under that tag, and every byte of it."""
    name = RepositoryName.parse(repository)
    for each in (reference, content.manifest.digest):
        found = await store.get_manifest(name, parse_reference(each))
        assert (found.content, found.media_type) == (content.manifest.content, content.manifest.media_type)
    for blob in content.blobs:
        assert await read_blob(store, Digest.parse(blob.digest)) == blob.content


def modes(folder: Path) -> set[tuple[str, str]]:
    return {("d" if path.is_dir() else "f", oct(stat.S_IMODE(path.lstat().st_mode))) for path in folder.rglob("*")}


async def test_blobs_manifests_tags_and_markers_are_ours_afterwards(data: Path) -> None:
    old = SwitchyardFolder(data)
    first, second, docker = build_image("first"), build_image("second"), build_image("docker", docker=True)
    index = build_index("both")
    old.push("team/app", "v1", first)
    old.push("team/app", "Latest", second, pending=False)
    old.push("con/x.json", "aux", docker)
    old.push("team/app", "multi", index)
    (data / "uploads" / "0b2f0c3e-8f3f-4a62-9d6f-1f6b5b8f8a11").write_bytes(b"half")
    (data / "pending" / "team" / "tmpa1b2c3d4.tmp").write_text("{")
    async with FilesystemStore.open(data) as store:
        await holds(store, "team/app", "v1", first)
        await holds(store, "team/app", "Latest", second)
        await holds(store, "con/x.json", "aux", docker)
        for image in index.images:
            await holds(store, "team/app", image.manifest.digest, image)
        assert (await store.resolve(APP, Tag.parse("multi"))).digest == index.manifest.digest
        assert await store.tags(APP) == ["Latest", "multi", "v1"]
        assert await store.used_bytes() == sum(
            len(each.content)
            for each in {
                each.digest: each
                for graph in (first, second, docker, index)
                for each in (*graph.blobs, *graph.manifests)
            }.values()
        )
    assert [name for name in strangers(data) if not name.startswith("pending/")] == []
    assert modes(data) == {("d", "0o700"), ("f", "0o600")}
    assert not list((data / "pending").rglob("*.tmp"))
    assert list((data / "pending").rglob("*.json")), "the queue takes up the markers"


async def test_what_is_not_what_it_says_goes_to_quarantine_and_the_rest_is_taken(
    data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    old = SwitchyardFolder(data)
    whole, broken = build_image("whole"), build_image("broken")
    old.push("team/app", "v1", whole)
    old.push("team/app", "v2", broken)
    wrong_blob = old.everything_of(broken)[1]
    wrong_blob.write_bytes(wrong_blob.read_bytes()[:-1])
    folder = data / "manifests" / "team" / "app"
    torn = b'{"schemaVersion": 2, "config'
    (folder / "torn").write_bytes(torn)
    wrong = f"sha256:{'5' * 64}"
    (folder / wrong).write_bytes(broken.manifest.content)
    (data / "manifests" / "Upper").mkdir()
    (data / "manifests" / "Upper" / "v1").write_bytes(whole.manifest.content)
    async with FilesystemStore.open(data) as store:
        await holds(store, "team/app", "v1", whole)
        found = await store.get_manifest(APP, Tag.parse("v2"))
        assert found.content == broken.manifest.content
        with pytest.raises(NotFound):
            await read_blob(store, Digest.parse(broken.layers[0].digest))
        with pytest.raises(NotFound):
            await store.get_manifest(APP, Digest.parse(wrong))
        assert await store.tags(APP) == ["v1", "v2"]
    kept = {path.name.split("-")[0]: path.read_bytes() for path in (data / "quarantine").iterdir()}
    assert kept["blob"] == broken.layers[0].content[:-1]
    assert kept["manifest"] == broken.manifest.content
    assert sorted(path.read_bytes() for path in (data / "quarantine").glob("stranger-*")) == sorted(
        (torn, whole.manifest.content)
    )
    assert modes(data) == {("d", "0o700"), ("f", "0o600")}
    for what in (broken.layers[0].digest, wrong, "torn", "Upper"):
        assert what in caplog.text


async def test_a_tag_called_like_a_folder_of_ours_and_one_that_ends_like_a_type(data: Path) -> None:
    old = SwitchyardFolder(data)
    images = {tag: build_image(tag) for tag in ("_tags", "_sha256", "v1.content-type", "v1.json")}
    for tag, image in images.items():
        old.push("team/app", tag, image)
    async with FilesystemStore.open(data) as store:
        for tag, image in images.items():
            await holds(store, "team/app", tag, image)
        assert await store.tags(APP) == sorted(images)


async def test_links_are_neither_followed_nor_touched(data: Path, tmp_path: Path) -> None:
    old = SwitchyardFolder(data)
    image = build_image("inside")
    old.push("team/app", "v1", image)
    outside = tmp_path / "outside"
    outside.mkdir()
    elsewhere = build_image("outside").manifest
    (outside / "v9").write_bytes(elsewhere.content)
    (data / "manifests" / "linked").symlink_to(outside)
    (data / "manifests" / "team" / "app" / "v9").symlink_to(outside / "v9")
    secret = Content("text/plain", b"secret")
    (outside / "blob").write_bytes(secret.content)
    (data / "blobs" / "sha256" / secret.digest.removeprefix("sha256:")).symlink_to(outside / "blob")
    os.mkfifo(data / "manifests" / "team" / "app" / "pipe")
    async with FilesystemStore.open(data) as store:
        await holds(store, "team/app", "v1", image)
        assert await store.tags(APP) == ["v1"]
        assert await store.blob_size(Digest.parse(secret.digest)) is None
    assert {path.name for path in outside.iterdir()} == {"v9", "blob"}


async def test_without_a_type_beside_it_the_manifest_tells_its_own(data: Path) -> None:
    old = SwitchyardFolder(data)
    typed, untyped, wrong = build_image("a", docker=True), build_image("b", docker=True), build_image("c", docker=True)
    for tag, image in (("typed", typed), ("untyped", untyped), ("wrong", wrong)):
        old.push("team/app", tag, image)
    for path in (data / "manifests" / "team" / "app").glob("*.content-type"):
        path.write_text("application/json" if path.name.startswith(("untyped", untyped.manifest.digest)) else "x/y")
    async with FilesystemStore.open(data) as store:
        for tag, image in (("typed", typed), ("untyped", untyped), ("wrong", wrong)):
            await holds(store, "team/app", tag, image)


async def test_what_was_pushed_to_us_since_stays_and_what_was_pushed_to_switchyard_since_is_taken(data: Path) -> None:
    old = SwitchyardFolder(data)
    before, ours, theirs = build_image("before"), build_image("ours"), build_image("theirs")
    old.push("team/app", "v1", before)
    tag_file = data / "manifests" / "team" / "app" / "v1"
    async with FilesystemStore.open(data):
        pass
    assert not tag_file.exists()
    ours_tag = data / "manifests" / "team" / "app" / "_tags" / "v1"
    old.push("team/app", "v1", theirs)
    old.push("team/app", "v2", ours)
    os.utime(tag_file, ns=(0, ours_tag.stat().st_mtime_ns - 1))
    async with FilesystemStore.open(data) as store:
        assert (await store.resolve(APP, Tag.parse("v1"))).digest == before.manifest.digest
        await holds(store, "team/app", "v2", ours)
    old.push("team/app", "v1", theirs)
    os.utime(tag_file, ns=(0, ours_tag.stat().st_mtime_ns + 1))
    async with FilesystemStore.open(data) as store:
        await holds(store, "team/app", "v1", theirs)


async def test_a_folder_of_ours_is_not_looked_through_at_the_start(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    SwitchyardFolder(data).push("team/app", "v1", build_image("a"))
    async with FilesystemStore.open(data):
        pass

    def walk(*_: object, **__: object) -> None:
        raise AssertionError("walked through all of it")

    with monkeypatch.context() as patched:
        patched.setattr(os, "walk", walk)
        async with FilesystemStore.open(data) as store:
            assert await store.tags(APP) == ["v1"]
    shutil.rmtree(data)
    async with FilesystemStore.open(data):
        pass
    assert not (data / "takeover.json").exists()


async def test_how_far_it_is_is_said_in_the_log(
    data: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("yarddesk.storage.takeover._TELL_SECONDS", 0.0)
    caplog.set_level(logging.INFO, "yarddesk.storage.takeover")
    image = build_image("a")
    SwitchyardFolder(data).push("team/app", "v1", image)
    async with FilesystemStore.open(data):
        said = caplog.text
    assert "3 blobs" in said
    assert "3 of 3 blobs" in said
    assert "is taken over: 3 blobs" in said


async def test_a_start_that_is_given_up_stops_it_and_the_next_goes_on(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = [build_image(str(number)) for number in range(8)]
    for number, image in enumerate(images):
        SwitchyardFolder(data).push("team/app", f"v{number}", image)
    gate = Gate(monkeypatch, "replace", lambda source, *_: "/blobs/sha256/" in str(source))

    async def open_it() -> None:
        async with FilesystemStore.open(data):
            raise AssertionError("it opened")

    opening = asyncio.create_task(open_it())
    await gate.reached()
    opening.cancel()
    stopped = asyncio.create_task(asyncio.wait([opening]))
    await asyncio.sleep(0)
    gate.open()
    await stopped
    assert opening.cancelled()
    assert not any(thread.name.startswith("yarddesk-takeover") for thread in threading.enumerate())
    assert len([path for path in (data / "blobs" / "sha256").iterdir() if path.is_file()]) > 8
    monkeypatch.undo()
    async with FilesystemStore.open(data) as store:
        for number, image in enumerate(images):
            await holds(store, "team/app", f"v{number}", image)


async def test_bytes_are_durable_before_their_names_and_names_before_the_old_files_go(data: Path) -> None:
    image = build_image("a")
    SwitchyardFolder(data).push("team/app", "v1", image)
    calls = DiskCalls(lambda *_: None, str(data))
    calls.install()
    try:
        async with FilesystemStore.open(data):
            made = list(calls.made)
    finally:
        calls.uninstall()
    for blob in image.blobs:
        flat = f"/blobs/sha256/{Digest.parse(blob.digest).hex}"
        assert made.index(f"fsync {flat}") < made.index(f"replace {flat}")
    folder = "/manifests/team/app"
    manifest = Digest.parse(image.manifest.digest)
    assert made.index(f"fsync {folder}/_sha256") < made.index(f"unlink {folder}/{manifest}")
    assert made.index(f"fsync {folder}/_tags") < made.index(f"unlink {folder}/v1")


_MANIFEST = build_image("any", (50,)).manifest
_NAMES = st.sampled_from(
    ["v1", "Latest", "_tags", "_sha256", "x.content-type", "v1.content-type", "%_tags", "%v1", "a b", "-x", ".x", "é", "con",
     _MANIFEST.digest, f"sha256:{'7' * 64}", f"sha512:{'7' * 128}", "sha256:short"]
)  # fmt: skip
_PLACES = st.sampled_from(["app", "app/sub", "Upper", "con", "x.json", "a..b", "_x", "."])
_CONTENTS = st.sampled_from(
    [_MANIFEST.content, b"", b"{", b"null", b"[]", b'{"schemaVersion":2,"manifests":[]}', b"text"]
)
_FILES = st.lists(st.tuples(_PLACES, _NAMES, _CONTENTS), max_size=6)
_BLOBS = st.lists(st.tuples(st.sampled_from([b"one", b"two"]), st.sampled_from(["right", "7" * 64, "x" * 64, "short"])))


@settings(max_examples=25, deadline=None)
@example(files=[("app", "_tags", b"{"), ("app", "%_tags", b"text"), ("app", "%v1", _MANIFEST.content)], blobs=[])
@given(files=_FILES, blobs=_BLOBS)
def test_whatever_lies_there_nothing_wrong_is_taken_and_nothing_is_lost(
    files: list[tuple[str, str, bytes]], blobs: list[tuple[bytes, str]]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        old = SwitchyardFolder(data)
        (data / "manifests" / "always").mkdir()
        (data / "manifests" / "always" / "v1.content-type").write_text(_MANIFEST.media_type)
        for content, name in blobs:
            old.blob(content, Digest.of(content).hex if name == "right" else name)
        for place, name, content in files:
            where = data / "manifests" / place
            with contextlib.suppress(FileExistsError, NotADirectoryError, IsADirectoryError):
                where.mkdir(parents=True, exist_ok=True)
                (where / name).write_bytes(content)

        def contents() -> set[bytes]:
            lies = (path for top in ("blobs", "manifests", "quarantine") for path in (data / top).rglob("*"))
            return {path.read_bytes() for path in lies if path.is_file()}

        before = contents() - {_MANIFEST.media_type.encode()}

        async def open_twice() -> None:
            for _ in range(2):
                async with FilesystemStore.open(data) as store:
                    async for repository, digest in store.manifests():
                        assert digest.matches((await store.get_manifest(repository, digest)).content)

        asyncio.run(open_twice())
        types = {content for place, name, content in files if name.endswith(".content-type")}
        assert before - types <= contents()
        left = ("quarantine/", "blobs/sha256/x", "blobs/sha256/short")
        assert [name for name in strangers(data) if not name.startswith(left)] == []


@pytest.mark.timeout(180)
async def test_killed_before_any_call_that_changes_the_disk_the_next_start_has_all_of_it(tmp_path: Path) -> None:
    before = tmp_path / "before"
    old = SwitchyardFolder(before)
    first, second = build_image("first", (300,)), build_image("second", (300,), docker=True)
    old.push("team/app", "v1", first)
    old.push("other", "_tags", second)
    note = Content(manifest_of().media_type, manifest_of(subject=second.manifest.descriptor, config=b"{ }").content)
    old.blob(b"{ }", Digest.of(b"{ }").hex)
    old.manifest("other", note.digest, note)
    wrong = old.blob(b"wrong", "6" * 64)
    (before / "manifests" / "other" / "torn").write_bytes(b"{")
    markers = {path.relative_to(before): path.read_bytes() for path in (before / "pending").rglob("*.json")}
    killed = tmp_path / "killed"
    killed.mkdir()
    command = [sys.executable, "-m", "tests.unit.storage.takeover_child", str(before), str(killed)]
    outcome = await asyncio.to_thread(
        subprocess.run, command, cwd=ROOT, capture_output=True, text=True, timeout=150, check=False
    )
    assert outcome.returncode == 0, outcome.stderr
    assert int(outcome.stdout) > 60
    folders = list(killed.iterdir())
    assert len(folders) == int(outcome.stdout)
    for folder in folders:
        async with FilesystemStore.open(folder) as store:
            await holds(store, "team/app", "v1", first)
            await holds(store, "other", "_tags", second)
            other = RepositoryName.parse("other")
            assert [each.digest for each in await store.referrers(other, Digest.parse(second.manifest.digest))] == [
                note.digest
            ]
            assert await store.tags(other) == ["_tags"]
        assert [name for name in strangers(folder) if not name.startswith(("pending/", "quarantine/"))] == [], folder
        assert {path.relative_to(folder): path.read_bytes() for path in (folder / "pending").rglob("*.json")} == markers
        kept = sorted(path.read_bytes() for path in (folder / "quarantine").iterdir())
        assert kept == [b"wrong", b"{"], folder
        shutil.rmtree(folder)
    assert wrong.exists(), "each run had a folder of its own"
