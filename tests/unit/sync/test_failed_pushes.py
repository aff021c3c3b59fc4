"""A push whose tag could not be moved after it was queued: the client gets no 201, and the queue is as if it never came."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from tests.support.images import Image, Index, build_image, build_index
from tests.unit.sync.yard import REPOSITORY, Yard, running, settle
from yarddesk.content.listener import ManifestPush
from yarddesk.oci.digest import Digest
from yarddesk.oci.manifest import parse_manifest
from yarddesk.oci.name import Tag
from yarddesk.sync.conflicts import shown
from yarddesk.sync.states import JobState

V1 = Tag.parse("v1")


async def fail_to_push(yard: Yard, content: Image | Index) -> None:
    """Everything up to the tag."""
    await yard.put_blobs(content)
    for child in content.manifests[:-1]:
        await yard.push_manifest(child)
    manifest = await yard.push_manifest(content.manifest, "v1", move_tag=False)
    await yard.service.push_failed(ManifestPush(REPOSITORY, manifest, (V1,)))


def queued(yard: Yard) -> dict[str, str]:
    """By reference, as memory has it; the files say the same."""
    documents = [json.loads(path.read_text()) for path in (yard.folder / "pending").rglob("*.json")]
    known = {str(job.reference): str(job.digest) for job in yard.service.snapshot().jobs}
    assert {document["reference"]: document["digest"] for document in documents} == known
    return known


async def arrived(yard: Yard) -> str:
    return str((await yard.upstream.store.resolve(REPOSITORY, V1)).digest)


async def test_where_nothing_was_queued_nothing_is(tmp_path: Path) -> None:
    async with running(tmp_path) as yard:
        await yard.service.pause()
        await fail_to_push(yard, build_image("new"))
        assert queued(yard) == {}


async def test_what_was_queued_before_is_queued_again_and_arrives(tmp_path: Path) -> None:
    async with running(tmp_path) as yard:
        await yard.service.pause()
        old = build_image("old")
        await yard.push(old)
        await fail_to_push(yard, build_image("new"))
        assert queued(yard) == {"v1": old.manifest.digest}
        await yard.service.resume()
        await yard.until_empty()
        assert await arrived(yard) == old.manifest.digest


async def test_the_history_says_what_took_the_place_of_what_and_what_failed(tmp_path: Path) -> None:
    async with running(tmp_path) as yard:
        await yard.service.pause()
        old, new = build_image("old"), build_image("new")
        await yard.push(old)
        await fail_to_push(yard, new)
        lines = [(entry.digest, entry.outcome, entry.reason) for entry in yard.service.history()]
        taken = f"A newer push of this tag took its place: {shown(Digest.parse(new.manifest.digest))}."
        assert lines == [
            (new.manifest.digest, JobState.CANCELLED, "Its push failed."),
            (old.manifest.digest, JobState.CANCELLED, taken),
        ]


async def test_children_that_were_pushed_by_themselves_stay_queued_without_their_index(tmp_path: Path) -> None:
    async with running(tmp_path) as yard:
        await yard.service.pause()
        old, index = build_image("old"), build_index("new")
        await yard.push(old)
        await fail_to_push(yard, index)
        children = {manifest.digest: manifest.digest for manifest in index.manifests[:-1]}
        assert queued(yard) == {"v1": old.manifest.digest, **children}


async def test_upstream_the_tag_moves_after_it_has_moved_here(tmp_path: Path) -> None:
    async with running(tmp_path) as yard:
        old, new = build_image("old"), build_image("new")
        await yard.push(old)
        await yard.until_empty()
        await yard.put_blobs(new)
        manifest = parse_manifest(new.manifest.content, new.manifest.media_type)
        await yard.push_manifest(new.manifest, "v1", move_tag=False)
        await settle()
        await asyncio.sleep(0.1)  # an attempt that does not wait is through by then
        assert await arrived(yard) == old.manifest.digest
        await yard.store.put_tag(REPOSITORY, V1, manifest.digest)
        await yard.until_empty()
        assert await arrived(yard) == new.manifest.digest
