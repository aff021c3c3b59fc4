"""Rows come, go, move and change in place; never is the whole model thrown away."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PySide6.QtCore import QPersistentModelIndex
from PySide6.QtTest import QAbstractItemModelTester, QSignalSpy

from tests.support.fake_yard import MB, digest, job, part, progress
from yarddesk.desktop.models.rows_model import Line, Role, RowsModel
from yarddesk.progress import LayerProgress, LayerState
from yarddesk.sync.states import JobState

NOW = datetime(2026, 11, 24, 15, 30, tzinfo=UTC)
STRICT = QAbstractItemModelTester.FailureReportingMode.Fatal


def lines(*names: str) -> list[Line]:
    return [Line(name, job(f"{name}:1", part(JobState.QUEUED), at=NOW)) for name in names]


def names(model: RowsModel) -> list[str]:
    return [model.index(row, 0).data() for row in range(model.rowCount())]


@pytest.fixture
def model(qapp):
    made = RowsModel(NOW)
    tester = QAbstractItemModelTester(made, STRICT)
    resets = QSignalSpy(made.modelReset)
    yield made
    assert resets.count() == 0
    del tester


def with_layers(done: int, count: int = 3) -> Line:
    layers = tuple(
        LayerProgress(
            digest(str(n)), 10 * MB, done if n == 0 else 0, LayerState.SENDING if n == 0 else LayerState.WAITING
        )
        for n in range(count)
    )
    return Line("a", job("a:1", part(JobState.TRANSFERRING, progress=progress(done, 30 * MB, layers=layers)), at=NOW))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(st.lists(st.lists(st.sampled_from("abcdefghij"), unique=True), min_size=1, max_size=6))
def test_the_model_becomes_whatever_it_is_shown_by_rows_that_come_go_and_move(model, snapshots):
    for wanted in snapshots:
        model.show(lines(*wanted), NOW)
        assert names(model) == [f"{name}:1" for name in wanted]


def test_a_row_is_the_same_one_wherever_it_goes(model):
    model.show(lines("a", "b", "c", "d"), NOW)
    marked = QPersistentModelIndex(model.index_of("c"))
    model.show(lines("d", "x", "c"), NOW)
    assert marked.row() == 2
    assert marked.data() == "c:1"


def test_only_rows_that_changed_say_so(model):
    model.show(lines("a", "b", "c"), NOW)
    changes = QSignalSpy(model.dataChanged)
    model.show(lines("a", "b", "c"), NOW)
    assert changes.count() == 0
    others = lines("a", "b", "c")
    others[1] = Line("b", job("b:1", part(JobState.PAUSED), at=NOW))
    model.show(others, NOW)
    assert changes.count() == 1
    assert changes.at(0)[0].row() == changes.at(0)[1].row() == 1


def test_neighbours_that_change_together_say_so_once(model):
    model.show(lines(*"abcdef"), NOW)
    changes = QSignalSpy(model.dataChanged)
    model.show([Line(n, job(f"{n}:1", part(JobState.PAUSED), at=NOW)) for n in "abcdef"], NOW)
    assert changes.count() == 1


def test_layers_are_rows_below_their_image_and_change_alone(model):
    model.show([with_layers(0)], NOW)
    top = model.index_of("a")
    assert model.rowCount(top) == 3
    assert model.index(0, 0, top).parent() == top
    changes = QSignalSpy(model.dataChanged)
    model.show([with_layers(5 * MB)], NOW)
    changed = [(changes.at(n)[0].row(), changes.at(n)[0].parent().isValid()) for n in range(changes.count())]
    assert sorted(changed) == [(0, False), (0, True)]
    assert model.index(0, 0, top).data(Role.ROW).fraction == pytest.approx(0.5)


def test_layers_come_and_go(model):
    for count in (3, 5, 1, 0, 2):
        model.show([with_layers(0, count)], NOW)
        assert model.rowCount(model.index_of("a")) == count


def test_with_several_upstreams_each_has_its_line(model):
    two = job("a:1", part(JobState.QUEUED), part(JobState.DONE, "ghcr.io"), at=NOW)
    model.show([Line("a", two)], NOW)
    top = model.index_of("a")
    assert [model.index(row, 0, top).data() for row in range(model.rowCount(top))] == ["registry.corp", "ghcr.io"]


def test_the_time_that_is_left_to_wait_runs_down_without_a_snapshot(model):
    waits = part(JobState.WAITING, tries=1, next_attempt=NOW + timedelta(seconds=40), reason="no answer")
    model.show([*lines("b"), Line("a", job("a:1", waits, at=NOW))], NOW)
    assert model.index_of("a").data(Role.ROW).status == "Try 2 in 40 s: no answer"
    changes = QSignalSpy(model.dataChanged)
    model.tick(NOW + timedelta(seconds=1))
    assert model.index_of("a").data(Role.ROW).status == "Try 2 in 39 s: no answer"
    assert [changes.at(n)[0].row() for n in range(changes.count())] == [1]


def test_what_a_row_says_is_there_for_a_screen_reader_and_safe_in_a_tooltip(model):
    from PySide6.QtCore import Qt

    blocked = job("a:1", part(JobState.BLOCKED, reason="<img src=x>"), at=NOW)
    model.show([Line("a", blocked)], NOW)
    index = model.index_of("a")
    assert index.data(Qt.ItemDataRole.AccessibleTextRole) == "a:1 to registry.corp. Needs you: <img src=x>."
    assert "&lt;img src=x&gt;" in index.data(Qt.ItemDataRole.ToolTipRole)
