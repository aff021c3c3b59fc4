"""What the window tells of files in the queue's folder that can't be used."""

from __future__ import annotations

from pathlib import Path

from yarddesk.service.front import Remedy
from yarddesk.service.markers import marker_problem
from yarddesk.sync.snapshot import SetAsideMarker, SyncSnapshot


def test_it_names_the_files_and_leads_to_them() -> None:
    snapshot = SyncSnapshot(1, False, None, (), (), (), set_aside=(SetAsideMarker("a/b.json.damaged", "Not JSON."),))
    problem = marker_problem(snapshot, Path("/data"))
    assert problem is not None
    assert problem.title == "A file in the queue's folder can't be used."
    assert problem.details == "/data/pending/a/b.json.damaged: Not JSON."
    assert problem.remedy is Remedy.OPEN_QUEUE_FOLDER
    assert not problem.stops
    assert marker_problem(SyncSnapshot(1, False, None, (), (), ()), Path("/data")) is None
