"""OCI image layouts that lie, lead elsewhere or are damaged, and exports that are broken off at any step."""

from __future__ import annotations

import asyncio
import errno
import io
import json
import os
import stat
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.content import REPOSITORY, described, image, index, push_blob, push_image
from tests.support.descriptors import open_below
from tests.support.waiting import until_async
from tests.unit.service.layouts import bring_in, export
from yarddesk.content.errors import StorageError, StorageFull
from yarddesk.content.target import DigestMismatch, NotFound
from yarddesk.errors import YarddeskError
from yarddesk.oci import media_types
from yarddesk.oci.descriptor import Descriptor
from yarddesk.oci.digest import Digest
from yarddesk.oci.image_layout import InvalidLayout, LayoutIndex
from yarddesk.oci.manifest import Manifest, parse_manifest
from yarddesk.oci.name import RepositoryName, Tag
from yarddesk.storage.lock import try_lock
from yarddesk.storage.memory import MemoryStore
from yarddesk.storage.oci_opening import read_layout, write_layout

LAYER = b"the layer's bytes"
MANIFEST = image(LAYER)
MARKER = b'{"imageLayoutVersion": "1.0.0"}'
FORMS = ["layout", "layout.tar"]

Files = dict[str, bytes]


def index_of(*manifests: Manifest, **more: Any) -> bytes:
    listed = [
        {
            "mediaType": manifest.media_type,
            "digest": str(manifest.digest),
            "size": len(manifest.content),
            "annotations": {"org.opencontainers.image.ref.name": f"team/app:{number}"},
        }
        for number, manifest in enumerate(manifests, 1)
    ]
    return json.dumps({"schemaVersion": 2, "manifests": listed, **more}).encode()


def blob_name(content: bytes) -> str:
    return f"blobs/sha256/{Digest.of(content).hex}"


def files() -> Files:
    """A good layout's, of one image: team/app:1."""
    contents = (LAYER, b"{}", MANIFEST.content)
    return {"oci-layout": MARKER, "index.json": index_of(MANIFEST), **{blob_name(each): each for each in contents}}


def as_folder(path: Path, given: Files) -> Path:
    for name, content in given.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


Add = Callable[[tarfile.TarFile], None]


def member(name: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE, **more: Any) -> Add:
    entry = tarfile.TarInfo(name)
    entry.type, entry.size = kind, len(content)
    for key, value in more.items():
        setattr(entry, key, value)
    return lambda archive: archive.addfile(entry, io.BytesIO(content))


def as_archive(path: Path, given: Files, *more: Add, prefix: str = "", **options: Any) -> Path:
    archive = path.with_suffix(".tar")
    with tarfile.open(archive, "w", **options) as out:
        for add in (*(member(f"{prefix}{name}", content) for name, content in given.items()), *more):
            add(out)
    return archive


@pytest.fixture(params=FORMS)
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Files], Path]:
    """A layout of these files, as a folder or as an archive."""
    return lambda given: (as_folder if request.param == "layout" else as_archive)(tmp_path / "given", given)


async def refused(path: Path, match: str, error: type[YarddeskError] = YarddeskError) -> None:
    """It's not imported, and nothing of it is in the store."""
    store = MemoryStore()
    with pytest.raises(error, match=match):
        await bring_in(store, path)
    assert await store.repositories() == []


async def test_a_good_layout_is_imported(make: Callable[[Files], Path]) -> None:
    items, _ = await bring_in(MemoryStore(), make(files()))
    assert [item["image"] for item in items] == ["team/app:1"]


@pytest.mark.parametrize(
    ("name", "content", "match"),
    [
        ("oci-layout", None, "no image layout: it has no oci-layout file"),
        ("oci-layout", b"", "imageLayoutVersion"),
        ("oci-layout", b"[]", "imageLayoutVersion"),
        ("oci-layout", b'{"imageLayoutVersion": "2.0.0"}', "version “2.0.0”"),
        ("oci-layout", b"[" * 60_000, "imageLayoutVersion"),
        ("index.json", None, "it has no index.json file"),
        ("index.json", b"{", "index.json can't be read"),
        ("index.json", b'{"schemaVersion": 2}', "index.json can't be read"),
        ("index.json", b'{"schemaVersion": 2, "manifests": [], "manifests": []}', "index.json can't be read"),
        ("index.json", b'{"schemaVersion": 2, "manifests": [], "layers": []}', "index.json can't be read"),
        ("index.json", b'{"schemaVersion": 2, "manifests": []}', "lists no image"),
        ("index.json", b'{"schemaVersion": 2, "manifests": null}', "lists no image"),
        ("index.json", index_of(MANIFEST, padding="x" * 5_000_000), "4,194,30"),
        (blob_name(MANIFEST.content), None, "does not hold all of it"),
        (blob_name(MANIFEST.content), b"{}", "is damaged"),
        (blob_name(MANIFEST.content), b"x" * 5_000_000, "is damaged"),
        (blob_name(LAYER), None, "does not hold all of it"),
        (blob_name(LAYER), LAYER[:-1], "does not hold all of it"),
        (blob_name(LAYER), LAYER.upper(), "is damaged"),
        (blob_name(LAYER), LAYER + b"more", "does not hold all of it"),
    ],
)
async def test_what_is_damaged_is_refused_and_leaves_nothing(
    make: Callable[[Files], Path], name: str, content: bytes | None, match: str
) -> None:
    given = files()
    del given[name]
    await refused(make(given if content is None else given | {name: content}), match)


async def test_a_size_that_lies_is_refused(make: Callable[[Files], Path]) -> None:
    given = files()
    given["index.json"] = given["index.json"].replace(b'"size": %d' % len(MANIFEST.content), b'"size": 1')
    await refused(make(given), "should have 1")


async def test_indexes_without_end_are_refused(make: Callable[[Files], Path]) -> None:
    given, deep = files(), MANIFEST
    for _ in range(9):
        deep = index(deep)
        given[blob_name(deep.content)] = deep.content
    await refused(make(given | {"index.json": index_of(deep)}), "nested more than 8 deep")


async def test_one_platform_that_is_damaged_keeps_its_whole_index_out(make: Callable[[Files], Path]) -> None:
    given = files()
    whole = index(MANIFEST, other := image(b"another"))
    given |= {blob_name(each): each for each in (whole.content, other.content, b"another")}
    given["index.json"] = index_of(whole)
    await bring_in(MemoryStore(), make(given))
    given[blob_name(b"another")] = b"manother"[:7]
    await refused(make(given), "is damaged")


# Folders that lead elsewhere


@pytest.mark.parametrize("name", ["blobs", "blobs/sha256"])
async def test_a_linked_folder_is_not_followed(tmp_path: Path, name: str) -> None:
    path = as_folder(tmp_path / "layout", files())
    (path / name).rename(tmp_path / "elsewhere")
    (path / name).symlink_to(tmp_path / "elsewhere")
    await refused(path, "a symbolic link", StorageError)
    store = MemoryStore()
    await push_image(store)
    with pytest.raises(StorageError, match="a symbolic link"):
        await export(store, path, "team/app")
    elsewhere = tmp_path / "elsewhere"
    assert len([each for each in elsewhere.rglob("*") if each.is_file()]) == 3


@pytest.mark.parametrize("name", ["oci-layout", "index.json", blob_name(LAYER), blob_name(MANIFEST.content)])
async def test_a_linked_file_is_not_read(tmp_path: Path, name: str) -> None:
    path = as_folder(tmp_path / "layout", files())
    (path / name).rename(tmp_path / "elsewhere")
    (path / name).symlink_to(tmp_path / "elsewhere")
    await refused(path, "no image layout|does not hold all of it")


async def test_a_linked_blob_is_replaced_and_what_it_led_to_stays(tmp_path: Path) -> None:
    store = MemoryStore()
    manifest = await push_image(store)
    precious = tmp_path / "precious"
    precious.write_bytes(b"mine")
    path = tmp_path / "layout"
    await export(store, path, "team/app")
    blob = path / "blobs" / "sha256" / manifest.layers[0].digest.hex
    blob.unlink()
    blob.symlink_to(precious)
    await export(store, path, "team/app")
    assert not blob.is_symlink()
    assert precious.read_bytes() == b"mine"


@pytest.mark.parametrize("name", [blob_name(LAYER), "index.json"])
async def test_a_pipe_in_place_of_a_file_holds_nothing_up(tmp_path: Path, name: str) -> None:
    path = as_folder(tmp_path / "layout", files())
    (path / name).unlink()
    os.mkfifo(path / name)
    await refused(path, "no image layout|does not hold all of it|can't be read")


async def test_what_is_neither_folder_nor_file_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.tar")
    await refused(tmp_path / "pipe.tar", "neither a folder nor a file", InvalidLayout)
    await refused(tmp_path / "nothing", "is not there", InvalidLayout)
    store = MemoryStore()
    await push_image(store)
    with pytest.raises(InvalidLayout, match="neither a folder nor a file"):
        await export(store, tmp_path / "pipe.tar", "team/app")


async def test_a_folder_of_something_else_is_not_written_to(tmp_path: Path) -> None:
    store = MemoryStore()
    await push_image(store)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InvalidLayout, match="not empty, and no image layout"):
        await export(store, tmp_path, "team/app")
    assert os.listdir(tmp_path) == ["notes.txt"]
    (tmp_path / "notes.tar").write_text("mine")
    with pytest.raises(InvalidLayout, match="no tar archive"):
        await export(store, tmp_path / "notes.tar", "team/app")
    assert (tmp_path / "notes.tar").read_text() == "mine"


# Archives of strangers


async def test_names_that_climb_out_are_no_blobs(tmp_path: Path) -> None:
    climbing = [f"../{blob_name(LAYER)}", f"/{blob_name(LAYER)}", f"blobs/sha256/../sha256/{Digest.of(LAYER).hex}"]
    climbing += [
        f"x/{blob_name(LAYER)}",
        blob_name(LAYER).upper(),
        f"{blob_name(LAYER)}/",
        f"blobs/sha256//{Digest.of(LAYER).hex}",
    ]
    given = files()
    del given[blob_name(LAYER)]
    path = as_archive(tmp_path / "given", given, *(member(name, LAYER) for name in climbing))
    before = sorted(tmp_path.rglob("*"))
    await refused(path, "does not hold all of it")
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", ["index.json", "oci-layout", blob_name(LAYER)])
@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.GNUTYPE_SPARSE]
)
async def test_links_devices_and_sparse_files_are_refused(tmp_path: Path, name: str, kind: bytes) -> None:
    given = files()
    del given[name]
    await refused(
        as_archive(tmp_path / "given", given, member(name, kind=kind, linkname="/etc/passwd")),
        "is a link",
        InvalidLayout,
    )


@pytest.mark.parametrize("name", ["index.json", "oci-layout", blob_name(LAYER)])
async def test_members_that_come_twice_are_refused(tmp_path: Path, name: str) -> None:
    path = as_archive(tmp_path / "given", files(), member(f"./{name}", files()[name]))
    await refused(path, "twice", InvalidLayout)


async def test_a_header_of_many_megabytes_is_not_read(tmp_path: Path) -> None:
    path = as_archive(tmp_path / "given", files())
    huge = tarfile.TarInfo("./PaxHeaders/x")
    huge.type, huge.size = tarfile.XHDTYPE, 64 * 1024**2
    with open(path, "rb+") as stream:
        stream.write(huge.tobuf(tarfile.GNU_FORMAT))
        stream.truncate(70 * 1024**2)  # of holes
    await refused(path, "no honest tool", InvalidLayout)


async def test_a_size_below_zero_does_not_turn_the_reader_back(tmp_path: Path) -> None:
    path = as_archive(tmp_path / "given", files())
    content = bytearray(path.read_bytes())
    content[124:136] = (-1024 & (256**12 - 1)).to_bytes(12, "big")
    checksum = sum(content[:148]) + sum(content[156:512]) + 8 * 32
    content[148:156] = b"%06o\0 " % checksum
    path.write_bytes(content)
    await refused(path, "honest tool|damaged|it has no", InvalidLayout)


async def test_an_archive_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    path = as_archive(tmp_path / "given", files())
    with tarfile.open(path) as archive:
        end = archive.getmembers()[-1].offset_data + 10
    with open(path, "rb+") as stream:
        stream.truncate(end)
    await refused(path, "damaged", InvalidLayout)


@pytest.mark.parametrize("mode", ["gz", "bz2", "xz"])
async def test_a_compressed_archive_is_told_to_be_unpacked(tmp_path: Path, mode: str) -> None:
    plain = as_archive(tmp_path / "given", files())
    packed = tmp_path / "packed.tar"
    with tarfile.open(packed, f"w:{mode}") as out:  # type: ignore[call-overload]
        out.add(plain, "x")
    await refused(packed, "is compressed", InvalidLayout)


@pytest.mark.parametrize("content", [b"", b"no archive at all" * 100])
async def test_what_is_no_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "given.tar").write_bytes(content)
    await refused(tmp_path / "given.tar", "no tar archive|holds no image layout", InvalidLayout)


async def test_an_archive_of_old_docker_is_told_apart(tmp_path: Path) -> None:
    await refused(as_archive(tmp_path / "given", {"manifest.json": b"[]"}), "before version 25", InvalidLayout)


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
async def test_every_form_of_tar_is_read(tmp_path: Path, form: int) -> None:
    config = b'{"long": "sha512 names take more than a plain header"}'
    digest = Digest.of(config, "sha512")
    document = json.loads(MANIFEST.content)
    document["config"] = described(config) | {"digest": str(digest)}
    content = json.dumps(document).encode()
    parsed = parse_manifest(content)
    given = {
        "oci-layout": MARKER,
        "index.json": index_of(parsed),
        f"blobs/sha512/{digest.hex}": config,
        **{blob_name(each): each for each in (LAYER, content)},
    }
    items, _ = await bring_in(MemoryStore(), as_archive(tmp_path / "given", given, prefix="./", format=form))
    assert [item["digest"] for item in items] == [parsed.digest]


# Writing


def blob_of(content: bytes) -> Descriptor:
    return Descriptor(media_types.OCTET_STREAM, Digest.of(content), len(content))


@pytest.mark.parametrize("form", FORMS)
async def test_what_is_damaged_here_does_not_get_into_a_layout(tmp_path: Path, form: str) -> None:
    class Damaged(MemoryStore):
        def read_blob(self, digest: Digest, offset: int = 0, length: int | None = None) -> Any:
            other = Digest.of(b"layer of two") if digest == Digest.of(b"layer of one") else digest
            return super().read_blob(other, offset, length)

    store, path = Damaged(), tmp_path / form
    await push_image(store, "two", tags=(Tag.parse("two"),))
    await export(store, path, "team/app")
    before = path.read_bytes() if path.is_file() else (path / "index.json").read_bytes()
    await push_image(store, "one")
    with pytest.raises(YarddeskError, match="is damaged and was not exported"):
        await export(store, path, "team/app")
    assert before == (path.read_bytes() if path.is_file() else (path / "index.json").read_bytes())
    items, _ = await bring_in(MemoryStore(), path)
    assert [item["image"] for item in items] == ["team/app:two"]


@pytest.mark.parametrize("form", FORMS)
async def test_what_is_damaged_in_a_layout_is_written_anew_or_said(tmp_path: Path, form: str) -> None:
    store, path = MemoryStore(), tmp_path / form
    await push_image(store, "one")
    await export(store, path, "team/app")
    if path.is_dir():
        blob = path / blob_name(b"layer of one")
        blob.write_bytes(b"LAYER of one")
    else:
        path.write_bytes(path.read_bytes().replace(b"layer of one", b"LAYER of one"))
        with pytest.raises(InvalidLayout, match="damaged already"):
            await export(store, path, "team/app")
        path.unlink()
    await export(store, path, "team/app")
    await bring_in(MemoryStore(), path)


@pytest.mark.parametrize("form", FORMS)
async def test_two_exports_do_not_write_to_one_place(tmp_path: Path, form: str) -> None:
    store, path = MemoryStore(), tmp_path / form
    await push_image(store)
    async with write_layout(path):
        with pytest.raises(StorageError, match="Another export"):
            await export(store, path, "team/app")
    await export(store, path, "team/app")


@pytest.mark.parametrize("form", FORMS)
async def test_without_a_save_nothing_changes(tmp_path: Path, form: str) -> None:
    store, path = MemoryStore(), tmp_path / form
    manifest = await push_image(store)
    await export(store, path, "team/app")
    async with write_layout(path) as layout:
        layout.name(manifest, REPOSITORY, Tag.parse("other"))
    items, _ = await bring_in(MemoryStore(), path)
    assert [item["image"] for item in items] == ["team/app:latest"]
    assert [each.name for each in tmp_path.iterdir()] == [form]


@pytest.mark.parametrize("form", FORMS)
async def test_a_layout_is_a_target(tmp_path: Path, form: str) -> None:
    store, path = MemoryStore(), tmp_path / form
    manifest = await push_image(store)
    source = store.repository(REPOSITORY)
    tag = Tag.parse("v1")
    async with write_layout(path) as layout:
        for descriptor in (*manifest.blobs, manifest.descriptor):
            assert not await layout.exists(descriptor)
            await layout.push(descriptor, lambda offset, wanted=descriptor: source.fetch(wanted, offset=offset))  # type: ignore[misc]
            assert await layout.exists(descriptor)
        await layout.tag(manifest.descriptor, tag)
        assert await layout.resolve(tag) == manifest.descriptor
        await layout.save()
    read = await read_layout(path)
    assert (await read.fetch_manifest(tag)).content == manifest.content
    async with read.fetch(manifest.layers[0], offset=3) as pieces:
        assert b"".join([piece async for piece in pieces]) == b"er of one"
    assert await read.referrers(manifest.digest) == []
    with pytest.raises(NotFound):
        await read.resolve(Tag.parse("v2"))
    with pytest.raises(NotFound):
        await read.fetch_manifest(manifest.layers[0].digest)
    with pytest.raises(NotFound):
        async with read.fetch(blob_of(b"nothing")):
            raise AssertionError("not entered")
    with pytest.raises(InvalidLayout, match="opened for reading"):
        await read.push(manifest.descriptor, lambda offset: source.fetch(manifest.descriptor, offset=offset))
    with pytest.raises(InvalidLayout, match="opened for reading"):
        await read.tag(manifest.descriptor, tag)


@pytest.mark.parametrize("form", FORMS)
async def test_what_is_not_the_descriptors_is_not_taken(tmp_path: Path, form: str) -> None:
    store = MemoryStore()
    await push_blob(store, b"other")
    source = store.repository(REPOSITORY)
    async with write_layout(tmp_path / form) as layout:
        for wanted in (blob_of(b"wanted"), Descriptor(media_types.OCTET_STREAM, Digest.of(b"other"), 4)):
            with pytest.raises(DigestMismatch):
                await layout.push(wanted, lambda offset: source.fetch(blob_of(b"other"), offset=offset))
            assert not await layout.exists(wanted)
        await layout.push(blob_of(b"other"), lambda offset: source.fetch(blob_of(b"other"), offset=offset))
        await layout.save()
    async with (await read_layout(tmp_path / form)).fetch(blob_of(b"other")) as pieces:
        assert b"".join([piece async for piece in pieces]) == b"other"


# Broken off at any step


class DyingDisk:
    """The disk takes `left` more changes, and then no other: what a process that is killed there leaves is what lies there."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.left = -1
        for name in ("open", "write", "fsync", "replace", "mkdir", "unlink", "ftruncate"):
            monkeypatch.setattr(os, name, self._counted(name, getattr(os, name)))

    def _counted(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **options: Any) -> Any:
            if name != "open" or arguments[1] & os.O_CREAT:
                if self.left == 0:
                    raise OSError(errno.EIO, "the disk is gone")
                self.left -= 1
            return call(*arguments, **options)

        return counted


def half_written(folder: Path) -> list[Path]:
    """What lies below that is no part of a layout."""
    whole = {*FORMS, "oci-layout", "index.json", "blobs", "sha256"}
    return [each for each in folder.rglob("*") if each.name not in whole and len(each.name) != 64]


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[DyingDisk]:
    dying = DyingDisk(monkeypatch)
    yield dying
    dying.left = -1


@pytest.mark.parametrize("form", FORMS)
async def test_an_export_that_is_broken_off_anywhere_leaves_the_old_layout_and_goes_through_again(
    tmp_path: Path, form: str, disk: DyingDisk
) -> None:
    store, old = MemoryStore(), MemoryStore()
    other = RepositoryName.parse("team/old")
    await push_image(old, "old", repository=other)
    await push_image(store, "one", tags=(Tag.parse("1"),))
    whole = index(await push_image(store, "two", tags=()))
    await store.put_manifest(REPOSITORY, whole)
    await store.put_tag(REPOSITORY, Tag.parse("2"), whole.digest)
    steps = 0
    while True:
        path = tmp_path / str(steps) / form
        await export(old, path, "team/old")
        disk.left = steps
        try:
            await export(store, path, "team/app")
        except StorageError:
            broken_off = True
        else:
            broken_off = False
        disk.left = -1
        assert not open_below(tmp_path)
        there = MemoryStore()
        items, _ = await bring_in(there, path)
        images = [item["image"] for item in items]
        assert images in (["team/old:latest"], ["team/old:latest", "team/app:1", "team/app:2"])
        await export(store, path, "team/app")
        items, _ = await bring_in(MemoryStore(), path)
        assert [item["image"] for item in items] == ["team/old:latest", "team/app:1", "team/app:2"]
        assert not half_written(tmp_path / str(steps))
        if not broken_off:
            break
        steps += 1
    assert steps > 20
    assert images != ["team/old:latest"]


@pytest.mark.parametrize("form", FORMS)
async def test_an_export_or_import_that_is_cancelled_anywhere_lets_go_of_all_that_it_opened(
    tmp_path: Path, form: str
) -> None:
    store = MemoryStore()
    whole = index(await push_image(store, "one", tags=()), await push_image(store, "two", tags=()))
    await store.put_manifest(REPOSITORY, whole)
    await store.put_tag(REPOSITORY, Tag.parse("1"), whole.digest)
    path = tmp_path / form
    for what in (lambda: export(store, path, "team/app"), lambda: bring_in(MemoryStore(), path)):
        for steps in range(0, 400, 3):
            work = asyncio.ensure_future(what())
            for _ in range(steps):
                await asyncio.sleep(0)
            ended = work.done()
            work.cancel()
            await asyncio.wait([work])
            await until_async(lambda: not open_below(tmp_path), what="a thread that was reading comes to its end")
            # A thread that nobody waits for any more may be between a file's end and its name.
            await until_async(lambda: not half_written(tmp_path), what="nothing half stays")
            if ended:
                break
            if not work.cancelled():
                work.result()
        await what()


@pytest.mark.parametrize("form", FORMS)
async def test_an_export_that_is_cancelled_while_its_index_is_written_keeps_others_out_until_that_is_over(
    tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = MemoryStore()
    await push_image(store)
    await export(store, tmp_path / form, "team/app")
    reached, go_on, replace = threading.Event(), threading.Event(), os.replace

    def wait(source: str, target: str) -> None:
        if os.path.basename(target) in ("index.json", "layout.tar"):
            reached.set()
            go_on.wait(30)
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", wait)
        work = asyncio.ensure_future(export(store, tmp_path / form, "team/app"))
        try:
            await until_async(reached.is_set, what="the last step of the export")
            work.cancel()
            with pytest.raises(StorageError, match="Another export is writing"):
                await export(store, tmp_path / form, "team/app")
        finally:
            go_on.set()
        await asyncio.wait([work])
    assert not open_below(tmp_path)
    await export(store, tmp_path / form, "team/app")


async def test_of_two_exports_that_begin_a_folder_at_once_one_is_kept_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, path = MemoryStore(), tmp_path / "layout"
    await push_image(store)
    path.mkdir()
    reached, go_on, make = threading.Event(), threading.Event(), os.open

    def late(file: str, flags: int, *mode: int) -> int:
        if flags & os.O_CREAT and os.path.dirname(file) == str(path) and not reached.is_set():
            reached.set()  # it has seen that there is no layout yet
            go_on.wait(30)
        return make(file, flags, *mode)

    monkeypatch.setattr(os, "open", late)
    work = asyncio.ensure_future(export(store, path, "team/app"))
    try:
        await until_async(reached.is_set, what="the first file of the export")
        async with write_layout(path) as layout:
            go_on.set()
            with pytest.raises(StorageError, match="Another export is writing"):
                await work
            await layout.save()
    finally:
        go_on.set()
    await export(store, path, "team/app")


async def test_an_export_that_was_cut_off_before_it_had_said_what_the_folder_is_is_gone_on_with(tmp_path: Path) -> None:
    store, path = MemoryStore(), tmp_path / "layout"
    await push_image(store)
    as_folder(path, {"oci-layout": b""})
    await export(store, path, "team/app")
    assert [item["image"] for item in (await bring_in(MemoryStore(), path))[0]] == ["team/app:latest"]


async def test_an_export_to_an_archive_that_fails_at_its_very_end_takes_nothing_from_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, path = MemoryStore(), tmp_path / "layout.tar"
    await push_image(store)
    reached, go_on, fsync = threading.Event(), threading.Event(), os.fsync

    def fail(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode) and not reached.is_set():
            reached.set()
            go_on.wait(30)
            raise OSError(errno.EIO, "Input/output error")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fail)
    work = asyncio.ensure_future(export(store, path, "team/app"))
    try:
        await until_async(reached.is_set, what="the archive has its name")
        async with write_layout(path) as layout:
            go_on.set()
            with pytest.raises(StorageError):
                await work
            await layout.save()
    finally:
        go_on.set()
    assert [path] == list(tmp_path.iterdir())
    assert (await bring_in(MemoryStore(), path))[0]


@pytest.mark.parametrize("form", FORMS)
async def test_a_full_disk_is_said(tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryStore()
    await push_image(store)

    def no_room(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", no_room)
        with pytest.raises(StorageFull, match="is full"):
            await export(store, tmp_path / form, "team/app")
    await export(store, tmp_path / form, "team/app")


def test_the_lock_of_a_layout_ends_with_its_process(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with open(tmp_path / "file", "rb+") as first, open(tmp_path / "file", "rb+") as second:
        assert try_lock(first.fileno())
        assert not try_lock(second.fileno())
        first.close()
        assert try_lock(second.fileno())


def test_an_index_that_was_read_is_written_as_it_was() -> None:
    content = index_of(MANIFEST, annotations={"a": "ä"})
    assert json.loads(LayoutIndex.parse(content).render()) == json.loads(content)
