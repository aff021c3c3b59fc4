"""Counters that go forward with the bytes, and back with a failed attempt."""

from hypothesis import given
from hypothesis import strategies as st

from yarddesk.oci.digest import Digest
from yarddesk.progress import LayerState, ProgressMeter, RateEstimator

ONE, TWO = Digest.of(b"1"), Digest.of(b"2")


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_what_is_there_counts_as_done_and_saved_and_not_as_sent():
    meter = ProgressMeter(Clock())
    meter.plan(ONE, 100)
    meter.plan(TWO, 50)
    meter.finish(ONE, LayerState.THERE)
    meter.start(TWO)
    meter.add(TWO, 20)
    progress = meter.snapshot()
    assert (progress.bytes_done, progress.bytes_total, progress.bytes_sent, progress.bytes_saved) == (120, 150, 20, 100)


def test_a_failed_attempt_is_taken_back():
    meter = ProgressMeter(Clock())
    meter.plan(ONE, 100)
    meter.start(ONE)
    meter.add(ONE, 80)
    meter.rewind(ONE)
    assert meter.snapshot().bytes_done == 0
    meter.start(ONE)
    meter.add(ONE, 100)
    meter.finish(ONE, LayerState.SENT)
    assert meter.snapshot().bytes_sent == 100
    assert meter.snapshot().seconds_left == 0.0


def test_equal_revisions_mean_nothing_changed():
    meter = ProgressMeter(Clock())
    meter.plan(ONE, 100)
    before = meter.snapshot()
    assert meter.snapshot().revision == before.revision
    meter.start(ONE)
    assert meter.snapshot().revision != before.revision


def test_the_rate_follows_the_last_seconds_and_falls_to_nothing():
    clock = Clock()
    rate = RateEstimator(window_seconds=4, clock=clock)
    for _ in range(8):
        rate.add(1000)
        clock.now += 0.5
    assert 1500 < rate.bytes_per_second() < 2500
    clock.now += 10
    assert rate.bytes_per_second() == 0.0


@given(st.lists(st.tuples(st.floats(0, 2), st.integers(-50, 1000)), max_size=60))
def test_a_rate_is_never_negative(steps):
    clock = Clock()
    rate = RateEstimator(clock=clock)
    for seconds, count in steps:
        clock.now += seconds
        rate.add(count)
        assert rate.bytes_per_second() >= 0.0
