"""`queue --follow` in words: what each event is worth saying, and that the queue is shown again after a gap."""

from __future__ import annotations

import json
from typing import Any

import pytest

from yarddesk.cli.following import follow, in_words
from yarddesk.control.documents import events_document
from yarddesk.control.event_log import EventLog
from yarddesk.events import (
    BlobsEvicted,
    Event,
    EventBus,
    HookFailed,
    ImageEvicted,
    JobAdded,
    JobMoved,
    JobRemoved,
    JobStateChanged,
    ManifestStored,
    MarkerSetAside,
    PartEnded,
    PartPlanned,
    PauseChanged,
    SettingsChanged,
    TagConflict,
    TryBegun,
    TryFailed,
    UpstreamStateChanged,
)
from yarddesk.oci.digest import Digest
from yarddesk.oci.name import RepositoryName, Tag

IMAGE = "team/app:v1"
TEAM = RepositoryName.parse("team/app")
THERE = Digest.of(b"there")
MB = 1_000_000


def ended(outcome: str, **more: Any) -> PartEnded:
    figures = {"seconds": 2.14, "bytes_sent": 16 * MB, "bytes_saved": 1240 * MB, "tries": 1}
    return PartEnded(job_id=IMAGE, upstream="corp", outcome=outcome, **(figures | more))


def changed(new: str, reason: str = "") -> JobStateChanged:
    return JobStateChanged(job_id=IMAGE, upstream="corp", old="queued", new=new, reason=reason)


def planned(there: int, mountable: int, to_send: int) -> PartPlanned:
    return PartPlanned(job_id=IMAGE, upstream="corp", there=there, mountable=mountable, to_send=to_send)


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (JobAdded(job_id=IMAGE), "team/app:v1  queued"),
        (changed("transferring"), "team/app:v1  corp  transferring"),
        (changed("waiting", "no answer"), "team/app:v1  corp  waiting: no answer"),
        (changed("done"), ""),
        (
            ImageEvicted(
                repository=TEAM, digest=THERE, tags=(Tag.parse("v1"), Tag.parse("v2")), size=3 * MB, bound="max_size"
            ),
            "team/app  v1, v2 went here to make room, 3.0 MB; it can be pulled again",
        ),
        (
            ImageEvicted(repository=TEAM, digest=THERE, tags=(), size=3 * MB, bound="min_free"),
            f"team/app  {THERE[:19]} went here to make room, 3.0 MB; it can be pulled again",
        ),
        (BlobsEvicted(size=3 * MB, bound="min_free"), "blobs that nothing here names went to make room, 3.0 MB"),
        (
            planned(1200 * MB, 40 * MB, 16 * MB),
            "team/app:v1  corp  1.2 GB there, 40 MB can be mounted, 16 MB to send",
        ),
        (planned(0, 0, 0), "team/app:v1  corp  all is there"),
        (ended("done"), "team/app:v1  corp  synced: 16 MB sent, 1.2 GB there, 2.1 s"),
        (
            ended("done", replaced=THERE),
            f"team/app:v1  corp  synced, replaced {THERE[:19]}: 16 MB sent, 1.2 GB there, 2.1 s",
        ),
        (ended("cancelled", reason="Kept theirs."), "team/app:v1  corp  cancelled: Kept theirs."),
        (JobMoved(job_id=IMAGE), "team/app:v1  moved up"),
        (JobRemoved(job_id=IMAGE, outcome="superseded"), "team/app:v1  goes on with the index that carries it"),
        (JobRemoved(job_id=IMAGE, outcome="done"), ""),
        (PauseChanged(paused=True), "everything: paused"),
        (PauseChanged(paused=False, upstream="corp"), "corp  goes on"),
        (PauseChanged(paused=True, repository=TEAM), "team/app  paused"),
        (UpstreamStateChanged(upstream="corp", state="needs_you", reason="no"), "corp  needs you: no"),
        (UpstreamStateChanged(upstream="corp", state="ok"), "corp  answers"),
        (
            HookFailed(what="webhook", image=IMAGE, reason="It said no."),
            "team/app:v1  arrived, but the webhook could not be told: It said no. It is tried again.",
        ),
        (
            HookFailed(what="command", image=IMAGE, reason="It said no.", over=True),
            "team/app:v1  arrived, but the command could not be told: It said no.",
        ),
        (
            MarkerSetAside(file="a.json.damaged", reason="It is too large."),
            "a.json.damaged in the queue's folder can't be used: It is too large.",
        ),
        (SettingsChanged(), "other settings are in force"),
        # What these say is said by the change of state that comes with them.
        (TryBegun(job_id=IMAGE, upstream="corp", number=2), ""),
        (TryFailed(job_id=IMAGE, upstream="corp", kind="away", reason="no answer"), ""),
        (TagConflict(job_id=IMAGE, upstream="corp", there=THERE), ""),
        (ManifestStored(repository=TEAM, digest=THERE, tags=(), origin="push"), ""),
    ],
)
def test_each_event_has_its_words(event: Event, words: str) -> None:
    bus = EventBus()
    log = EventLog(bus)
    bus.publish(event)
    [document] = events_document(log.since(None))["events"]
    assert in_words(json.loads(json.dumps(document))) == words


class Client:
    """Answers as it is told to; then somebody has seen enough."""

    def __init__(self, *happened: dict[str, Any]) -> None:
        self._happened = list(happened)
        self.asked: list[Any] = []

    def get(self, name: str, **parameters: int) -> dict[str, Any]:
        if name == "queue":
            return {"jobs": []}
        self.asked.append(parameters.get("since"))
        if not self._happened:
            raise KeyboardInterrupt
        return self._happened.pop(0)


def happened(last: int, *, missed: bool = False, reason: str = "") -> dict[str, Any]:
    event = {"type": "job_state_changed", "at": "2026-11-25T10:00:00Z", "job_id": IMAGE, "upstream": "corp"}
    return {"events": [event | {"new": "waiting", "reason": reason}], "last": last, "missed": missed}


def test_after_a_gap_the_queue_is_shown_again_and_then_what_comes(capsys: pytest.CaptureFixture[str]) -> None:
    client = Client(happened(3), happened(5, reason="one"), happened(2000, missed=True), happened(2001, reason="two"))
    shown: list[object] = []
    with pytest.raises(KeyboardInterrupt):
        follow(client, shown.append, as_json=False)  # type: ignore[arg-type]  # it asks as a client does
    assert client.asked == [None, 3, 5, 2000, 2001]
    assert len(shown) == 2
    said = [line[8:] for line in capsys.readouterr().out.splitlines()]
    assert said == [f"  {IMAGE}  corp  waiting: one", f"  {IMAGE}  corp  waiting: two"]


def test_what_a_terminal_would_obey_is_not_printed(capsys: pytest.CaptureFixture[str]) -> None:
    client = Client(happened(3), happened(5, reason="red \x1b[31m"))
    with pytest.raises(KeyboardInterrupt):
        follow(client, lambda _: None, as_json=False)  # type: ignore[arg-type]  # it asks as a client does
    assert "\x1b" not in capsys.readouterr().out


def test_a_program_gets_the_queue_again_after_a_gap(capsys: pytest.CaptureFixture[str]) -> None:
    client = Client(happened(3), happened(9, missed=True), happened(10))
    with pytest.raises(KeyboardInterrupt):
        follow(client, lambda _: None, as_json=True)  # type: ignore[arg-type]  # it asks as a client does
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line.get("type", "queue") for line in lines] == ["queue", "queue", "job_state_changed"]
