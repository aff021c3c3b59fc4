"""What every store promises of blobs and upload sessions."""

from __future__ import annotations

import asyncio
import hashlib
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.content import OTHER, REPOSITORY, image, push_blob, read_blob
from yarddesk.content.store import Store
from yarddesk.content.target import DigestMismatch, NotFound
from yarddesk.oci.digest import Digest, InvalidDigest
from yarddesk.storage.memory import MemoryStore

ABSENT = Digest.of(b"never pushed")


async def test_a_committed_upload_is_a_blob_of_every_repository(store: Store) -> None:
    digest = await push_blob(store, b"hello")
    assert await store.blob_size(digest) == 5
    assert await read_blob(store, digest) == b"hello"
    assert [one async for one in store.blobs()] == [digest]


async def test_the_empty_blob_is_a_blob(store: Store) -> None:
    digest = await push_blob(store, b"")
    assert await store.blob_size(digest) == 0
    assert await read_blob(store, digest) == b""


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
@pytest.mark.parametrize("announced", ["sha256", "sha512"])
async def test_the_digest_of_the_commit_counts_whatever_algorithm_was_announced(
    store: Store, algorithm: str, announced: str
) -> None:
    content = b"x" * 3_000_000
    digest = Digest.of(content, algorithm)
    upload = await store.start_upload(REPOSITORY, announced)
    await upload.write(content[:1_500_000])
    await upload.write(content[1_500_000:])
    assert await upload.commit(digest) == len(content)
    assert await store.blob_size(digest) == len(content)
    assert await read_blob(store, digest) == content


async def test_an_algorithm_that_nobody_knows_is_refused(store: Store) -> None:
    with pytest.raises(InvalidDigest):
        await store.start_upload(REPOSITORY, "md5")


async def test_bytes_that_do_not_hash_to_the_digest_become_no_blob_and_end_the_session(store: Store) -> None:
    upload = await store.start_upload(REPOSITORY)
    await upload.write(b"hello")
    with pytest.raises(DigestMismatch):
        await upload.commit(ABSENT)
    assert await store.blob_size(ABSENT) is None
    assert await store.blob_size(Digest.of(b"hello")) is None
    with pytest.raises(NotFound):
        await store.find_upload(REPOSITORY, upload.id)
    with pytest.raises(NotFound):
        await upload.write(b"more")
    with pytest.raises(NotFound):
        await upload.commit(Digest.of(b"hello"))


async def test_nothing_is_visible_before_the_commit(store: Store) -> None:
    content = b"y" * 2_500_000
    upload = await store.start_upload(REPOSITORY)
    await upload.write(content)
    await upload.flush()
    assert await store.blob_size(Digest.of(content)) is None
    assert [one async for one in store.blobs()] == []
    assert await store.used_bytes() == 0


async def test_a_session_is_found_again_by_its_repository_alone(store: Store) -> None:
    upload = await store.start_upload(REPOSITORY)
    await upload.write(b"hel")
    await upload.flush()
    again = await store.find_upload(REPOSITORY, upload.id)
    assert (again.id, again.repository, again.size) == (upload.id, REPOSITORY, 3)
    with pytest.raises(NotFound):
        await store.find_upload(OTHER, upload.id)
    await again.write(b"lo")
    assert await again.commit(Digest.of(b"hello")) == 5
    with pytest.raises(NotFound):
        await store.find_upload(REPOSITORY, upload.id)


@pytest.mark.parametrize("upload_id", ["", ".", "..", "../blobs", "no-such", "x" * 300, "\0", "a/b"])
async def test_an_id_that_no_session_has_is_not_found(store: Store, upload_id: str) -> None:
    with pytest.raises(NotFound):
        await store.find_upload(REPOSITORY, upload_id)


async def test_ids_do_not_repeat_and_can_not_be_guessed(store: Store) -> None:
    ids = [(await store.start_upload(REPOSITORY)).id for _ in range(50)]
    assert len(set(ids)) == 50
    assert all(len(one.replace("-", "")) == 32 for one in ids)


async def test_cancel_throws_the_bytes_away_and_does_nothing_a_second_time(store: Store) -> None:
    upload = await store.start_upload(REPOSITORY)
    await upload.write(b"z" * 3_000_000)
    await upload.cancel()
    await upload.cancel()
    with pytest.raises(NotFound):
        await upload.write(b"more")
    with pytest.raises(NotFound):
        await store.find_upload(REPOSITORY, upload.id)


async def test_cancel_after_a_commit_keeps_the_blob(store: Store) -> None:
    upload = await store.start_upload(REPOSITORY)
    await upload.write(b"hello")
    await upload.commit(Digest.of(b"hello"))
    await upload.cancel()
    assert await store.blob_size(Digest.of(b"hello")) == 5


@pytest.mark.parametrize(
    ("offset", "length"), [(0, None), (0, 5), (3, None), (3, 4), (2_500_000, None), (1, 2_400_000), (9, 0)]
)
async def test_a_part_of_a_blob_is_read(store: Store, offset: int, length: int | None) -> None:
    content = random.Random(1).randbytes(2_500_000)
    digest = await push_blob(store, content)
    expected = content[offset:] if length is None else content[offset : offset + length]
    assert await read_blob(store, digest, offset, length) == expected


async def test_a_blob_that_is_not_here_is_told_when_the_stream_is_entered(store: Store) -> None:
    assert await store.blob_size(ABSENT) is None
    with pytest.raises(NotFound):
        async with store.read_blob(ABSENT):
            raise AssertionError("not entered")


async def test_a_deleted_blob_is_gone_and_deleting_again_says_so(store: Store) -> None:
    digest = await push_blob(store, b"hello")
    await store.delete_blob(digest)
    assert await store.blob_size(digest) is None
    with pytest.raises(NotFound):
        await store.delete_blob(digest)
    assert await push_blob(store, b"hello") == digest
    assert await store.blob_size(digest) == 5


async def test_a_blob_that_is_deleted_while_it_is_read_is_read_to_its_end(store: Store) -> None:
    content = random.Random(2).randbytes(5_000_000)
    digest = await push_blob(store, content)
    received = b""
    async with store.read_blob(digest) as pieces:
        async for piece in pieces:
            if not received:
                await store.delete_blob(digest)
            received += piece
    assert received == content


async def test_leaving_a_stream_early_lets_go_of_it(store: Store) -> None:
    digest = await push_blob(store, b"w" * 5_000_000)
    for _ in range(200):
        async with store.read_blob(digest) as pieces:
            assert await anext(aiter(pieces))
    assert await store.blob_size(digest) == 5_000_000


async def test_many_uploads_of_one_blob_at_once_are_one_blob(store: Store) -> None:
    content = random.Random(3).randbytes(1_500_000)
    await asyncio.gather(*(push_blob(store, content) for _ in range(12)))
    assert [one async for one in store.blobs()] == [Digest.of(content)]
    assert await store.used_bytes() == len(content)
    assert await read_blob(store, Digest.of(content)) == content


async def test_many_uploads_of_different_blobs_at_once_do_not_mix(store: Store) -> None:
    contents = [random.Random(seed).randbytes(200_000 * seed) for seed in range(16)]

    async def push(content: bytes) -> None:
        upload = await store.start_upload(REPOSITORY)
        for start in range(0, len(content), 50_000):
            await upload.write(content[start : start + 50_000])
        await upload.commit(Digest.of(content))

    await asyncio.gather(*map(push, contents))
    for content in contents:
        assert await read_blob(store, Digest.of(content)) == content


async def test_the_bytes_in_use_follow_pushes_and_deletes(store: Store) -> None:
    first = await push_blob(store, b"a" * 1000)
    await push_blob(store, b"b" * 500)
    await push_blob(store, b"a" * 1000)
    assert await store.used_bytes() == 1500
    manifest = image(b"a" * 1000)
    await store.put_manifest(REPOSITORY, manifest)
    await store.put_manifest(REPOSITORY, manifest)
    assert await store.used_bytes() == 1500 + len(manifest.content)
    await store.delete_manifest(REPOSITORY, manifest.digest)
    await store.delete_blob(first)
    assert await store.used_bytes() == 500


async def test_a_blob_that_a_manifest_refers_to_is_in_use(store: Store) -> None:
    layer, other = await push_blob(store, b"layer"), await push_blob(store, b"other")
    manifest = image(b"layer", annotations={"mentions": str(other)})
    await store.put_manifest(OTHER, manifest)
    assert await store.blob_is_used(layer)
    assert await store.blob_is_used(Digest.of(b"{}"))
    assert not await store.blob_is_used(other)
    await store.delete_manifest(OTHER, manifest.digest)
    assert not await store.blob_is_used(layer)


pieces_of_any_size = st.lists(st.one_of(st.binary(max_size=50), st.integers(1, 1_300_000)), max_size=8)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    pieces=pieces_of_any_size, flushes=st.sets(st.integers(0, 7)), kind=st.sampled_from([bytes, bytearray, memoryview])
)
async def test_pieces_of_any_size_and_kind_with_flushes_between_them_arrive_in_order(
    store: Store, pieces: list[bytes | int], flushes: set[int], kind: type
) -> None:
    contents = [random.Random(one).randbytes(one) if isinstance(one, int) else one for one in pieces]
    upload = await store.start_upload(REPOSITORY)
    for number, content in enumerate(contents):
        await upload.write(kind(content))
        if number in flushes:
            await upload.flush()
        assert upload.size == sum(map(len, contents[: number + 1]))
    whole = b"".join(contents)
    assert await upload.commit(Digest.of(whole)) == len(whole)
    assert hashlib.sha256(await read_blob(store, Digest.of(whole))).digest() == hashlib.sha256(whole).digest()


async def test_a_blob_is_opened_where_it_is_a_file(store: Store) -> None:
    digest = await push_blob(store, b"hello")
    assert store.keeps_files is not isinstance(store, MemoryStore)
    if store.keeps_files:
        with store.open_blob(digest) as file:
            assert file.read() == b"hello"
    with pytest.raises(NotFound):
        store.open_blob(Digest.of(b"other"))


async def test_a_commit_tells_once_that_the_bytes_are_right(store: Store) -> None:
    told: list[str] = []
    upload = await store.start_upload(REPOSITORY)
    await upload.write(b"hello")
    await upload.commit(Digest.of(b"hello"), lambda: told.append("right"))
    assert told == ["right"]
    upload = await store.start_upload(REPOSITORY)
    await upload.write(b"hello")
    with pytest.raises(DigestMismatch):
        await upload.commit(ABSENT, lambda: told.append("wrong"))
    assert told == ["right"]


async def test_what_was_flushed_can_be_read_while_the_session_goes_on(store: Store) -> None:
    content = random.Random(4).randbytes(2_500_000)
    upload = await store.start_upload(REPOSITORY)
    await upload.write(content[:2_000_000])
    await upload.flush()
    assert await upload.read(0, 10) == content[:10]
    assert await upload.read(1_999_990, 100) == content[1_999_990:2_000_000]
    assert await upload.read(2_000_000, 100) == b""
    await upload.write(content[2_000_000:])
    await upload.flush()
    assert await upload.read(2_000_000, 100) == content[2_000_000:2_000_100]
    await upload.commit(Digest.of(content))
    with pytest.raises(NotFound):
        await upload.read(0, 10)
