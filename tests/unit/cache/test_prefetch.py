"""Images that are fetched ahead: all of them that is wanted, nothing else, and on disk when it's said."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from tests.support.artifacts import cosign_referrer, cosign_signature, cosign_tag
from tests.support.images import Content, Graph, Index, build_image, build_index
from tests.support.waiting import until_async
from tests.unit.cache.test_pull_through import REPOSITORY, V1, Cache
from yarddesk.cache.prefetch import Prefetched
from yarddesk.content.errors import StorageError, StorageFull
from yarddesk.content.target import NotFound
from yarddesk.content.upstream import UpstreamAway, UpstreamTrouble, UpstreamUntrue
from yarddesk.errors import YarddeskError
from yarddesk.oci.digest import Digest
from yarddesk.oci.manifest import parse_manifest
from yarddesk.oci.name import Reference, Tag
from yarddesk.oci.platforms import parse_platform
from yarddesk.progress import ProgressMeter

AMD, ARM = "linux/amd64", "linux/arm64"


@pytest.fixture
async def cache(tmp_path: Path) -> AsyncIterator[Cache]:
    made = Cache(tmp_path)
    async with made.pulls:
        yield made


async def offer(cache: Cache, content: Graph, tag: str = "") -> None:
    """Have it at the upstream."""
    store = cache.upstream.store
    for blob in content.blobs:
        upload = await store.start_upload(REPOSITORY)
        await upload.write(blob.content)
        await upload.commit(Digest.parse(blob.digest))
    for each in content.manifests:
        await store.put_manifest(REPOSITORY, parse_manifest(each.content, each.media_type))
    if tag:
        await store.put_tag(REPOSITORY, Tag.parse(tag), Digest.parse(content.manifest.digest))


async def pull(
    cache: Cache, reference: Reference = V1, platforms: Sequence[str] | None = (AMD,), *, referrers: bool = False
) -> tuple[Prefetched, ProgressMeter]:
    meter = ProgressMeter()
    wanted = None if platforms is None else [parse_platform(each) for each in platforms]
    return await cache.pulls.prefetcher.pull(REPOSITORY, reference, wanted, meter, referrers=referrers), meter


async def is_here(cache: Cache, blobs: Sequence[Content]) -> list[bool]:
    return [await cache.store.blob_size(Digest.parse(blob.digest)) == len(blob.content) for blob in blobs]


async def test_an_image_is_here_whole_and_the_second_time_only_the_tag_is_asked_for(cache: Cache) -> None:
    image = build_image("a")
    manifest = await cache.put_upstream(image)
    found, meter = await pull(cache)
    size = sum(len(each.content) for each in (*image.blobs, image.manifest))
    assert (found.digest, found.size) == (manifest.digest, size)
    assert meter.snapshot().bytes_sent == sum(len(blob.content) for blob in image.blobs)
    assert all(await is_here(cache, image.blobs))
    cache.upstream.asked.clear()
    again, meter = await pull(cache)
    assert (again.digest, meter.snapshot().bytes_sent) == (manifest.digest, 0)
    assert meter.snapshot().bytes_done == meter.snapshot().bytes_total
    assert cache.upstream.asked == {"resolve": 1}
    cache.upstream.away = True
    assert await cache.pulled() == manifest


async def test_what_is_fetched_ahead_counts_as_used(cache: Cache) -> None:
    index = build_index("both", (AMD, ARM))
    await offer(cache, index, "v1")
    await pull(cache)
    assert cache.used == [index.manifest.digest, index.images[0].manifest.digest]


async def test_within_a_tag_s_lifetime_too_the_upstream_is_asked(cache: Cache) -> None:
    await cache.put_upstream(build_image("a"))
    await cache.pulled()
    newer = await cache.put_upstream(build_image("b"))
    assert (await pull(cache))[0].digest == newer.digest
    assert await cache.pulled() == newer


async def test_of_an_index_only_the_platform_s_blobs_are_fetched_and_with_all_all(cache: Cache) -> None:
    index = build_index("both", (AMD, ARM))
    await offer(cache, index, "v1")
    found, _ = await pull(cache, platforms=[ARM])
    assert found.platforms == [ARM]
    assert all(await is_here(cache, index.images[1].blobs))
    assert not any(await is_here(cache, index.images[0].blobs))
    asked = {of for what, _, of in cache.upstream.log if what == "fetch"}
    assert asked == {blob.digest for blob in index.images[1].blobs}
    found, _ = await pull(cache, platforms=None)
    assert found.platforms == [AMD, ARM]
    assert all(await is_here(cache, index.blobs))


async def test_a_platform_that_it_is_not_for_is_told_and_the_other_is_here(cache: Cache) -> None:
    index = build_index("both", (AMD, ARM))
    await offer(cache, index, "v1")
    found, _ = await pull(cache, platforms=[AMD, "linux/s390x"])
    assert (found.platforms, found.lacking) == ([AMD], ["linux/s390x"])
    assert all(await is_here(cache, index.images[0].blobs))
    with pytest.raises(YarddeskError, match="not for linux/s390x, but for linux/amd64, linux/arm64"):
        await pull(cache, platforms=["linux/s390x"])


async def test_a_sparse_index_is_told_of(cache: Cache) -> None:
    index = build_index("both", (AMD, ARM))
    await offer(cache, Index(index.manifest, index.images[:1]), "v1")
    found, _ = await pull(cache, platforms=None)
    assert [index.images[1].manifest.digest in remark for remark in found.remarks] == [True]
    with pytest.raises(NotFound, match="which the index names for linux/arm64"):
        await pull(cache, platforms=[ARM])


async def test_what_is_about_it_comes_along_unless_it_is_not_wanted(cache: Cache) -> None:
    index = build_index("signed", (AMD, ARM))
    await offer(cache, index, "v1")
    child = index.images[0].manifest
    signature, tagged = cosign_referrer(index.manifest), cosign_signature(child)
    about_that = cosign_referrer(signature.manifest)
    for each in (signature, about_that):
        await offer(cache, each)
    await offer(cache, tagged, cosign_tag(child.digest, "sig"))
    found, _ = await pull(cache)
    assert found.about == 0
    assert not any(await is_here(cache, signature.blobs[1:]))
    found, _ = await pull(cache, referrers=True)
    assert (found.about, found.remarks) == (3, [])
    cache.upstream.away = True
    for each in (signature, about_that, tagged):
        assert all(await is_here(cache, each.blobs))
    listed = await cache.pulls.referrers(REPOSITORY, Digest.parse(index.manifest.digest))
    assert [each.digest for each in listed.descriptors] == [signature.manifest.digest]
    assert (
        await cache.store.resolve(REPOSITORY, Tag.parse(cosign_tag(child.digest, "sig")))
    ).digest == tagged.manifest.digest


async def test_that_what_is_about_it_can_not_be_had_fails_nothing(cache: Cache) -> None:
    await cache.put_upstream(build_image("a"))
    cache.upstream.fault = lambda what, _: UpstreamTrouble("corp", "busy", status=503) if what == "referrers" else None
    found, _ = await pull(cache, referrers=True)
    assert found.remarks


async def test_a_tag_that_is_ours_alone_is_replaced_by_nothing_else_and_follows_from_then_on(cache: Cache) -> None:
    ours = await cache.put_here(build_image("ours"))
    theirs = await cache.put_upstream(build_image("theirs"))
    assert await cache.pulled() == ours
    assert (await pull(cache))[0].digest == theirs.digest
    assert await cache.pulled() == theirs
    newer = await cache.put_upstream(build_image("newer"))
    cache.clock.advance(301)
    assert await cache.pulled() == newer


async def test_a_tag_that_is_still_on_its_way_upstream_is_not_replaced(cache: Cache) -> None:
    ours = await cache.put_here(build_image("ours"))
    await cache.put_upstream(build_image("theirs"))
    cache.queued.add((REPOSITORY, V1))
    with pytest.raises(YarddeskError, match="still on its way"):
        await pull(cache)
    assert await cache.pulled() == ours


async def test_what_upstream_does_not_have_and_an_upstream_that_is_away_are_told_apart(cache: Cache) -> None:
    await cache.put_here(build_image("ours"))
    with pytest.raises(NotFound):
        await pull(cache)
    cache.upstream.away = True
    with pytest.raises(UpstreamAway):
        await pull(cache)


async def test_wrong_bytes_fail_it_and_are_not_kept(cache: Cache) -> None:
    image = build_image("a")
    await cache.put_upstream(image)
    cache.upstream.corrupt = True
    with pytest.raises(UpstreamUntrue):
        await pull(cache)
    assert not any(await is_here(cache, image.blobs))


async def test_no_room_fails_it_though_a_client_would_be_served(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    await cache.put_upstream(build_image("a"))

    async def full(*_: object, **__: object) -> None:
        raise StorageFull("The disk is full.")

    monkeypatch.setattr(cache.store, "start_upload", full)
    with pytest.raises(StorageError):
        await pull(cache)


async def test_a_client_s_pull_and_a_prefetch_of_one_blob_are_one_fetch(cache: Cache) -> None:
    image = build_image("a", (300_000,))
    await cache.put_upstream(image)
    cache.upstream.held = asyncio.Event()
    pulling = asyncio.create_task(pull(cache))
    await until_async(lambda: cache.upstream.asked["fetch"] == 2)
    layer = Digest.parse(image.layers[0].digest)

    async def read() -> bytes:
        async with cache.pulls.open_blob(REPOSITORY, layer) as content:
            return b"".join([piece async for piece in content.read(0, content.size)])

    reading = asyncio.create_task(read())
    await asyncio.sleep(0)
    cache.upstream.release()
    await pulling
    assert await reading == image.layers[0].content
    assert cache.upstream.asked["fetch"] == 2


async def test_a_pull_that_is_given_up_ends_its_fills_and_leaves_nothing(cache: Cache) -> None:
    image = build_image("a", (40_000_000,))
    await cache.put_upstream(image)
    cache.upstream.held = asyncio.Event()
    pulling = asyncio.create_task(pull(cache))
    await until_async(lambda: cache.upstream.served > 0)
    pulling.cancel()
    await asyncio.wait([pulling])
    layer = Digest.parse(image.layers[0].digest)
    await until_async(lambda: not cache.pulls.is_filling(layer))
    assert await cache.store.blob_size(layer) is None


async def test_a_push_that_comes_in_between_wins(cache: Cache) -> None:
    await cache.put_upstream(build_image("theirs"))
    cache.upstream.stops["fetch_manifest"] = asyncio.Event()
    pulling = asyncio.create_task(pull(cache))
    await until_async(lambda: cache.upstream.asked["fetch_manifest"] == 1)
    ours = await cache.put_here(build_image("ours"))
    cache.queued.add((REPOSITORY, V1))
    cache.upstream.stops["fetch_manifest"].set()
    with pytest.raises(YarddeskError, match="meanwhile"):
        await pulling
    assert await cache.pulled() == ours
