"""Which part is tried next: each upstream at its own pace, gates, pauses, and waits that grow."""

from __future__ import annotations

from datetime import UTC, datetime
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from yarddesk.sync.schedule import Order, PartKey, Schedule, backoff_seconds

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def at_place(sequence: int, priority: int = 0) -> Order:
    return (-priority, sequence)


def key(job: str, upstream: str = "corp") -> PartKey:
    return PartKey(job, upstream)


def test_first_come_first_served_as_far_as_there_is_room() -> None:
    schedule = Schedule(2)
    for order, job in enumerate("abc"):
        schedule.add(key(job), at_place(order))
    assert schedule.take(0) == [key("a"), key("b")]
    assert schedule.take(0) == []
    schedule.finished(key("a"))
    assert schedule.take(0) == [key("c")]


def test_upstreams_do_not_hold_each_other_up() -> None:
    schedule = Schedule(1)
    schedule.add(key("a"), at_place(1))
    schedule.add(key("b"), at_place(2))
    schedule.add(key("c", "mirror"), at_place(3))
    assert schedule.take(0) == [key("a"), key("c", "mirror")]


def test_what_waits_comes_when_its_time_comes() -> None:
    schedule = Schedule(1)
    schedule.add(key("a"), at_place(1), at=10)
    assert schedule.take(9.9) == []
    assert schedule.next_due(9.9) == 10
    assert schedule.take(10) == [key("a")]
    assert schedule.next_due(10) is None


def test_what_is_added_while_it_runs_is_tried_again_after_it_ended() -> None:
    schedule = Schedule(5)
    schedule.add(key("a"), at_place(1))
    schedule.take(0)
    schedule.add(key("a"), at_place(1))
    assert schedule.take(0) == []
    schedule.finished(key("a"))
    assert schedule.take(0) == [key("a")]


def test_what_was_dropped_or_added_anew_is_not_tried_twice() -> None:
    schedule = Schedule(5)
    schedule.add(key("a"), at_place(1))
    schedule.add(key("b"), at_place(2), at=5)
    schedule.add(key("b"), at_place(2))
    schedule.drop(key("a"))
    assert schedule.take(9) == [key("b")]
    schedule.finished(key("b"))
    assert schedule.take(9) == []


def test_what_is_moved_up_comes_first_and_not_before_its_time() -> None:
    schedule = Schedule(1)
    for order, job in enumerate("abc"):
        schedule.add(key(job), at_place(order))
    schedule.add(key("late"), at_place(3), at=10)
    schedule.reorder(key("c"), at_place(2, priority=1))
    schedule.reorder(key("late"), at_place(3, priority=2))
    schedule.reorder(key("nobody"), at_place(4, priority=3))
    assert schedule.take(0) == [key("c")]
    schedule.reorder(key("c"), at_place(2, priority=4))
    schedule.finished(key("c"))
    assert schedule.take(0) == [key("a")]
    schedule.finished(key("a"))
    assert schedule.take(10) == [key("late")]
    schedule.finished(key("late"))
    assert schedule.take(10) == [key("b")]
    schedule.finished(key("b"))
    assert schedule.take(99) == []


def test_what_is_to_be_tried_again_after_it_ended_can_be_moved_up_meanwhile() -> None:
    schedule = Schedule(1)
    schedule.add(key("a"), at_place(0))
    schedule.take(0)
    schedule.add(key("b"), at_place(1))
    schedule.add(key("c"), at_place(2))
    schedule.add(key("a"), at_place(3))
    schedule.reorder(key("a"), at_place(3, priority=1))
    schedule.finished(key("a"))
    assert schedule.take(0) == [key("a")]


def test_a_shut_gate_lets_one_through_when_its_time_comes_and_the_rest_once_it_opened() -> None:
    schedule = Schedule(5)
    for order in range(4):
        schedule.add(key(f"j{order}"), at_place(order))
    gate = schedule.gate("corp")
    gate.shut("away", "no answer", 100, NOW)
    assert schedule.take(99) == []
    assert schedule.next_due(99) == 100
    assert schedule.take(100) == [key("j0")]
    assert schedule.take(100) == []
    gate.opened()
    assert len(schedule.take(100)) == 3


def test_pauses_keep_everything_or_an_upstream_from_starting() -> None:
    schedule = Schedule(5)
    schedule.add(key("a"), at_place(1))
    schedule.add(key("b", "mirror"), at_place(2))
    schedule.paused = True
    assert schedule.take(0) == []
    assert schedule.next_due(0) is None
    schedule.paused = False
    schedule.pause_upstream("corp", True)
    assert schedule.take(0) == [key("b", "mirror")]


@given(st.integers(1, 1000), st.integers())
def test_a_wait_is_never_shorter_than_5_nor_longer_than_300_seconds(failures: int, seed: int) -> None:
    assert 5 <= backoff_seconds(failures, Random(seed)) <= 300


def test_waits_grow_and_differ() -> None:
    random = Random(1)
    early = [backoff_seconds(1, random) for _ in range(200)]
    late = [backoff_seconds(8, random) for _ in range(200)]
    assert max(early) <= 10
    assert sum(late) / 200 > 100
    assert len(set(late)) == 200


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 3)), max_size=40), st.sets(st.integers(0, 12)))
def test_next_in_line_are_those_that_are_taken_next_in_that_order(
    added: list[tuple[int, int]], dropped: set[int]
) -> None:
    schedule = Schedule(3)
    for sequence, (number, priority) in enumerate(added):
        schedule.add(key(str(number)), at_place(sequence, priority))
    for number in dropped:
        schedule.drop(key(str(number)))
    foreseen = schedule.next_in_line("corp", 100)
    assert schedule.next_in_line("corp", 2) == foreseen[:2]
    taken = []
    while some := schedule.take(0):
        taken += some
        for each in some:
            schedule.finished(each)
    assert taken == foreseen
    assert schedule.next_in_line("corp", 100) == []


def test_what_is_said_of_a_part_again_and_again_takes_no_more_room() -> None:
    schedule = Schedule(1)
    for turn in range(50):
        for number in range(200):
            schedule.add(key(str(number)), at_place(number), None if turn % 3 else turn + 1.0)
    lane = schedule._lane("corp")
    assert len(lane.ready) + len(lane.later) <= 2 * 200 + 100
    assert schedule.next_in_line("corp", 3) == [key("0"), key("1"), key("2")]
    taken = []
    while some := schedule.take(0):
        taken += some
        for each in some:
            schedule.finished(each)
    assert taken == [key(str(number)) for number in range(200)]


def test_what_is_shut_out_or_has_room_does_not_lack_room() -> None:
    schedule = Schedule(1)
    schedule.add(key("a"), at_place(1))
    schedule.add(key("b"), at_place(2))
    assert not schedule.lacks_room("corp")
    schedule.take(0)
    assert schedule.lacks_room("corp")
    schedule.pause_upstream("corp", True)
    assert not schedule.lacks_room("corp")
    schedule.pause_upstream("corp", False)
    schedule.paused = True
    assert not schedule.lacks_room("corp")
    schedule.paused = False
    schedule.gate("corp").shut("away", "It's away.", 10, NOW)
    assert not schedule.lacks_room("corp")
