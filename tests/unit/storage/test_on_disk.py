"""What lies below DATA, and what a second start finds there."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.content import LATEST, OTHER, REPOSITORY, about, image, push_blob, push_image, read_blob
from tests.support.damage import blob_file
from tests.support.descriptors import open_below
from tests.support.waiting import until_async
from tests.unit.storage.gate import Gate
from yarddesk.content.errors import StorageError
from yarddesk.content.target import NotFound
from yarddesk.oci.digest import Digest
from yarddesk.oci.name import RepositoryName, Tag
from yarddesk.storage.filesystem import FilesystemStore


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "data"


def files_below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()}


async def read_to_the_end(pieces: AsyncIterator[bytes]) -> None:
    async for _ in pieces:
        continue


async def test_the_documented_tree_is_what_is_there(data: Path) -> None:
    names = [Tag.parse(name) for name in ("latest", "V1", "con", "x.json")]
    async with FilesystemStore.open(data) as store:
        blob = await push_blob(store, b"hello")
        manifest = image(b"hello")
        await store.put_manifest(REPOSITORY, manifest)
        for name in names:
            await store.put_tag(REPOSITORY, name, manifest.digest)
        note = about(manifest)
        await store.put_manifest(REPOSITORY, note)
    folder = "manifests/team/app"
    assert files_below(data) == {
        "run.json",
        f"blobs/sha256/{blob.hex[:2]}/{blob.hex}",
        *(f"{folder}/_sha256/{one.digest.hex}{end}" for one in (manifest, note) for end in ("", ".type")),
        *(f"{folder}/_tags/{name}" for name in ("latest", "%561", "%63on", "x%2Ejson")),
        f"{folder}/_referrers/sha256/{manifest.digest.hex}/sha256_{note.digest.hex}",
    }
    assert (data / folder / "_sha256" / manifest.digest.hex).read_bytes() == manifest.content
    assert (data / folder / "_sha256" / f"{manifest.digest.hex}.type").read_text() == manifest.media_type
    assert (data / folder / "_tags" / "%561").read_text() == manifest.digest


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o777])
async def test_everything_is_private_whatever_the_umask(data: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        async with FilesystemStore.open(data) as store:
            await push_image(store)
            await store.put_manifest(REPOSITORY, about(image(b"x")))
            session = await store.start_upload(REPOSITORY)
            await session.write(b"x" * 2_000_000)
            await session.flush()
            modes = {path: stat.S_IMODE(path.lstat().st_mode) for path in (data, *data.rglob("*"))}
    finally:
        os.umask(before)
    assert {mode for path, mode in modes.items() if path.is_dir()} == {0o700}
    assert {mode for path, mode in modes.items() if not path.is_dir()} == {0o600}


async def test_a_data_folder_that_others_could_read_is_closed(data: Path) -> None:
    data.mkdir(parents=True)
    data.chmod(0o755)
    async with FilesystemStore.open(data):
        assert stat.S_IMODE(data.stat().st_mode) == 0o700


async def test_everything_is_there_after_a_restart(data: Path) -> None:
    async with FilesystemStore.open(data) as store:
        manifest = await push_image(store)
        note = about(manifest, annotations={"a": "b"})
        await store.put_manifest(REPOSITORY, note)
        used = await store.used_bytes()
    async with FilesystemStore.open(data) as store:
        assert store.previous_run_ended_cleanly
        assert await store.used_bytes() == used
        assert store.resolve_cached(REPOSITORY, LATEST) is None
        assert await store.get_manifest(REPOSITORY, LATEST) == manifest
        assert store.resolve_cached(REPOSITORY, LATEST) == manifest.descriptor
        assert await store.repositories() == [REPOSITORY]
        assert await store.tags(REPOSITORY) == [LATEST]
        (found,) = await store.referrers(REPOSITORY, manifest.digest)
        assert (found, found.annotations) == (note.descriptor, {"a": "b"})
        for blob in manifest.blobs:
            assert Digest.of(await read_blob(store, blob.digest)) == blob.digest


@pytest.mark.parametrize("size", [0, 1, 70_000, 1_048_576, 5_000_000])
async def test_an_upload_goes_on_after_a_restart(data: Path, size: int) -> None:
    content = os.urandom(size + 3_000_000)
    async with FilesystemStore.open(data) as store:
        upload = await store.start_upload(REPOSITORY)
        await upload.write(content[:size])
        upload_id = upload.id
    async with FilesystemStore.open(data) as store:
        with pytest.raises(NotFound):
            await store.find_upload(OTHER, upload_id)
        found = await store.find_upload(REPOSITORY, upload_id)
        assert found.size == size
        await found.write(content[size : size + 10])
        await found.flush()
        await found.write(content[size + 10 :])
        assert await found.commit(Digest.of(content)) == len(content)
        assert await read_blob(store, Digest.of(content)) == content
    assert list((data / "uploads").iterdir()) == []


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
async def test_an_upload_can_be_committed_as_it_was_found(data: Path, algorithm: str) -> None:
    content = os.urandom(2_000_000)
    async with FilesystemStore.open(data) as store:
        upload = await store.start_upload(REPOSITORY)
        await upload.write(content)
        await upload.flush()
        upload_id = upload.id
    async with FilesystemStore.open(data) as store:
        found = await store.find_upload(REPOSITORY, upload_id)
        assert await found.commit(Digest.of(content, algorithm)) == len(content)
        assert await store.blob_size(Digest.of(content, algorithm)) == len(content)


async def test_the_same_session_is_given_to_all_who_ask_for_it(data: Path) -> None:
    async with FilesystemStore.open(data) as store:
        upload_id = (await store.start_upload(REPOSITORY)).id
    async with FilesystemStore.open(data) as store:
        assert await store.find_upload(REPOSITORY, upload_id) is await store.find_upload(REPOSITORY, upload_id)


async def test_a_flushed_session_holds_no_file_open(data: Path) -> None:
    async with FilesystemStore.open(data) as store:
        sessions = [await store.start_upload(REPOSITORY) for _ in range(20)]
        for session in sessions:
            await session.write(b"x" * 3_000_000)
            await session.flush()
        assert open_below(data / "uploads") == []


async def test_leftovers_go_at_the_start_and_sessions_stay_a_day(data: Path) -> None:
    async with FilesystemStore.open(data) as store:
        fresh, old = [await store.start_upload(REPOSITORY) for _ in range(2)]
    uploads = data / "uploads"
    day_ago = uploads.stat().st_mtime - 25 * 3600
    os.utime(uploads / old.id, (day_ago, day_ago))
    (uploads / "temporary-123").write_bytes(b"half a manifest")
    (uploads / f"{fresh.id}.repository").write_bytes(b"what an earlier version put beside a session")
    (uploads / "a folder of a stranger").mkdir()
    async with FilesystemStore.open(data) as store:
        left = {path.name for path in uploads.iterdir() if not path.is_dir()}
        assert left == {fresh.id}
        assert (await store.find_upload(REPOSITORY, fresh.id)).size == 0


async def test_what_was_coming_in_through_an_upstream_goes_at_the_start_since_nobody_goes_on_with_it(
    data: Path,
) -> None:
    async with FilesystemStore.open(data) as store:
        fill = await store.start_upload(REPOSITORY, filling=True)
        await fill.write(b"x" * 2_000_000)
        pushed = await store.start_upload(REPOSITORY)
        await pushed.write(b"x" * 1000)
        shutil.copytree(data, data.parent / "killed")
    async with FilesystemStore.open(data.parent / "killed") as store:
        assert (await store.find_upload(REPOSITORY, pushed.id)).id == pushed.id
        with pytest.raises(NotFound):
            await store.find_upload(REPOSITORY, fill.id)
        assert [path.name for path in (data.parent / "killed/uploads").iterdir()] == [pushed.id]


async def test_sessions_that_nobody_writes_to_are_collected_while_running(data: Path) -> None:
    async with FilesystemStore.open(data) as store:
        upload = await store.start_upload(REPOSITORY)
        await upload.write(b"x" * 2_000_000)
        assert await store.collect_uploads() == 0
        assert await store.collect_uploads(abandoned_seconds=0) == 1
        with pytest.raises(NotFound):
            await store.find_upload(REPOSITORY, upload.id)
    assert list((data / "uploads").iterdir()) == []


async def test_empty_folders_go_with_the_last_manifest_and_nested_repositories_stay(data: Path) -> None:
    nested = RepositoryName.parse("team/app/tests/unit")
    async with FilesystemStore.open(data) as store:
        outer, inner = await push_image(store), await push_image(store, "two", repository=nested)
        await store.put_manifest(nested, about(inner))
        await store.delete_manifest(REPOSITORY, outer.digest)
        assert sorted(path.name for path in (data / "manifests/team/app").iterdir()) == ["tests"]
        for one in (inner.digest, about(inner).digest):
            await store.delete_manifest(nested, one)
        assert list((data / "manifests").iterdir()) == []
        await push_image(store, repository=nested)
        assert await store.repositories() == [nested]


async def test_a_new_push_heals_a_blob_of_the_wrong_size(data: Path) -> None:
    async with FilesystemStore.open(data) as store:
        digest = await push_blob(store, b"hello")
        path = blob_file(data, digest)
        path.write_bytes(b"he")
    async with FilesystemStore.open(data) as store:
        assert await store.blob_size(digest) == 2
        assert not await store.verify_blob(digest)
        await push_blob(store, b"hello")
        assert await store.verify_blob(digest)
        assert await store.blob_size(digest) == await store.used_bytes() == 5


async def test_a_blob_file_that_is_too_short_never_reads_as_a_whole_one(data: Path) -> None:
    async with FilesystemStore.open(data) as store:
        digest = await push_blob(store, b"x" * 5_000_000)
        path = blob_file(data, digest)
        async with store.read_blob(digest) as pieces:
            assert await anext(pieces)
            os.truncate(path, 1_500_000)
            with pytest.raises(StorageError, match="early"):
                await read_to_the_end(pieces)


@pytest.mark.parametrize("damage", [b"", b"{}", b"\0" * 300])
async def test_a_damaged_manifest_is_missing_until_it_is_pushed_again(
    data: Path, damage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with FilesystemStore.open(data) as store:
        manifest = await push_image(store)
    (data / "manifests/team/app/_sha256" / manifest.digest.hex).write_bytes(damage)
    async with FilesystemStore.open(data) as store:
        for reference in (LATEST, manifest.digest):
            with pytest.raises(NotFound):
                await store.resolve(REPOSITORY, reference)
        assert "damaged" in caplog.text
        await store.put_manifest(REPOSITORY, manifest)
        assert await store.get_manifest(REPOSITORY, LATEST) == manifest


async def test_a_manifest_without_its_type_file_is_read_by_its_own_word(data: Path) -> None:
    async with FilesystemStore.open(data) as store:
        manifest = await push_image(store)
    (data / "manifests/team/app/_sha256" / f"{manifest.digest.hex}.type").unlink()
    async with FilesystemStore.open(data) as store:
        assert (await store.get_manifest(REPOSITORY, LATEST)).media_type == manifest.media_type


async def test_strangers_files_are_left_out_and_left_alone(data: Path) -> None:
    async with FilesystemStore.open(data) as store:
        digest = await push_blob(store, b"hello")
        await push_image(store)
        used = await store.used_bytes()
        blobs = {one async for one in store.blobs()}
    strange = [
        data / "blobs/sha256" / digest.hex[:2] / "notes.txt",
        data / "blobs/sha256/ffff",
        data / "manifests/README",
    ]
    strange += [data / "manifests/team/app" / name for name in ("_tags/V1", "_tags/.DS_Store", "_sha256/abc", "UPPER")]
    for path in strange:
        path.write_text("mine")
    async with FilesystemStore.open(data) as store:
        assert {one async for one in store.blobs()} == blobs
        assert await store.tags(REPOSITORY) == [LATEST]
        assert await store.repositories() == [REPOSITORY]
        assert len([one async for one in store.manifests()]) == 1
        assert await store.used_bytes() in (used, used + len("mine"))
        await store.delete_manifest(REPOSITORY, (await store.resolve(REPOSITORY, LATEST)).digest)
    assert all(path.read_text() == "mine" for path in strange)


async def test_usage_is_exact_after_a_restart_with_pushes_and_deletes_during_the_count(data: Path) -> None:
    async with FilesystemStore.open(data) as store:
        for number in range(200):
            await push_blob(store, f"{number}".encode() * 100)
        manifests = [
            await push_image(store, str(number), repository=RepositoryName.parse(f"r{number % 5}/x"))
            for number in range(20)
        ]
    async with FilesystemStore.open(data) as store:
        for number in range(100, 300):
            await push_blob(store, f"{number}".encode() * 100)
        for number in range(50):
            await store.delete_blob(Digest.of(f"{number}".encode() * 100))
        for number in range(0, 20, 5):
            await store.delete_manifest(RepositoryName.parse("r0/x"), manifests[number].digest)
        await push_image(store, "new", repository=RepositoryName.parse("brand/new"))
        content = [*(data / "blobs").rglob("*"), *(data / "manifests").rglob("_sha256/*")]
        on_disk = sum(path.stat().st_size for path in content if path.is_file() and path.suffix != ".type")
        assert await store.used_bytes() == on_disk


async def test_whoever_asked_hears_what_is_stored(data: Path) -> None:
    heard: list[int] = []
    async with FilesystemStore.open(data, on_usage_changed=heard.append) as store:
        assert await store.used_bytes() == 0
        await push_blob(store, b"hello")
        manifest = image(b"hello")
        await store.put_manifest(REPOSITORY, manifest)
        await store.delete_blob(Digest.of(b"hello"))
        await until_async(lambda: heard[-1:] == [len(manifest.content)])
    assert heard == sorted(heard[:-1]) + heard[-1:]
    assert 5 in heard


async def test_after_an_unclean_end_nothing_is_read_that_was_not_checked(data: Path) -> None:
    async with FilesystemStore.open(data) as store:
        written = [await push_blob(store, content) for content in (b"one", b"two")]
        unclean = data.parent / "unclean"
        shutil.copytree(data, unclean)  # as a machine that goes down leaves it: the run's end was never written
    blob_file(unclean, written[1]).write_bytes(b"owt")
    async with FilesystemStore.open(unclean) as store:
        assert not store.previous_run_ended_cleanly
        assert await store.verify_blob(written[0])
        assert await read_blob(store, written[0]) == b"one"
        with pytest.raises(NotFound):
            await read_blob(store, written[1])
        with pytest.raises(NotFound):
            await store.verify_blob(Digest.of(b"never pushed"))
    async with FilesystemStore.open(unclean) as store:
        assert store.previous_run_ended_cleanly


async def test_a_run_marker_that_cannot_be_read_means_an_unclean_end(data: Path) -> None:
    async with FilesystemStore.open(data):
        pass
    (data / "run.json").write_text("")
    async with FilesystemStore.open(data) as store:
        assert not store.previous_run_ended_cleanly


LINKED = [
    "blobs",
    "blobs/sha256",
    "blobs/sha256/SHARD",
    "manifests",
    "manifests/team",
    "manifests/team/app",
    "manifests/team/app/_sha256",
    "manifests/team/app/_tags",
    "uploads",
]


@pytest.mark.parametrize("place", LINKED)
async def test_a_link_in_the_place_of_a_folder_leads_nowhere(data: Path, tmp_path: Path, place: str) -> None:
    content, manifest, victim = b"hello", image(b"hello"), tmp_path / "victim"
    digest = Digest.of(content)
    link = data / place.replace("SHARD", digest.hex[:2])
    victim.mkdir()
    (victim / "theirs").write_text("untouched")
    async with FilesystemStore.open(data) as store:
        if link.exists():
            link.rmdir()
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(victim, target_is_directory=True)
        with pytest.raises(StorageError, match="symbolic link"):  # noqa: PT012 - which of them fails depends on the link
            await push_blob(store, content)
            await store.put_manifest(REPOSITORY, manifest)
            await store.put_tag(REPOSITORY, LATEST, manifest.digest)
    assert [path.name for path in victim.iterdir()] == ["theirs"]
    assert stat.S_IMODE(victim.stat().st_mode) != 0o700 or os.umask(os.umask(0)) == 0o077


async def test_a_link_in_the_place_of_a_file_is_not_read_and_not_written_through(data: Path, tmp_path: Path) -> None:
    outside = tmp_path / "secret"
    outside.write_bytes(b"hello")
    digest = Digest.of(b"hello")
    async with FilesystemStore.open(data) as store:
        path = blob_file(data, digest)
        path.parent.mkdir(parents=True)
        path.symlink_to(outside)
        assert await store.blob_size(digest) is None
        with pytest.raises(NotFound):
            async with store.read_blob(digest):
                raise AssertionError("not entered")
        await push_blob(store, b"hello")
        assert not path.is_symlink()
        upload = await store.start_upload(REPOSITORY)
        (data / "uploads" / upload.id).unlink()
        (data / "uploads" / upload.id).symlink_to(outside)
        await upload.write(b"x" * 100)
        with pytest.raises((StorageError, NotFound)):
            await upload.commit(Digest.of(b"x" * 100))
    assert outside.read_bytes() == b"hello"


async def test_a_folder_that_may_not_be_written_is_told_in_words(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(StorageError) as told:
        async with FilesystemStore.open(tmp_path / "file"):
            raise AssertionError("not opened")
    assert str(tmp_path) in str(told.value)


def refuse(patch: pytest.MonkeyPatch, name: str, folder: Path) -> None:
    """Have a call of os fail for every open file below the folder."""
    call = getattr(os, name)

    def refused(descriptor: int, *arguments: object) -> object:
        if os.readlink(f"/proc/self/fd/{descriptor}").startswith(str(folder)):
            raise OSError(errno.ESTALE, "Stale file handle")
        return call(descriptor, *arguments)

    patch.setattr(os, name, refused)


async def test_a_new_file_that_can_not_be_made_private_is_closed_and_gone(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with FilesystemStore.open(data) as store:
        await push_blob(store, b"hello")
        before = files_below(data)
        with monkeypatch.context() as patch:
            refuse(patch, "fchmod", data)
            with pytest.raises(StorageError):
                await store.start_upload(REPOSITORY)
            with pytest.raises(StorageError):
                await store.put_manifest(REPOSITORY, image(b"hello"))
        assert open_below(data) == []
        assert files_below(data) == before


async def test_a_file_that_can_not_be_looked_at_once_it_is_open_is_closed(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with FilesystemStore.open(data) as store:
        digest = await push_blob(store, b"hello")
        with monkeypatch.context() as patch:
            refuse(patch, "fstat", data)
            with pytest.raises(StorageError):
                await read_blob(store, digest)
        assert open_below(data) == []
        assert await read_blob(store, digest) == b"hello"


async def test_a_store_that_is_told_twice_to_end_ends_once_no_thread_is_at_work_in_its_folder(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(monkeypatch, "replace")

    async def run() -> None:
        async with FilesystemStore.open(data):
            raise AssertionError("not opened")

    work = asyncio.ensure_future(run())
    try:
        await gate.reached()
        for _ in range(2):
            work.cancel()
            for _ in range(20):
                await asyncio.sleep(0)
            assert not work.done()
    finally:
        gate.open()
    await asyncio.wait([work])
    assert work.cancelled()
