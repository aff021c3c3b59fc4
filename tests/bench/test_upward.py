"""The benchmark of what goes to upstreams, small; its figures are for `make bench`."""

from __future__ import annotations

import socket
from contextlib import suppress
from pathlib import Path

from tests.bench.outage import DeadEnd, Outage, measure_outage
from tests.bench.syncing import CHANGED, WHOLE, SyncFigures, measure_syncs
from tests.support.ports import held_port
from tests.support.waiting import until


def test_syncs_are_measured_against_skopeo_whoever_goes_first(tmp_path: Path) -> None:
    figures = measure_syncs(tmp_path, rounds=2, layers=3, layer_bytes=100_000)
    for what in (WHOLE, CHANGED):
        assert len(figures.ours[what]) == len(figures.skopeo[what]) == len(figures.cpu[what]) == 2
        assert min(figures.ours[what] + figures.skopeo[what]) > 0
    assert len(figures.lines()) == len(figures.bounds()) == 2
    assert list(tmp_path.iterdir()) == []


def test_a_slow_sync_is_told_from_a_quick_one() -> None:
    figures = SyncFigures()
    for what, ours in ((WHOLE, [7.9, 1.0, 20.0]), (CHANGED, [3.1, 3.0, 3.2])):
        figures.ours[what], figures.skopeo[what], figures.cpu[what] = ours, [10.0, 10.0, 10.0], [1.0] * 3
    assert [bound.kept for bound in figures.bounds()] == [True, False]


def test_an_outage_is_watched_in_both_ways_of_being_down(tmp_path: Path) -> None:
    outage = measure_outage(tmp_path / "outage", jobs=3, seconds=1.5)  # it is asked for once a second
    assert outage.jobs == 3
    assert outage.connections_a_second > 0
    assert len(outage.lines()) == 1
    assert not (tmp_path / "outage").exists()


def test_an_outage_that_costs_too_much_is_told() -> None:
    assert [bound.kept for bound in Outage(200, 19.0, 0.009, 0.009).bounds()] == [True, True]
    assert [bound.kept for bound in Outage(200, 21.0, 0.001, 0.011).bounds()] == [False, False]
    assert [bound.kept for bound in Outage(200, 1.0, 0.011, 0.001).bounds()] == [True, False]


def test_a_dead_end_counts_whoever_comes_and_closes() -> None:
    with held_port() as port:
        dead_end = DeadEnd(port)
        for _ in range(3):
            # Whoever is quick enough to connect meets the reset when it reads.
            with (
                suppress(ConnectionResetError),
                socket.create_connection(("127.0.0.1", port), timeout=10) as connection,
            ):
                assert connection.recv(1) == b""
        until(lambda: dead_end.taken == 3, what="it counted them")
        dead_end.close()
