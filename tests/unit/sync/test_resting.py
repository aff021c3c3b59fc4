"""What ended halfway through a blob is wanted still until its job goes on, or goes: then the upstream is told to let go of it."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.support.fake_upstreams import FakeUpstream
from tests.support.images import Image, build_image, manifest_of
from tests.unit.sync.yard import REPOSITORY, Yard, running
from yarddesk.content.upstream import UpstreamBroken
from yarddesk.oci.digest import Digest
from yarddesk.oci.name import Tag

SHARED = build_image("base", [10]).layers[0]


def image_over(seed: str) -> Image:
    own = build_image(seed, [10])
    return Image(manifest_of(own.config, (SHARED,)), own.config, (SHARED,), own.platform)


def held() -> FakeUpstream:
    return FakeUpstream(held=asyncio.Event())


async def sending(yard: Yard, count: int) -> None:
    await yard.until(lambda: yard.upstream.sending == count, f"{count} blobs are on their way")


async def test_a_pause_lets_go_of_nothing_and_a_cancel_of_all(tmp_path: Path) -> None:
    image = build_image("a")
    async with running(tmp_path, upstreams=[held()]) as yard:
        await yard.push(image)
        await sending(yard, 3)
        await yard.service.pause()
        assert (yard.upstream.sending, yard.upstream.abandoned) == (0, [])
        await yard.service.cancel()
        assert sorted(yard.upstream.abandoned) == sorted(blob.digest for blob in image.blobs)


async def test_a_cancel_in_the_middle_lets_go(tmp_path: Path) -> None:
    image = build_image("a")
    async with running(tmp_path, upstreams=[held()]) as yard:
        await yard.push(image)
        await sending(yard, 3)
        await yard.service.cancel("team/app:v1")
        assert sorted(yard.upstream.abandoned) == sorted(blob.digest for blob in image.blobs)


async def test_what_another_image_needs_too_is_let_go_of_with_the_last_of_them(tmp_path: Path) -> None:
    async with running(tmp_path, upstreams=[held()]) as yard:
        await yard.push(image_over("one"), "one")
        await yard.push(image_over("two"), "two")
        await sending(yard, 3)
        await yard.service.pause("team/app:one")
        await yard.service.pause("team/app:two")
        await yard.service.cancel("team/app:one")
        assert SHARED.digest not in yard.upstream.abandoned
        await yard.service.cancel("team/app:two")
        assert SHARED.digest in yard.upstream.abandoned


async def test_what_is_sent_for_one_and_wanted_by_a_paused_one_stays_when_the_first_is_cancelled(
    tmp_path: Path,
) -> None:
    async with running(tmp_path, upstreams=[held()]) as yard:
        await yard.push(image_over("one"), "one")
        await yard.push(image_over("two"), "two")
        await sending(yard, 3)
        await yard.service.pause("team/app:one")
        await yard.service.cancel("team/app:two")
        assert SHARED.digest not in yard.upstream.abandoned
        await yard.service.resume("team/app:one")
        await sending(yard, 2)
        yard.upstream.release()
        await yard.until_empty()
        assert SHARED.digest not in yard.upstream.abandoned


async def test_what_broke_is_wanted_until_the_image_is_cancelled(tmp_path: Path) -> None:
    upstream = FakeUpstream()
    broken = UpstreamBroken("corp", "It broke.", temporary=True)
    upstream.fault = lambda what, of: broken if what == "push" and of == SHARED.digest else None
    async with running(tmp_path, upstreams=[upstream]) as yard:
        await yard.push(image_over("one"), "one")
        await yard.until_state("waiting", "team/app:one")
        assert upstream.abandoned == []
        await yard.service.cancel()
        assert upstream.abandoned == [SHARED.digest]


async def test_what_came_there_by_another_way_meanwhile_is_let_go_of_when_the_image_is_done(tmp_path: Path) -> None:
    async with running(tmp_path, upstreams=[held()]) as yard:
        await yard.push(image_over("one"), "one")
        await sending(yard, 2)
        await yard.service.pause()
        yard.upstream.blobs.setdefault(REPOSITORY, set()).add(Digest.parse(SHARED.digest))
        yard.upstream.release()
        await yard.service.resume()
        await yard.until_empty()
        assert yard.upstream.abandoned == [SHARED.digest]


async def test_what_somebody_else_brought_there_whole_is_let_go_of_when_that_is_seen(tmp_path: Path) -> None:
    image = image_over("one")
    async with running(tmp_path, upstreams=[held()]) as yard:
        manifest = await yard.push(image)
        await sending(yard, 2)
        await yard.service.pause()
        await yard.upstream.store.put_manifest(REPOSITORY, manifest)
        await yard.upstream.store.put_tag(REPOSITORY, Tag.parse("v1"), manifest.digest)
        await yard.service.resume()
        everything = sorted(blob.digest for blob in image.blobs)
        await yard.until(lambda: sorted(yard.upstream.abandoned) == everything, "it's let go of")


async def test_a_newer_push_inherits_what_it_needs_and_lets_go_of_the_rest(tmp_path: Path) -> None:
    async with running(tmp_path, upstreams=[held()]) as yard:
        older, newer = image_over("one"), image_over("two")
        await yard.push(older)
        await sending(yard, 2)
        await yard.service.pause()
        await yard.push(newer)
        await yard.service.resume()
        await sending(yard, 2)
        assert yard.upstream.abandoned == [older.config.digest]
        yard.upstream.release()
        await yard.until_empty()
        assert yard.upstream.abandoned == [older.config.digest]
