"""Lists of tags and repositories that are kept in memory tell what is on the disk, whatever happens to it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.content import LATEST, OTHER, REPOSITORY, push_image
from tests.support.damage import flip_a_bit, manifest_file
from tests.support.waiting import until_async
from yarddesk.content.target import NotFound
from yarddesk.errors import YarddeskError
from yarddesk.oci.name import RepositoryName, Tag
from yarddesk.storage import listed, repositories
from yarddesk.storage.filesystem import FilesystemStore
from yarddesk.storage.manifests import ManifestFiles

FIRST, SECOND = Tag.parse("first"), Tag.parse("second")


async def test_lists_follow_every_push_and_delete(tmp_path: Path) -> None:
    async with FilesystemStore.open(tmp_path) as store:
        assert list(await store.repositories()) == []
        image = await push_image(store, tags=[SECOND])
        assert list(await store.repositories()) == [REPOSITORY]
        assert list(await store.tags(REPOSITORY)) == [SECOND]
        await store.put_tag(REPOSITORY, FIRST, image.digest)
        await store.put_tag(REPOSITORY, FIRST, image.digest)
        assert list(await store.tags(REPOSITORY)) == [FIRST, SECOND]
        await push_image(store, "two", repository=OTHER)
        assert list(await store.repositories()) == [REPOSITORY, OTHER]
        await store.delete_tag(REPOSITORY, SECOND)
        assert list(await store.tags(REPOSITORY)) == [FIRST]
        await store.delete_manifest(REPOSITORY, image.digest)
        assert list(await store.repositories()) == [OTHER]
        with pytest.raises(NotFound):
            await store.tags(REPOSITORY)


async def test_a_page_is_answered_without_a_look_at_the_disk(tmp_path: Path) -> None:
    async with FilesystemStore.open(tmp_path) as store:
        await push_image(store, tags=[FIRST, SECOND])
        assert (list(await store.tags(REPOSITORY)), list(await store.repositories())) == ([FIRST, SECOND], [REPOSITORY])
        (tmp_path / "manifests").rename(tmp_path / "elsewhere")
        assert (list(await store.tags(REPOSITORY, last="first")), list(await store.repositories(limit=1))) == (
            [SECOND],
            [REPOSITORY],
        )
        (tmp_path / "elsewhere").rename(tmp_path / "manifests")


async def test_what_became_of_a_change_that_failed_is_looked_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with FilesystemStore.open(tmp_path) as store:
        image = await push_image(store, tags=[FIRST])
        assert list(await store.tags(REPOSITORY)) == [FIRST]
        real = ManifestFiles.put_tag

        def placed_and_failed(*arguments: object) -> None:
            real(*arguments)  # type: ignore[arg-type]
            raise YarddeskError("The folder could not be synced.")

        monkeypatch.setattr(ManifestFiles, "put_tag", placed_and_failed)
        with pytest.raises(YarddeskError):
            await store.put_tag(REPOSITORY, SECOND, image.digest)
        assert list(await store.tags(REPOSITORY)) == [FIRST, SECOND]


async def test_a_damaged_manifest_is_in_no_list(tmp_path: Path) -> None:
    async with FilesystemStore.open(tmp_path) as store:
        image = await push_image(store, tags=[LATEST])
    async with FilesystemStore.open(tmp_path) as store:
        assert list(await store.repositories()) == [REPOSITORY]
        flip_a_bit(manifest_file(tmp_path, REPOSITORY, image.digest))
        with pytest.raises(NotFound):
            await store.get_manifest(REPOSITORY, LATEST)

        async def gone() -> bool:
            return list(await store.repositories()) == []

        await until_async(gone)


async def test_more_repositories_than_are_remembered_are_listed_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (listed, repositories):
        monkeypatch.setattr(module, "MOST_NAMES", 2)
    async with FilesystemStore.open(tmp_path) as store:
        names = [RepositoryName.parse(name) for name in ("a", "a-b", "a/b", "c")]
        for index, name in enumerate(names):
            await push_image(store, repository=name)
            assert list(await store.repositories()) == names[: index + 1]
        assert list(await store.repositories(last="a", limit=2)) == names[1:3]
