"""A push and a pull of one tag at the same moment: the tag names what was pushed, wherever the pull was when the push came."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from tests.support.bounded_yard import REPOSITORY, BoundedYard, HandQueue, bounded_yard, small_image
from tests.support.content import push_blob
from tests.support.fake_upstreams import FakeRoutes, FakeUpstream
from tests.unit.storage.gate import Gate
from yarddesk.oci.name import Tag
from yarddesk.settings.model import CacheSettings, Settings

V1 = Tag.parse("v1")


async def is_idle(yard: BoundedYard) -> None:
    """Return once nobody is at a disk any more who isn't held up."""
    for _ in range(20):
        await yard.store.digests(REPOSITORY)


@pytest.mark.parametrize("syncs", [True, False])
@pytest.mark.parametrize("was_here", [True, False])
async def test_a_pull_that_is_about_to_move_a_tag_leaves_it_to_a_push_that_just_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, syncs: bool, was_here: bool
) -> None:
    upstream = FakeUpstream(push=syncs)
    routes = FakeRoutes([upstream])
    async with bounded_yard(tmp_path, HandQueue(routes), routes) as yard:
        for name in ("before", "theirs") if was_here else ("theirs",):
            theirs, blobs = small_image(name)
            for content in blobs:
                await push_blob(upstream.store, content, REPOSITORY)
            await upstream.store.put_manifest(REPOSITORY, theirs)
            await upstream.store.put_tag(REPOSITORY, V1, theirs.digest)
            if name == "before":
                await yard.pull(REPOSITORY, V1)
                asking_always = CacheSettings(max_size=0, min_free=0, manifest_ttl=timedelta(0))
                yard.pulls.reload(routes, Settings(data_dir=tmp_path, cache=asking_always))
        noting = Gate(monkeypatch, "open", lambda path, *_, **__: str(path).endswith("followed-tags.jsonl"))
        pull = asyncio.ensure_future(yard.manifest(REPOSITORY, V1))
        await noting.reached()
        moving = Gate(monkeypatch, "replace", lambda _, target, **__: "_tags" in str(target))
        ours, blobs = small_image("ours")
        push = asyncio.ensure_future(yard.push(REPOSITORY, ours, blobs, V1))
        await moving.reached()
        noting.open()
        await is_idle(yard)
        moving.open()
        await push
        assert await pull == theirs
        assert (await yard.store.resolve(REPOSITORY, V1)).digest == ours.digest
        assert await yard.manifest(REPOSITORY, V1) == ours
