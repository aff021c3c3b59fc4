"""A disk that is full or gone is told, and ends nothing."""

from yarddesk.service.disk import disk_problem


def test_room_enough_is_no_problem(tmp_path):
    assert disk_problem(tmp_path, 0) is None


def test_a_folder_that_went_away_is_told(tmp_path):
    problem = disk_problem(tmp_path / "gone", 0)
    assert problem is not None
    assert "data folder" in problem.title


def test_less_room_than_pulls_leave_is_told(tmp_path):
    problem = disk_problem(tmp_path, 1_000_000_000_000_000)
    assert problem is not None
    assert "not kept" in problem.title
