"""What is to be sent, to be mounted, or there is known, and shown, before the first byte goes."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.support.artifacts import Artifact
from tests.support.fake_upstreams import FakeUpstream
from tests.support.images import Content, build_image, build_index, manifest_of
from tests.unit.sync.yard import Yard, running
from yarddesk.oci.digest import Digest
from yarddesk.oci.name import RepositoryName
from yarddesk.sync.snapshot import SendPlan

OTHER = RepositoryName.parse("team/other")


def size(*contents: Content) -> int:
    return sum(len(content.content) for content in contents)


async def planned(yard: Yard, name: str = "team/app:v1") -> SendPlan:
    await yard.until(lambda: yard.part(name).plan is not None, "the plan is known")
    plan = yard.part(name).plan
    assert plan is not None
    return plan


async def test_a_new_image_is_all_to_be_sent(tmp_path: Path) -> None:
    image = build_image("a")
    async with running(tmp_path, upstreams=[FakeUpstream(held=asyncio.Event())]) as yard:
        await yard.service.pause()
        await yard.push(image)
        assert yard.part().plan is None
        await yard.service.resume()
        assert await planned(yard) == SendPlan(0, 0, size(*image.blobs, image.manifest))
        yard.upstream.release()
        await yard.until_empty()


async def test_of_an_image_with_one_new_layer_the_rest_is_there(tmp_path: Path) -> None:
    image, other = build_image("a"), build_image("b")
    async with running(tmp_path) as yard:
        await yard.push(image)
        await yard.until_empty()
        yard.upstream.held = asyncio.Event()
        layers = (*image.layers, other.layers[0])
        newer = Artifact(manifest_of(other.config, layers), (other.config, *layers))
        await yard.push(newer, "v2")
        to_send = size(other.config, other.layers[0], newer.manifest)
        assert await planned(yard, "team/app:v2") == SendPlan(size(*image.layers), 0, to_send)
        yard.upstream.release()
        await yard.until_empty()
        done = yard.service.history(1)[0]
        assert (done.bytes_saved, done.bytes_sent) == (size(*image.layers), size(other.config, other.layers[0]))


async def test_what_another_repository_there_has_can_be_mounted_and_is_not_before_that_is_known(tmp_path: Path) -> None:
    image = build_image("a")
    async with running(tmp_path) as yard:
        await yard.push(image, repository=OTHER)
        await yard.until_empty()
        yard.upstream.stops["mount"] = asyncio.Event()
        await yard.push(image)
        assert await planned(yard) == SendPlan(0, size(*image.blobs), size(image.manifest))
        yard.upstream.stops["mount"].set()
        await yard.until_empty()


async def test_what_can_not_be_mounted_after_all_is_to_be_sent(tmp_path: Path) -> None:
    image = build_image("a")
    async with running(tmp_path) as yard:
        await yard.push(image, repository=OTHER)
        await yard.until_empty()
        yard.upstream.mounts, yard.upstream.held = False, asyncio.Event()
        await yard.push(image)
        everything = SendPlan(0, 0, size(*image.blobs, image.manifest))
        await yard.until(lambda: yard.part().plan == everything, "nothing is to be mounted any more")
        yard.upstream.release()
        await yard.until_empty()


async def test_a_layer_that_is_not_here_any_more_comes_from_another_repository_there(tmp_path: Path) -> None:
    image = build_image("a")
    async with running(tmp_path) as yard:
        await yard.push(image, repository=OTHER)
        await yard.until_empty()
        await yard.service.pause()
        await yard.push(image)
        for blob in image.layers:
            await yard.store.delete_blob(Digest.parse(blob.digest))
        await yard.service.resume()
        await yard.until_empty()
        assert await yard.upstream.tag_of("team/app", "v1") == image.manifest.digest


async def test_an_image_that_is_there_needs_nothing_sent(tmp_path: Path) -> None:
    index = build_index("a")
    upstream = FakeUpstream()
    async with running(tmp_path, upstreams=[upstream]) as yard:
        await yard.push(index)
        await yard.until_empty()
        upstream.stops["tag"] = asyncio.Event()
        await yard.push(index, "v2")
        assert await planned(yard, "team/app:v2") == SendPlan(size(*index.blobs, *index.manifests), 0, 0)
        upstream.stops["tag"].set()
        await yard.until_empty()
