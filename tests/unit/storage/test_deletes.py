"""A delete looks up what it needs to know: what else is stored costs it nothing, and a change that failed doesn't deceive it."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import pytest

from tests.support.content import LATEST, REPOSITORY, image, push_blob, push_image
from tests.support.waiting import until_async
from tests.unit.storage.gate import Gate
from yarddesk.content.errors import StorageError
from yarddesk.content.target import NotFound
from yarddesk.oci.name import RepositoryName, Tag
from yarddesk.storage.filesystem import FilesystemStore

MANY = 40
Wanted = TypeVar("Wanted")


class Looked:
    """How many files were opened, and names read from folders, since it was asked last."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._count = 0
        self._open, self._scandir = os.open, os.scandir
        monkeypatch.setattr(os, "open", self._opened)
        monkeypatch.setattr(os, "scandir", self._scanned)
        monkeypatch.setattr(os, "listdir", self._listed)

    def taken(self) -> int:
        count, self._count = self._count, 0
        return count

    def _opened(self, *arguments, **options) -> int:
        self._count += 1
        return self._open(*arguments, **options)

    @contextmanager
    def _scanned(self, path) -> Iterator[Iterator[os.DirEntry[str]]]:
        with self._scandir(path) as entries:
            yield self._counted(entries)

    def _listed(self, path) -> list[str]:
        with self._scanned(path) as entries:
            return [entry.name for entry in entries]

    def _counted(self, entries) -> Iterator[os.DirEntry[str]]:
        for entry in entries:
            self._count += 1
            yield entry


async def fill(store: FilesystemStore, number: int) -> None:
    """One more image in the repository, with a tag of its own and one that it shares; and the same in another."""
    await push_image(store, f"{number}", tags=(Tag.parse(f"v{number}"), LATEST))
    await push_image(store, f"{number}", repository=RepositoryName.parse(f"team/number{number}"))


async def costs(store: FilesystemStore, looked: Looked) -> dict[str, int]:
    """Of each kind of delete, and of the question before a blob's."""
    gone = await push_image(store, "gone", tags=(Tag.parse("a"), Tag.parse("b")))
    bare = await push_image(store, "bare", tags=())
    kept = await push_image(store, "kept", tags=(Tag.parse("c"),))
    counted = {}

    async def cost(of: str, change: Awaitable[Wanted], wanted: Wanted) -> None:
        looked.taken()
        assert await change == wanted
        counted[of] = looked.taken()

    await cost("manifest with tags", store.delete_manifest(REPOSITORY, gone.digest), ("a", "b"))
    await cost("manifest without", store.delete_manifest(REPOSITORY, bare.digest), ())
    await cost("tag", store.delete_tag(REPOSITORY, Tag.parse("c")), None)
    await cost("unused blob", store.blob_is_used(gone.blobs[0].digest), False)
    await cost("used blob", store.blob_is_used(kept.blobs[0].digest), True)
    await store.delete_manifest(REPOSITORY, kept.digest)
    return counted


async def test_what_else_is_stored_costs_a_delete_no_look_at_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def compare(later: dict[str, int]) -> None:
        # A name or two more are met where the files of media types come first in their folder.
        assert {of: cost for of, cost in later.items() if cost > few[of] + MANY // 2} == {}

    async with FilesystemStore.open(tmp_path) as store:
        await store.stock_taken()
        await store.used_bytes()
        looked = Looked(monkeypatch)
        await fill(store, 0)
        few = await costs(store, looked)
        for number in range(1, MANY):
            await fill(store, number)
        compare(await costs(store, looked))
        monkeypatch.undo()
    async with FilesystemStore.open(tmp_path) as store:
        await store.stock_taken()
        await store.used_bytes()
        compare(await costs(store, Looked(monkeypatch)))


@pytest.mark.parametrize("ended", [False, True])
async def test_the_tags_of_a_manifest_go_with_it_also_before_all_of_the_disk_was_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ended: bool
) -> None:
    async with FilesystemStore.open(tmp_path) as store:
        manifest = await push_image(store, tags=(LATEST, Tag.parse("1")))
        other = await push_image(store, "other", tags=(Tag.parse("2"),))
    gate = Gate(monkeypatch, "listdir", lambda path: str(path).endswith("_tags"))
    async with FilesystemStore.open(tmp_path) as store:
        await gate.reached()
        if ended:
            gate.open()
            await store.stock_taken()
        else:
            asyncio.get_running_loop().call_later(0.1, gate.open)
        await store.put_tag(REPOSITORY, Tag.parse("3"), manifest.digest)
        assert sorted(await store.delete_manifest(REPOSITORY, manifest.digest)) == ["1", "3", LATEST]
        await store.stock_taken()
        assert await store.tags(REPOSITORY) == ["2"]
        assert await store.delete_manifest(REPOSITORY, other.digest) == ("2",)
        assert store.contents.repositories == {}


async def test_a_tag_whose_move_failed_halfway_goes_with_what_it_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    async with FilesystemStore.open(tmp_path) as store:
        await store.stock_taken()
        old, new = await push_image(store, "old"), await push_image(store, "new", tags=())
        replace = os.replace

        def replaced(source: str, target: str) -> None:
            replace(source, target)
            monkeypatch.setattr(os, "fsync", fail)

        monkeypatch.setattr(os, "replace", replaced)
        with pytest.raises(StorageError):
            await store.put_tag(REPOSITORY, LATEST, new.digest)
        monkeypatch.undo()
        assert await store.resolve(REPOSITORY, LATEST) == new.descriptor
        assert await store.delete_manifest(REPOSITORY, old.digest) == ()
        assert await store.delete_manifest(REPOSITORY, new.digest) == (LATEST,)
        with pytest.raises(NotFound):
            await store.resolve(REPOSITORY, LATEST)


async def test_a_blob_is_used_by_a_manifest_that_is_just_being_written_though_its_push_was_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with FilesystemStore.open(tmp_path) as store:
        await store.stock_taken()
        layer, manifest = await push_blob(store, b"layer"), image(b"layer")
        await push_blob(store, b"{}")
        gate = Gate(monkeypatch, "replace", lambda _, target: target.endswith(manifest.digest.hex))
        pushing = asyncio.create_task(store.put_manifest(REPOSITORY, manifest))
        await gate.reached()
        assert await store.blob_is_used(layer)
        pushing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await pushing
        assert await store.blob_is_used(layer)
        gate.open()
        await until_async(lambda: store.resolve_cached(REPOSITORY, manifest.digest) == manifest.descriptor)
        assert await store.blob_is_used(layer)
