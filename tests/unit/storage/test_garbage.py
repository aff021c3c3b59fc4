"""Collecting garbage beside pushes: what nothing refers to goes, and no manifest that is stored ever lacks a blob."""

import asyncio
import os
import time
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.content import LATEST, OTHER, REPOSITORY, about, image, index, push_blob, push_image
from tests.support.damage import blob_file, flip_a_bit, manifest_file
from tests.support.lonely_registry import NoUpstreams, Pushes
from yarddesk.content.target import NotFound
from yarddesk.errors import YarddeskError
from yarddesk.oci.digest import Digest
from yarddesk.oci.manifest import parse_manifest
from yarddesk.registry.app import RegistryApp
from yarddesk.registry.locks import Gate
from yarddesk.storage.filesystem import FilesystemStore
from yarddesk.storage.garbage import Collected, Orders
from yarddesk.storage.promises import LEAST_SECONDS, Promises

MIB = 1024 * 1024
OLD_SECONDS = 7200.0


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[FilesystemStore]:
    async with FilesystemStore.open(tmp_path) as store:
        yield store


def age(path: Path) -> None:
    """As if it had been there for hours."""
    then = time.time() - OLD_SECONDS
    os.utime(path, (then, then))


def nothing(_doing: str, _done: int, _total: int) -> None:
    pass


async def collect(store: FilesystemStore, grace_seconds: float = 3600, **more: Any) -> Collected:
    closed = more.pop("closed", Gate().closed)
    return await store.garbage.collect(Orders(closed, nothing, grace_seconds, **more))


async def blobs_of(store: FilesystemStore) -> set[Digest]:
    return {digest async for digest in store.blobs()}


async def test_old_blobs_that_nothing_refers_to_go_and_others_stay(store, tmp_path):
    manifest = await push_image(store)
    old, new = await push_blob(store, b"old"), await push_blob(store, b"new")
    for blob in (old, *(blob.digest for blob in manifest.blobs)):
        age(blob_file(tmp_path, blob))
    used = await store.used_bytes()
    would = await collect(store, dry_run=True)
    assert (would.blobs, would.blob_bytes, would.young) == (1, 3, 1)
    assert await store.blob_size(old) == 3
    collected = await collect(store)
    assert (collected.blobs, collected.blob_bytes, collected.young) == (1, 3, 1)
    assert await blobs_of(store) == {new, *(blob.digest for blob in manifest.blobs)}
    assert await store.blob_size(old) is None
    assert await store.used_bytes() == used - 3
    assert (await collect(store, 0)).blobs == 1
    assert (await collect(store, 0)).blobs == 0


async def test_a_blob_that_a_client_was_told_is_here_stays(store, tmp_path):
    told = await push_blob(store, b"told")
    age(blob_file(tmp_path, told))
    assert await store.promise_blob(told) == 4
    collected = await collect(store)
    assert (collected.blobs, collected.promised) == (0, 1)
    async with FilesystemStore.open(tmp_path) as again:  # which knows of no promise, and goes by the file's age
        assert (await collect(again)).blobs == 1


def test_promises_that_are_forgotten_may_have_been_made_for_any_blob():
    now = 100.0
    promises = Promises(most=2, monotonic=lambda: now)
    one, two, three, never = (Digest.of(name) for name in (b"one", b"two", b"three", b"never"))
    promises.make(one)
    assert not promises.hold(never, 50)
    promises.make(two)
    promises.make(three)
    assert promises.hold(one, 50)
    assert promises.hold(never, 50)
    now += LEAST_SECONDS + 1
    assert not promises.hold(never, 0)
    assert promises.hold(never, 50)


@pytest.mark.parametrize("spelling", ["plain", "escaped"])
async def test_a_blob_is_found_however_json_spells_its_digest(store, tmp_path, spelling):
    layer = await push_blob(store, b"layer")
    config = await push_blob(store, b"{}")
    text = image(b"layer").content.decode()
    if spelling == "escaped":
        text = text.replace(layer, "".join(f"\\u{ord(character):04X}" for character in layer))
    manifest = parse_manifest(text.encode())
    assert {blob.digest for blob in manifest.blobs} == {layer, config}
    await store.put_manifest(REPOSITORY, manifest)
    assert await store.blob_is_used(layer)
    assert (await collect(store, 0)).blobs == 0


async def test_a_manifest_that_comes_between_mark_and_sweep_keeps_its_blobs(store):
    layer, config = await push_blob(store, b"layer"), await push_blob(store, b"{}")
    unused = await push_blob(store, b"unused")
    put = False

    @asynccontextmanager
    async def put_first() -> AsyncIterator[None]:
        nonlocal put
        if not put:
            await store.put_manifest(REPOSITORY, image(b"layer"))
            put = True
        yield

    await collect(store, 0, closed=put_first)
    assert await blobs_of(store) == {layer, config}
    assert await store.blob_size(unused) is None


async def test_a_blob_that_is_pushed_anew_between_choice_and_removal_stays(store, tmp_path):
    blob = await push_blob(store, b"again")
    age(blob_file(tmp_path, blob))

    @asynccontextmanager
    async def push_first() -> AsyncIterator[None]:
        await push_blob(store, b"again")
        yield

    assert (await collect(store, closed=push_first)).blobs == 0
    assert await store.blob_size(blob) == 5


async def test_what_a_damaged_manifest_needs_stays_until_it_is_pushed_again(store, tmp_path):
    async with FilesystemStore.open(tmp_path / "other") as other:
        manifest = await push_image(other)
    async with FilesystemStore.open(tmp_path / "other") as other:
        flip_a_bit(manifest_file(tmp_path / "other", REPOSITORY, manifest.digest), 2)
        with pytest.raises(NotFound):
            await other.get_manifest(REPOSITORY, LATEST)
        assert (await collect(other, 0)).blobs == 0
        await other.put_manifest(REPOSITORY, manifest)
        assert await other.get_manifest(REPOSITORY, LATEST) == manifest


async def test_of_many_large_manifests_a_few_are_in_memory_at_a_time(store):
    layer = await push_blob(store, b"layer")
    await push_blob(store, b"{}")
    unused = await push_blob(store, b"unused")
    for letter in "abcdefghijkl":
        await store.put_manifest(REPOSITORY, image(b"layer", annotations={"long": letter * (3 * MIB)}))
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        assert (await collect(store, 0, dry_run=True)).blobs == 1
        assert (await store.census.take(lambda *_: None)).manifests == 12
        assert not await store.blob_is_used(unused)
        assert await store.blob_is_used(layer)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak - before < 24 * MIB


async def test_two_do_not_collect_at_once(store):
    async def second() -> None:
        with pytest.raises(YarddeskError, match="already"):
            await collect(store)

    @asynccontextmanager
    async def closed() -> AsyncIterator[None]:
        await second()
        yield

    await push_blob(store, b"some")
    assert (await collect(store, 0, closed=closed)).blobs == 1


# Untagged manifests


async def test_untagged_manifests_go_only_when_asked_and_what_a_tag_leads_to_stays(store):
    child, lost = await push_image(store, "child", tags=()), await push_image(store, "lost", tags=())
    parent = index(child)
    note = about(child, config=b"note")
    note_of_lost = about(lost, config=b"note of lost")
    await push_blob(store, b"note")
    await push_blob(store, b"note of lost")
    for manifest in (parent, note, note_of_lost):
        await store.put_manifest(REPOSITORY, manifest)
    await store.put_tag(REPOSITORY, LATEST, parent.digest)
    assert (await collect(store, 0)).manifests == 0
    assert (await collect(store, 3600, untagged=True)).manifests == 0
    would = await collect(store, 0, untagged=True, dry_run=True)
    assert would.manifests == 2
    collected = await collect(store, 0, untagged=True)
    assert (collected.manifests, collected.manifest_bytes) == (2, len(lost.content) + len(note_of_lost.content))
    stored = {digest async for _, digest in store.manifests()}
    assert stored == {parent.digest, child.digest, note.digest}
    assert [one.digest for one in await store.referrers(REPOSITORY, child.digest)] == [note.digest]
    assert not await store.referrers(REPOSITORY, lost.digest)
    assert await blobs_of(store) == {blob.digest for one in (child, note) for blob in one.blobs}


async def test_an_untagged_manifest_that_is_queued_stays_with_all_below_it(store):
    child = await push_image(store, "child", tags=())
    parent = index(child)
    await store.put_manifest(REPOSITORY, parent)
    collected = await collect(
        store, 0, untagged=True, queued=lambda name: {parent.digest} if name == REPOSITORY else set()
    )
    assert (collected.manifests, collected.blobs) == (0, 0)


@pytest.mark.parametrize("late", [True, False])
async def test_a_manifest_that_a_client_was_told_is_here_stays_with_all_below_it(store, late):
    child = await push_image(store, "child", tags=())
    parent = index(child)
    await store.put_manifest(REPOSITORY, parent)
    app = RegistryApp(store, NoUpstreams(store), Pushes())

    @asynccontextmanager
    async def ask_first() -> AsyncIterator[None]:
        if late:
            await ask()
        async with app.deletes.closed():
            yield

    async def ask() -> None:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
            answer = await client.head(f"/v2/{REPOSITORY}/manifests/{parent.digest}")
            assert answer.status_code == 200

    if not late:
        await ask()
    collected = await collect(store, 0, untagged=True, closed=ask_first)
    assert (collected.manifests, collected.blobs) == (0, 0)
    assert await store.get_manifest(REPOSITORY, child.digest) == child


async def test_a_head_that_memory_answers_is_a_promise_as_well(store):
    manifest = await push_image(store, tags=())
    path = f"/v2/{REPOSITORY}/manifests/{manifest.digest}".encode()
    answer = RegistryApp(store, NoUpstreams(store), Pushes()).answer_at_once(
        {"method": "HEAD", "query_string": b"", "raw_path": path, "headers": []}
    )
    assert answer is not None
    assert answer.status == 200
    assert (await collect(store, 0, untagged=True)).manifests == 0


async def test_a_manifest_that_is_tagged_at_the_last_moment_stays(store):
    manifest = await push_image(store, tags=())
    tagged = False

    @asynccontextmanager
    async def tag_first() -> AsyncIterator[None]:
        nonlocal tagged
        if not tagged:
            await store.put_tag(REPOSITORY, LATEST, manifest.digest)
            tagged = True
        yield

    assert (await collect(store, 0, untagged=True, closed=tag_first)).manifests == 0
    assert await store.get_manifest(REPOSITORY, LATEST) == manifest


async def test_a_repository_with_something_unreadable_in_it_is_left_alone(tmp_path):
    async with FilesystemStore.open(tmp_path) as store:
        parent = index(child := await push_image(store, "child", tags=()))
        await store.put_manifest(REPOSITORY, parent)
        await store.put_tag(REPOSITORY, LATEST, parent.digest)
        await push_image(store, "elsewhere", repository=OTHER, tags=())
    flip_a_bit(manifest_file(tmp_path, REPOSITORY, parent.digest))
    async with FilesystemStore.open(tmp_path) as store:
        collected = await collect(store, 0, untagged=True)
        assert (collected.manifests, collected.busy) == (1, [REPOSITORY])
        assert await store.get_manifest(REPOSITORY, child.digest) == child
        # By now the damaged one lies in quarantine; its image may still be mended.
        assert (await collect(store, 0, untagged=True)).busy == [REPOSITORY]
        assert await store.get_manifest(REPOSITORY, child.digest) == child
        await store.put_manifest(REPOSITORY, parent)
        await push_image(store, "lost", tags=())
        collected = await collect(store, 0, untagged=True)
        assert (collected.manifests, collected.busy) == (1, [])
        assert await store.get_manifest(REPOSITORY, child.digest) == child


async def test_what_an_index_in_quarantine_that_another_index_names_may_need_stays(tmp_path):
    async with FilesystemStore.open(tmp_path) as store:
        inner = index(child := await push_image(store, "child", tags=()))
        outer = index(inner)
        for manifest in (inner, outer):
            await store.put_manifest(REPOSITORY, manifest)
        await store.put_tag(REPOSITORY, LATEST, outer.digest)
    flip_a_bit(manifest_file(tmp_path, REPOSITORY, inner.digest))
    async with FilesystemStore.open(tmp_path) as store:
        with pytest.raises(NotFound):
            await store.get_manifest(REPOSITORY, inner.digest)
        assert (await collect(store, 0, untagged=True)).busy == [REPOSITORY]
        assert await store.get_manifest(REPOSITORY, child.digest) == child


async def test_what_a_tag_that_cannot_be_read_may_have_named_stays(store, tmp_path):
    manifest = await push_image(store)
    (tmp_path / "manifests" / REPOSITORY / "_tags" / LATEST).write_bytes(b"sha256:damaged")
    assert (await collect(store, 0, untagged=True)).busy == [REPOSITORY]
    assert await store.get_manifest(REPOSITORY, manifest.digest) == manifest


# Everything at once

LAYERS = [f"layer {number}".encode() for number in range(5)]
IMAGES = [image(*(LAYERS[number] for number in numbers)) for numbers in ([0], [0, 1], [1, 2, 3], [3, 4], [4, 0])]
BLOBS = {Digest.of(content): content for content in (*LAYERS, b"{}")}

operations = st.one_of(
    st.tuples(st.just("push"), st.integers(0, len(IMAGES) - 1)),
    st.tuples(st.just("put manifest"), st.integers(0, len(IMAGES) - 1)),
    st.tuples(st.just("delete"), st.integers(0, len(IMAGES) - 1)),
    st.tuples(st.just("mount"), st.integers(0, len(LAYERS) - 1)),
    st.tuples(st.just("blob"), st.integers(0, len(LAYERS) - 1)),
    st.tuples(st.just("gc"), st.booleans()),
)


class Yard:
    """A registry over a store, and clients that push to it while garbage is collected."""

    def __init__(self, folder: Path, store: FilesystemStore) -> None:
        self.folder = folder
        self.store = store
        self.app = RegistryApp(store, NoUpstreams(store), Pushes())
        self.client = httpx.AsyncClient(transport=httpx.ASGITransport(self.app), base_url="http://localhost")

    async def run(self, script: list[tuple[str, Any]]) -> None:
        for name, argument in script:
            await getattr(self, name.replace(" ", "_"))(argument)

    async def push(self, number: int) -> None:
        for blob in IMAGES[number].blobs:
            if (await self.client.head(f"/v2/a/blobs/{blob.digest}")).status_code == 404:
                await self._send(blob.digest)
        # Whoever was told, or sent all of it a moment ago, is not refused.
        await self.put_manifest(number)

    async def put_manifest(self, number: int) -> None:
        manifest = IMAGES[number]
        headers = {"Content-Type": manifest.media_type}
        answer = await self.client.put(f"/v2/a/manifests/{number}", content=manifest.content, headers=headers)
        assert answer.status_code in (201, 400, 404), answer.text
        if answer.status_code != 201:
            assert answer.json()["errors"][0]["code"] == "MANIFEST_BLOB_UNKNOWN"

    async def delete(self, number: int) -> None:
        answer = await self.client.delete(f"/v2/a/manifests/{IMAGES[number].digest}")
        assert answer.status_code in (202, 404)

    async def mount(self, number: int) -> None:
        answer = await self.client.post(f"/v2/a/blobs/uploads/?mount={Digest.of(LAYERS[number])}&from=b")
        assert answer.status_code in (201, 202)

    async def blob(self, number: int) -> None:
        await self._send(Digest.of(LAYERS[number]))

    async def gc(self, untagged: bool) -> None:
        try:
            await collect(self.store, 0, untagged=untagged, closed=self.app.deletes.closed)
        except YarddeskError as error:
            assert "already" in error.title  # noqa: PT017 - two may not collect at once
        await self.check()

    async def check(self) -> None:
        """No manifest that is stored lacks a blob."""
        async with self.app.deletes.closed():
            async for repository, digest in self.store.manifests():
                try:
                    manifest = await self.store.get_manifest(repository, digest)
                except NotFound:
                    continue  # deletes pass the gate
                # One by one: a folder's list may miss a file that is replaced while it's made.
                lacking = [blob.digest for blob in manifest.blobs if not blob_file(self.folder, blob.digest).exists()]
                assert not lacking

    async def _send(self, digest: Digest) -> None:
        headers = {"Content-Type": "application/octet-stream"}
        answer = await self.client.post(f"/v2/a/blobs/uploads/?digest={digest}", content=BLOBS[digest], headers=headers)
        assert answer.status_code == 201, answer.text


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(scripts=st.lists(st.lists(operations, min_size=1, max_size=8), min_size=2, max_size=5))
def test_whatever_comes_beside_it_no_stored_manifest_ever_lacks_a_blob(
    tmp_path_factory: pytest.TempPathFactory, scripts: list[list[tuple[str, Any]]]
):
    async def run() -> None:
        folder = tmp_path_factory.mktemp("store")
        async with FilesystemStore.open(folder) as store:
            yard = Yard(folder, store)
            async with asyncio.TaskGroup() as group:
                for script in scripts:
                    group.create_task(yard.run(script))
            await yard.check()
            await yard.client.aclose()

    asyncio.run(run())
