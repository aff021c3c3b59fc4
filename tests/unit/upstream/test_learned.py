"""What is learned of registries: kept in a file over restarts, bounded, and dropped where it's damaged."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.clocks import HandClock
from tests.support.waiting import until_async
from yarddesk.upstream.learned import MOST_PLACES, REMEMBERED_SECONDS, Learned
from yarddesk.upstream.profiles import Rung

KEYS = st.sampled_from(["refused", "stream", "piece_bytes", "too_large_bytes", "too_large_until"])
DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda each: st.lists(each) | st.dictionaries(KEYS, each),
)


@dataclass
class File:
    content: bytes | None = None
    writes: list[bytes] = field(default_factory=list)
    fails: OSError | None = None

    def read(self) -> bytes | None:
        return self.content

    def write(self, content: bytes) -> None:
        if self.fails:
            raise self.fails
        self.writes.append(content)
        self.content = content


def learned(file: File, clock: HandClock | None = None) -> Learned:
    return Learned(file.read, file.write, clock or HandClock())


async def test_lessons_are_there_after_a_restart() -> None:
    file, clock = File(), HandClock()
    book = learned(file, clock)
    await book.load()
    lessons = book.of("corp.example/path")
    lessons.refused[Rung.STREAM] = book.now() + 1000
    lessons.piece_bytes, lessons.too_large_bytes, lessons.too_large_until = 5_000_000, 9_000_000, book.now() + 50
    lessons.changed()
    book.of("nothing.example")
    await book.aclose()
    again = learned(file, clock)
    await again.load()
    kept = again.of("corp.example/path")
    assert kept.document() == lessons.document()
    assert list(json.loads(file.writes[-1])["places"]) == ["corp.example/path"]
    assert again.of("other.example").is_empty


async def test_many_lessons_are_one_write_after_a_while() -> None:
    file, clock = File(), HandClock()
    book = learned(file, clock)
    for number in range(50):
        book.of("corp.example").piece_bytes = number
        book.of("corp.example").changed()
    await until_async(lambda: clock._waits, what="somebody waits for more")
    assert not file.writes
    clock.advance(5.0)
    await until_async(lambda: file.writes)
    assert len(file.writes) == 1
    await book.aclose()
    assert len(file.writes) == 1, "nothing is new"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b'{"schema": 2, "places": {}}',
        b'{"schema": 1, "places": []}',
        b'{"schema": 1, "places": {"a": {"refused": {"teleport": 1}}}}',
        b'{"schema": 1, "places": {"a": {"refused": {}, "piece_bytes": -1, "too_large_bytes": 0, "too_large_until": 0}}}',
        b'{"schema": 1, "places": {"a": {"refused": {}, "piece_bytes": true, "too_large_bytes": 0, "too_large_until": 0}}}',
        b'{"schema": 1, "places": {"a": {"refused": {}, "piece_bytes": 0, "too_large_bytes": 0, "too_large_until": NaN}}}',
        b"[" * 100_000,
    ],
)
async def test_what_is_damaged_is_dropped_with_one_line(content: bytes, caplog: pytest.LogCaptureFixture) -> None:
    book = learned(File(content))
    with caplog.at_level(logging.WARNING):
        await book.load()
    assert [record.message for record in caplog.records] == [
        "what was learned of upstreams is damaged, and is learned again"
    ]
    assert book.of("a").is_empty


@settings(max_examples=60, deadline=None)
@given(DOCUMENTS)
def test_no_file_is_fatal(document: Any) -> None:
    content = json.dumps({"schema": 1, "places": {"a": document}}).encode()
    book = learned(File(content))
    asyncio.run(book.load())
    latest = book.now() + REMEMBERED_SECONDS
    assert all(until <= latest for until in book.of("a").refused.values())


async def test_a_time_that_a_wrong_clock_wrote_is_not_believed() -> None:
    file, clock = File(), HandClock()
    book = learned(file, clock)
    book.of("a").refused[Rung.STREAM] = book.now() + 1e12
    book.of("a").changed()
    await book.aclose()
    again = learned(file, clock)
    await again.load()
    assert again.of("a").refused[Rung.STREAM] == again.now() + REMEMBERED_SECONDS


async def test_a_disk_that_takes_nothing_is_a_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    book = learned(File(fails=OSError(28, "No space left on device")))
    book.of("a").piece_bytes = 1
    book.of("a").changed()
    await book.aclose()
    assert "No space left on device" in caplog.text


async def test_their_number_is_bounded() -> None:
    book = Learned()
    of: Callable[[str], Any] = book.of
    first = of("place 0")
    for number in range(MOST_PLACES + 1):
        of(f"place {number}")
    assert of("place 0") is not first
