"""A repository of a store as one end of a copy."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from tests.support.content import LATEST, OTHER, REPOSITORY, about, image, push_blob, push_image, read_blob
from yarddesk.content.store import Store
from yarddesk.content.target import ContentSource, DigestMismatch, NotFound
from yarddesk.oci import media_types
from yarddesk.oci.descriptor import Descriptor
from yarddesk.oci.digest import Digest
from yarddesk.storage.memory import MemoryStore


def source_of(content: bytes, fails_after: int | None = None) -> ContentSource:
    @asynccontextmanager
    async def source(offset: int) -> AsyncIterator[AsyncIterator[bytes]]:
        async def pieces() -> AsyncIterator[bytes]:
            for start in range(offset, len(content), 1000):
                if fails_after is not None and start >= fails_after:
                    raise ConnectionResetError("gone")
                yield content[start : start + 1000]

        yield pieces()

    return source


def blob_of(content: bytes) -> Descriptor:
    return Descriptor(media_types.OCTET_STREAM, Digest.of(content), len(content))


async def test_a_blob_is_pushed_fetched_and_there(store: Store) -> None:
    target, content = store.repository(REPOSITORY), b"0123456789" * 1000
    descriptor = blob_of(content)
    assert not await target.exists(descriptor)
    await target.push(descriptor, source_of(content))
    await target.push(descriptor, source_of(b"not read any more"))
    assert await target.exists(descriptor)
    async with target.fetch(descriptor, offset=9995) as pieces:
        assert b"".join([piece async for piece in pieces]) == b"56789"


@pytest.mark.parametrize("sent", [b"", b"short", b"0123456789" * 100 + b"more", b"9876543210" * 100])
async def test_what_is_not_the_descriptors_is_refused_and_leaves_nothing(store: Store, sent: bytes) -> None:
    target, content = store.repository(REPOSITORY), b"0123456789" * 100
    with pytest.raises(DigestMismatch):
        await target.push(blob_of(content), source_of(sent))
    assert not await target.exists(blob_of(content))
    manifest = image(content)
    with pytest.raises(DigestMismatch):
        await target.push(manifest.descriptor, source_of(sent))
    assert not await target.exists(manifest.descriptor)


async def test_a_source_that_fails_leaves_nothing(store: Store) -> None:
    target, content = store.repository(REPOSITORY), b"0123456789" * 1000
    with pytest.raises(ConnectionResetError):
        await target.push(blob_of(content), source_of(content, fails_after=5000))
    assert not await target.exists(blob_of(content))


async def test_a_manifest_is_pushed_after_its_blobs_and_tagged(store: Store) -> None:
    target = store.repository(REPOSITORY)
    manifest = image(b"layer")
    with pytest.raises(NotFound):
        await target.push(manifest.descriptor, source_of(manifest.content))
    for content in (b"layer", b"{}"):
        await push_blob(store, content)
    await target.push(manifest.descriptor, source_of(manifest.content))
    assert await target.exists(manifest.descriptor)
    await target.tag(manifest.descriptor, LATEST)
    assert await target.resolve(LATEST) == manifest.descriptor
    assert await target.fetch_manifest(LATEST) == manifest
    async with target.fetch(manifest.descriptor, offset=1) as pieces:
        assert b"".join([piece async for piece in pieces]) == manifest.content[1:]
    note = about(manifest, config=b"{}")
    await target.push(note.descriptor, source_of(note.content))
    assert await target.referrers(manifest.digest) == [note.descriptor]
    assert await target.referrers(manifest.digest, "other") == []


async def test_an_image_goes_from_one_store_to_another(store: Store) -> None:
    source_store = MemoryStore()
    manifest = await push_image(source_store)
    near, far = source_store.repository(REPOSITORY), store.repository(OTHER)
    for descriptor in (*manifest.blobs, manifest.descriptor):
        await far.push(descriptor, lambda offset, wanted=descriptor: near.fetch(wanted, offset=offset))  # type: ignore[misc]
    await far.tag(manifest.descriptor, LATEST)
    assert (await store.get_manifest(OTHER, LATEST)).content == manifest.content
    for blob in manifest.blobs:
        assert await read_blob(store, blob.digest) == await read_blob(source_store, blob.digest)


async def test_a_blob_of_another_size_is_not_the_one_that_was_asked_for(store: Store) -> None:
    target = store.repository(REPOSITORY)
    await push_blob(store, b"hello")
    assert not await target.exists(replace(blob_of(b"hello"), size=4))


async def test_what_is_not_here_is_not_found(store: Store) -> None:
    target = store.repository(REPOSITORY)
    missing = image(b"layer").descriptor
    with pytest.raises(NotFound):
        await target.resolve(LATEST)
    with pytest.raises(NotFound):
        await target.fetch_manifest(missing.digest)
    with pytest.raises(NotFound):
        await target.tag(missing, LATEST)
    for descriptor in (missing, blob_of(b"layer")):
        with pytest.raises(NotFound):
            async with target.fetch(descriptor):
                raise AssertionError("not entered")
