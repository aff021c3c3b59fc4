"""How large a blob is that is still to come: a manifest that lies here tells it, and where that was of no use its upstream."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.images import build_image
from tests.unit.cache.test_pull_through import REPOSITORY, Cache
from yarddesk.content.errors import StorageError
from yarddesk.content.pull_through import BlobNowhere
from yarddesk.content.upstream import UpstreamUntrue
from yarddesk.oci.digest import Digest
from yarddesk.oci.manifest import parse_manifest
from yarddesk.storage.filesystem import FilesystemStore

IMAGE = build_image("a", (1000, 2000))
LAYERS = {Digest.parse(layer.digest): layer.content for layer in IMAGE.layers}
FIRST, SECOND = LAYERS


@pytest.fixture
async def cache(tmp_path: Path) -> AsyncIterator[Cache]:
    """Nothing of the image is here but its manifest, and who pulls knows nothing of that."""
    made = Cache(tmp_path)
    await made.put_upstream(IMAGE)
    async with FilesystemStore.open(tmp_path / "store") as store:
        await store.put_manifest(REPOSITORY, parse_manifest(IMAGE.manifest.content, IMAGE.manifest.media_type))
        made.store, made.naming = store, store.contents.naming  # type: ignore[assignment]
        made.pulls = made.make()
        async with made.pulls:
            yield made


async def opened(cache: Cache, digest: Digest) -> bytes:
    async with cache.pulls.open_blob(REPOSITORY, digest) as content:
        return b"".join([piece async for piece in content.read(0, content.size)])


async def test_its_manifest_tells_it_and_nobody_is_asked(cache: Cache) -> None:
    for digest, content in LAYERS.items():
        assert await opened(cache, digest) == content
    assert cache.upstream.asked == {"fetch": 2}


async def test_the_upstream_is_asked_where_that_was_of_no_use(cache: Cache) -> None:
    untrue = UpstreamUntrue("corp", "It has 5 bytes.", temporary=True)
    cache.upstream.fault = lambda what, _of: untrue if what == "fetch" else None
    with pytest.raises(UpstreamUntrue):
        await opened(cache, FIRST)
    assert cache.upstream.asked["blob_size"] == 0
    cache.upstream.fault = None
    assert await opened(cache, FIRST) == LAYERS[FIRST]
    assert cache.upstream.asked["blob_size"] == 1


async def test_one_that_is_nowhere_any_more_is_said_to_be_and_not_to_be_so_large(cache: Cache) -> None:
    cache.upstream.store = type(cache.upstream.store)()
    for _ in range(3):
        with pytest.raises(BlobNowhere):
            await opened(cache, FIRST)
        assert await cache.pulls.blob_size(REPOSITORY, FIRST) is None
    assert cache.upstream.asked == {"fetch": 1, "blob_size": 1}


async def test_the_upstream_is_asked_where_the_manifest_cannot_be_read(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(*_: object) -> None:
        raise StorageError("The disk is broken.")

    monkeypatch.setattr(cache.store, "get_manifest", fails)
    assert await opened(cache, SECOND) == LAYERS[SECOND]
    assert cache.upstream.asked == {"fetch": 1, "blob_size": 1}
