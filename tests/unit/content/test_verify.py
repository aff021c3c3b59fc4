"""VerifyingReader: what comes is passed on, but never a complete wrong answer."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator

from hypothesis import given, settings
from hypothesis import strategies as st

from yarddesk.content.target import DigestMismatch
from yarddesk.content.verify import VerifyingReader
from yarddesk.oci.digest import Digest


async def sent(*pieces: bytes, fails: Exception | None = None) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece
    if fails is not None:
        raise fails


async def received(reader: VerifyingReader) -> tuple[bytes, Exception | None]:
    got = b""
    try:
        async for piece in reader:
            got += piece
    except (DigestMismatch, ConnectionError) as error:
        return got, error
    return got, None


pieces_of_any_size = st.lists(
    st.one_of(st.binary(max_size=40), st.integers(1, 700_000).map(lambda size: random.Random(size).randbytes(size))),
    max_size=8,
)


@settings(max_examples=60, deadline=None)
@given(pieces=pieces_of_any_size, algorithm=st.sampled_from(["sha256", "sha512"]), knows_size=st.booleans())
async def test_right_content_comes_through_whole(pieces: list[bytes], algorithm: str, knows_size: bool) -> None:
    content = b"".join(pieces)
    reader = VerifyingReader(sent(*pieces), Digest.of(content, algorithm), len(content) if knows_size else None)
    assert await received(reader) == (content, None)
    assert reader.bytes_seen == len(content)


@settings(max_examples=60, deadline=None)
@given(pieces=pieces_of_any_size.filter(any), place=st.integers(0), knows_size=st.booleans())
async def test_one_wrong_bit_anywhere_holds_back_the_end(pieces: list[bytes], place: int, knows_size: bool) -> None:
    content = bytearray(b"".join(pieces))
    digest = Digest.of(bytes(content))
    content[place % len(content)] ^= 1
    cut, damaged = 0, []
    for piece in pieces:
        damaged.append(bytes(content[cut : cut + len(piece)]))
        cut += len(piece)
    got, error = await received(VerifyingReader(sent(*damaged), digest, len(content) if knows_size else None))
    assert isinstance(error, DigestMismatch)
    assert len(got) < len(content)


async def test_too_few_bytes_hold_back_the_last_piece() -> None:
    got, error = await received(VerifyingReader(sent(b"abc", b"def"), Digest.of(b"abcdefg"), 7))
    assert isinstance(error, DigestMismatch)
    assert got == b"abc"


async def test_more_bytes_than_said_end_it_at_once() -> None:
    endless = (b"x" * 1000 for _ in range(10**9))

    async def source() -> AsyncIterator[bytes]:
        for piece in endless:
            yield piece

    got, error = await received(VerifyingReader(source(), Digest.of(b"x" * 2500), 2500))
    assert isinstance(error, DigestMismatch)
    assert len(got) <= 2500


async def test_a_source_that_breaks_off_breaks_off_here() -> None:
    reader = VerifyingReader(sent(b"abc", b"def", fails=ConnectionResetError()), Digest.of(b"abcdef"), 6)
    got, error = await received(reader)
    assert isinstance(error, ConnectionResetError)
    assert got == b"abc"


async def test_nothing_is_right_where_nothing_is_expected() -> None:
    assert await received(VerifyingReader(sent(), Digest.of(b""), 0)) == (b"", None)
    got, error = await received(VerifyingReader(sent(b""), Digest.of(b"x"), 1))
    assert (got, type(error)) == (b"", DigestMismatch)


async def test_the_loop_stays_free_while_large_pieces_are_hashed() -> None:
    content = b"x" * 64 * 1024 * 1024
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0)

    ticking = asyncio.create_task(tick())
    assert await received(VerifyingReader(sent(content), Digest.of(content), len(content))) == (content, None)
    ticking.cancel()
    assert ticks > 50
