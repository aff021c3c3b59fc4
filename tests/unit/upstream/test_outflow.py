"""A blob's bytes in stretches: whole and in order, hashed once on the way, and never complete where they are not its own."""

from __future__ import annotations

import asyncio
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.upstreams import blob, source_of
from yarddesk.content.target import DigestMismatch
from yarddesk.upstream.outflow import HashMarks, Outflow

CONTENT = random.Random(5).randbytes(3_000_000)
PLACES = st.lists(st.tuples(st.integers(0, len(CONTENT)), st.integers(1, len(CONTENT))), max_size=6)


async def read(outflow: Outflow, start: int, end: int, *, most: int | None = None) -> bytes:
    """A stretch; most: the reader goes away after so many bytes."""
    received = b""
    async with outflow.stretch(start, end) as pieces:
        async for piece in pieces:
            received += piece
            if most is not None and len(received) >= most:
                break
    return received


@settings(max_examples=20, deadline=None)
@given(PLACES, st.integers(1, 700_000), st.integers(0, 3_000_000))
def test_any_stretches_are_the_bytes_and_the_hash_goes_on(
    stretches: list[tuple[int, int]], piece_bytes: int, flipped: int
) -> None:
    async def run() -> None:
        at = 0
        outflow = Outflow(source_of(CONTENT, piece_bytes=max(piece_bytes, 20_000)), blob(CONTENT))
        for back, length in stretches:
            start = min(at, back)
            end = min(start + length, len(CONTENT) - 1)
            assert await read(outflow, start, end) == CONTENT[start:end]
            at = max(at, end)
        assert await read(outflow, at, len(CONTENT)) == CONTENT[at:]
        assert outflow.given == len(CONTENT)
        # What is read anew for the end, and is another byte now, is seen, wherever that begins.
        place = max(flipped % len(CONTENT), at)
        wrong = CONTENT[:place] + bytes([CONTENT[place] ^ 1]) + CONTENT[place + 1 :]
        again = Outflow(source_of(wrong, piece_bytes=max(piece_bytes, 20_000)), blob(CONTENT), outflow_marks(at))
        with pytest.raises(DigestMismatch):
            await read(again, at, len(CONTENT))
        assert again.given < len(CONTENT)

    asyncio.run(run())


def outflow_marks(at: int) -> HashMarks:
    marks = HashMarks(blob(CONTENT).digest.hasher())
    _, state = marks.before(0)
    state.update(CONTENT[:at])
    marks.put(at, state)
    return marks


async def test_what_breaks_off_goes_on_near_the_place() -> None:
    opened: list[int] = []
    outflow = Outflow(source_of(CONTENT, piece_bytes=65536, opened=opened), blob(CONTENT))
    await read(outflow, 0, len(CONTENT), most=2_400_000)
    assert await read(outflow, 2_000_000, len(CONTENT)) == CONTENT[2_000_000:]
    assert 2_000_000 - 1_200_000 < opened[1] <= 2_000_000


@pytest.mark.parametrize("content", [CONTENT[:-1], CONTENT + b"x", b""])
async def test_another_number_of_bytes_is_never_complete(content: bytes) -> None:
    outflow = Outflow(source_of(content), blob(CONTENT))
    with pytest.raises(DigestMismatch):
        await read(outflow, 0, len(CONTENT))
    assert outflow.given < len(CONTENT)


async def test_bytes_that_change_between_two_chunks_are_seen() -> None:
    outflow = Outflow(source_of(CONTENT), blob(CONTENT))
    await read(outflow, 0, 2_000_000)
    outflow._source = source_of(CONTENT[:2_500_000] + b"?" + CONTENT[2_500_001:])
    with pytest.raises(DigestMismatch):
        await read(outflow, 2_000_000, len(CONTENT))


def test_the_marks_are_bounded_and_stay_useful() -> None:
    marks, hasher = HashMarks(blob(b"").digest.hasher()), blob(b"").digest.hasher()
    for offset in range(0, 5000 * 1024 * 1024, 1024 * 1024):
        if marks.is_due(offset):
            marks.put(offset, hasher)
    assert len(marks._offsets) <= 512
    assert marks.before(0)[0] == 0
    assert all(offset - marks.before(offset)[0] <= 16 * 1024 * 1024 for offset in range(0, 5000 * 1024 * 1024, 10**8))
