"""The ways up and down the ladder: for every registry that takes blobs in some way, one is found, soon, and kept."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from yarddesk.upstream.ladder import GOOD_PIECES, LARGEST_PIECE_BYTES, SMALL_BYTES, TURN_BYTES, Ladder, Step
from yarddesk.upstream.learned import REMEMBERED_SECONDS, Lessons
from yarddesk.upstream.profiles import GENERIC, MIB, PROFILES, Profile, Rung

SIZES = st.integers(0, 256 * MIB) | st.sampled_from([0, 1, SMALL_BYTES, SMALL_BYTES + 1, 64 * MIB, 256 * MIB])


@dataclass
class Registry:
    """What it takes, by numbers alone; `has` of the blob is there. truth: what it really is, whatever is thought of it."""

    truth: frozenset[Rung]
    most_body: int
    most_chunk: int = 0
    has: int = 0
    sent: list[Step] = field(default_factory=list)

    def send(self, ladder: Ladder, size: int) -> bool:
        """Whether a blob of this size got there."""
        self.has, closed = 0, False
        while not closed and (self.has < size or not size):
            step = ladder.step(size, self.has)
            self.sent.append(step)
            assert len(self.sent) < 4_000, "it never ends"
            assert step.offset == self.has
            assert 0 < step.length <= size - self.has or not size
            if self.most_body and step.length > self.most_body:
                if not ladder.too_large(step):
                    return False
            elif (step.length and step.rung not in self.truth) or (
                step.rung is Rung.CHUNKS and self.most_chunk and step.length > self.most_chunk
            ):
                if not ladder.refused(step):
                    return False
                self.has = 0
            else:
                self.has = step.end
                closed = step.rung is Rung.WHOLE
                ladder.took(step)
        return True


def ladder_of(profile: Profile = GENERIC, lessons: Lessons | None = None, now: float = 0.0) -> Ladder:
    return Ladder(lambda: profile, lessons if lessons is not None else Lessons(), lambda: now)


@settings(max_examples=60, deadline=None)
@given(SIZES, st.sets(st.sampled_from(Rung), min_size=1), st.sampled_from(PROFILES))
def test_whatever_way_a_registry_has_is_found_and_remembered(size: int, ways: set[Rung], profile: Profile) -> None:
    if not ways.intersection(profile.ladder):
        return  # two things that contradict each other
    lessons = Lessons()
    registry = Registry(frozenset(ways), 0)
    assert registry.send(ladder_of(profile, lessons), size)
    registry.sent.clear()
    assert registry.send(ladder_of(profile, lessons), size)
    assert {step.rung for step in registry.sent if step.length} <= ways, "what was refused once is not tried again"


@settings(max_examples=60, deadline=None)
@given(SIZES, st.integers(512 * 1024, 512 * MIB), st.sampled_from(PROFILES))
@example(13_668_252, 1_708_531, GENERIC)
def test_a_limit_on_bodies_is_found_and_kept_to(size: int, limit: int, profile: Profile) -> None:
    if limit < profile.least_chunk_bytes or (limit < size and Rung.CHUNKS not in profile.ladder):
        return  # two things that contradict each other
    lessons = Lessons()
    registry = Registry(frozenset(profile.ladder), limit, profile.most_chunk_bytes)
    assert registry.send(ladder_of(profile, lessons), size)
    refused = [step for step in registry.sent if step.length > limit]
    assert len(refused) <= 12
    registry.sent.clear()
    assert registry.send(ladder_of(profile, lessons), size)
    assert not [step for step in registry.sent if step.length > limit], "for a week nothing of that size is tried"
    worthwhile = min(size // 4, limit // 4, profile.most_chunk_bytes or size)
    assert all(step.length >= worthwhile for step in registry.sent[:-1]), "and pieces are not needlessly small"


def test_a_limit_below_the_smallest_chunk_is_given_up() -> None:
    assert not Registry(frozenset(Rung), 1000).send(ladder_of(), 5 * MIB)
    profile = replace(GENERIC, least_chunk_bytes=5 * MIB)
    assert not Registry(frozenset(Rung), 4 * MIB).send(ladder_of(profile), 64 * MIB)


def test_one_that_takes_nothing_is_given_up_and_asked_anew_the_next_time() -> None:
    lessons = Lessons()
    assert not Registry(frozenset(), 0).send(ladder_of(GENERIC, lessons), 8 * MIB)
    assert ladder_of(GENERIC, lessons).step(8 * MIB, 0).rung is Rung.STREAM


def test_a_refusal_is_tried_again_after_a_week() -> None:
    lessons = Lessons()
    ladder = ladder_of(GENERIC, lessons, now=1000.0)
    assert ladder.refused(ladder.step(8 * MIB, 0))
    assert ladder.step(8 * MIB, 0).rung is Rung.WHOLE
    assert ladder_of(GENERIC, lessons, now=1000.0 + REMEMBERED_SECONDS).step(8 * MIB, 0).rung is Rung.STREAM


def test_time_outs_halve_and_success_doubles_until_nothing_bounds_it() -> None:
    lessons = Lessons()
    ladder = ladder_of(GENERIC, lessons)
    sizes = []
    for _ in range(3):
        step = ladder.step(1024 * MIB, 0)
        ladder.took_long(step)
        sizes.append(ladder.step(1024 * MIB, 0).length)
    assert sizes == [32 * MIB, 16 * MIB, 8 * MIB]
    for expected in (8, 16, 32, 64):
        for _ in range(GOOD_PIECES):
            step = ladder.step(1024 * MIB, 5)
            assert step.length == expected * MIB
            ladder.took(step)
    assert not lessons.piece_bytes
    assert ladder.step(1024 * MIB, 0) == Step(Rung.STREAM, 0, TURN_BYTES)


def test_a_large_blob_goes_in_pieces_between_which_others_get_their_turn() -> None:
    ladder = ladder_of()
    first = ladder.step(1024 * MIB, 0)
    assert first == Step(Rung.STREAM, 0, TURN_BYTES)
    assert ladder.step(1024 * MIB, first.end) == Step(Rung.CHUNKS, TURN_BYTES, TURN_BYTES)
    assert ladder.step(TURN_BYTES + 5 * MIB, 0) == Step(Rung.STREAM, 0, TURN_BYTES + 5 * MIB), "no piece for so little"
    assert ladder.step(1024 * MIB, 0, least=100 * MIB).length == 100 * MIB


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.name)
def test_where_chunks_are_peculiar_or_refused_a_large_blob_is_one_stream(profile: Profile) -> None:
    lessons = Lessons()
    lessons.refused[Rung.CHUNKS] = REMEMBERED_SECONDS
    assert ladder_of(profile, lessons).step(1024 * MIB, 0) == Step(Rung.STREAM, 0, 1024 * MIB)
    in_pieces = ladder_of(profile).step(1024 * MIB, 0).length == TURN_BYTES
    assert in_pieces is (profile.name not in ("ecr", "ghcr", "gar"))


def test_pieces_grow_to_less_than_what_was_refused() -> None:
    lessons = Lessons()
    ladder = ladder_of(GENERIC, lessons)
    assert ladder.too_large(ladder.step(12 * MIB, 0))
    assert ladder.too_large(ladder.step(12 * MIB, 0))
    for _ in range(5 * GOOD_PIECES):
        step = ladder.step(12 * MIB, 1)
        assert step.length < 6 * MIB
        ladder.took(step)


@given(st.integers(1, 512 * MIB), st.integers(0, 600 * MIB), st.integers(0, 16 * MIB), st.integers(0, 100 * MIB))
def test_chunks_keep_to_what_the_registry_says(size: int, offset: int, least: int, piece: int) -> None:
    offset = min(offset, size - 1)
    step = ladder_of(GENERIC, Lessons(piece_bytes=piece)).step(size, offset, least)
    assert step.offset == offset
    assert 0 < step.length <= size - offset
    assert step.end == size or step.length >= least
    assert step.length <= LARGEST_PIECE_BYTES or not piece or piece > LARGEST_PIECE_BYTES or offset == 0 or least


def test_a_profile_is_where_it_begins() -> None:
    ghcr = next(each for each in PROFILES if each.name == "ghcr")
    ecr = next(each for each in PROFILES if each.name == "ecr")
    assert ladder_of(ghcr).step(100 * MIB, 0) == Step(Rung.STREAM, 0, 100 * MIB)
    assert ladder_of(ghcr).step(100 * MIB, 10 * MIB) == Step(Rung.CHUNKS, 10 * MIB, 4 * MIB)
    assert ladder_of(ecr, Lessons(piece_bytes=MIB)).step(100 * MIB, 0).length == 5 * MIB


@pytest.mark.parametrize("size", [0, 1, SMALL_BYTES])
def test_what_is_small_is_one_put(size: int) -> None:
    assert ladder_of().step(size, 0) == Step(Rung.WHOLE, 0, size)
