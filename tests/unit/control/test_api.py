"""The control API over ASGI, with a queue of hand-made snapshots behind it."""

import asyncio
import json
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from yarddesk import __version__
from yarddesk.content.credentials import Secret
from yarddesk.content.pull_through import PullHealth
from yarddesk.content.upstream import Quota
from yarddesk.control.app import control_app
from yarddesk.control.counters import EventCounters
from yarddesk.control.event_log import EventLog
from yarddesk.control.surface import WaitOutcome
from yarddesk.control.works import Work
from yarddesk.events import EventBus, JobStateChanged
from yarddesk.oci.digest import Digest
from yarddesk.oci.name import RepositoryName, Tag
from yarddesk.progress import ProgressMeter
from yarddesk.progress.traffic import Traffic
from yarddesk.sync.snapshot import (
    ConflictChoice,
    HistoryEntry,
    JobSnapshot,
    SendPlan,
    SetAsideMarker,
    SyncSnapshot,
    UpstreamHealth,
    UpstreamPart,
)
from yarddesk.sync.states import JobState

TOKEN = Secret("s3cret-token")
DIGEST = Digest.of(b"manifest")
NOW = datetime(2026, 11, 24, 13, 0, 0, 250_000, tzinfo=UTC)


class Queue:
    """Remembers what it was asked to do."""

    def __init__(self) -> None:
        self.asked: list[tuple[object, ...]] = []
        self.kept = ""
        self.kept_back_of: list[str | None] = []
        meter = ProgressMeter()
        meter.plan(DIGEST, 100)
        meter.start(DIGEST)
        meter.add(DIGEST, 40)
        plan, progress = SendPlan(10, 20, 70), meter.snapshot()
        sending = UpstreamPart("corp", "registry.corp", JobState.TRANSFERRING, tries=1, progress=progress, plan=plan)
        waiting = UpstreamPart(
            "hub", "docker.io", JobState.WAITING, "no answer", 3, NOW + timedelta(seconds=40), conflict=DIGEST
        )
        self.jobs = (
            JobSnapshot(
                "team/app:1", RepositoryName.parse("team/app"), Tag.parse("1"), DIGEST, 2, NOW, (sending, waiting)
            ),
        )

    def snapshot(self):
        health = (
            UpstreamHealth("corp", "registry.corp", "ok"),
            UpstreamHealth("hub", "docker.io", "away", "no answer"),
        )
        paused = {RepositoryName.parse("team/old"): NOW}
        aside = (SetAsideMarker("a\udcff.json.damaged", "It is too large."),)
        return SyncSnapshot(1, False, None, self.jobs, (), health, 12.3, paused_repositories=paused, set_aside=aside)

    def history(self, limit=100):
        entry = HistoryEntry(
            RepositoryName.parse("team/app"),
            Tag.parse("0"),
            DIGEST,
            "corp",
            "registry.corp",
            JobState.DONE,
            NOW,
            2.1,
            12,
            328,
        )
        return (entry,) * min(limit, 3)

    async def pause(self, target=None, *, for_seconds=None):
        self.asked.append(("pause", target, for_seconds))
        return 1

    async def resume(self, target=None):
        self.asked.append(("resume", target))
        return 1

    async def cancel(self, target=None):
        self.asked.append(("cancel", target))
        return 1

    async def decide(self, target, choice, *, upstream=None, tag=None, generation=None):
        self.asked.append(("decide", target, choice, upstream, tag, generation))
        return 1

    async def move_up(self, target):
        self.asked.append(("move_up", target))
        return 1

    def kept_back(self, target=None):
        self.kept_back_of.append(target)
        return self.kept

    async def retry(self, target=None):
        self.asked.append(("retry", target))
        return 0


class Surface:
    url = "http://localhost:5050"
    max_bytes = 1000

    def __init__(self) -> None:
        self.sync = Queue()
        self.shown = 0
        self.has_window = True
        self.pulls = {"corp": PullHealth("waits", "corp asks to wait.", Quota(100, 3, 21600))}
        self.works: dict[str, Work] = {}
        self.events = EventBus()
        self.event_log = EventLog(self.events)
        self.counters = EventCounters(self.events)
        self.traffic = Traffic()

    async def counted(self):
        """It never isn't."""

    def used_bytes(self):
        return 600

    def stored_bytes(self):
        return 700

    async def pins(self):
        return [{"reference": "team/app:v1"}]

    def pull_health(self, upstream):
        return self.pulls.get(upstream, PullHealth())

    def raise_window(self):
        self.shown += 1
        return self.has_window

    async def account_changed(self, registry, *, retry):
        return len(registry) if retry else 0

    async def wait(self, target, seconds):
        return WaitOutcome("pending" if target is None else "failed", f"{target}: {seconds}")


@pytest.fixture
def surface():
    return Surface()


@pytest.fixture
async def client(surface):
    transport = httpx.ASGITransport(control_app(surface, TOKEN))
    headers = {"Authorization": f"Bearer {TOKEN.reveal()}"}
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost", headers=headers) as client:
        yield client


async def test_status_has_the_contracts_keys(client):
    status = (await client.get("/api/v1/status")).json()
    assert status["state"] == "syncing"
    assert status["jobs"] == {"transferring": 1, "waiting": 1}
    assert (status["url"], status["version"], status["paused"]) == ("http://localhost:5050", __version__, False)
    assert status["bytes_left"] == 60
    assert status["paused_repositories"] == [{"repository": "team/old", "until": "2026-11-24T13:00:00.250Z"}]
    assert status["set_aside"] == [{"file": "a\udcff.json.damaged", "reason": "It is too large."}]
    assert status["cache"] == {"used": 600, "max": 1000, "stored": 700}
    assert [(upstream["name"], upstream["state"]) for upstream in status["upstreams"]] == [
        ("corp", "ok"),
        ("hub", "away"),
    ]
    assert [upstream["pulls"] for upstream in status["upstreams"]] == [
        {
            "state": "waits",
            "reason": "corp asks to wait.",
            "quota": {"limit": 100, "remaining": 3, "window_seconds": 21600},
        },
        {"state": "ok", "reason": "", "quota": None},
    ]


async def test_queue_has_the_contracts_keys(client):
    (job,) = (await client.get("/api/v1/queue")).json()["jobs"]
    assert {key: job[key] for key in ("id", "repository", "reference", "digest", "generation", "created")} == {
        "id": "team/app:1",
        "repository": "team/app",
        "reference": "1",
        "digest": DIGEST,
        "generation": 2,
        "created": "2026-11-24T13:00:00.250Z",
    }
    first, second = job["upstreams"]
    assert (first["name"], first["state"], first["bytes_done"], first["bytes_total"], first["tries"]) == (
        "corp",
        "transferring",
        40,
        100,
        1,
    )
    assert [first[key] for key in ("bytes_there", "bytes_mountable", "bytes_to_send")] == [10, 20, 70]
    assert second["bytes_to_send"] is None
    assert (second["reason"], second["bytes_total"], second["next_attempt"]) == (
        "no answer",
        None,
        "2026-11-24T13:00:40.250Z",
    )


async def test_actions_reach_the_queue_and_tell_how_many_they_met(client, surface):
    assert (await client.post("/api/v1/pause", json={"target": "corp", "for_seconds": 60})).json() == {"count": 1}
    assert (await client.post("/api/v1/resume")).json() == {"count": 1}
    assert (await client.post("/api/v1/cancel", json={"target": "team/app:1"})).json() == {"count": 1}
    assert (await client.post("/api/v1/retry", json={"target": None})).json() == {"count": 0}
    assert (await client.post("/api/v1/first", json={"target": "team/app:1"})).json() == {"count": 1}
    assert surface.sync.asked == [
        ("pause", "corp", 60),
        ("resume", None),
        ("cancel", "team/app:1"),
        ("retry", None),
        ("move_up", "team/app:1"),
    ]


async def test_what_is_kept_back_is_told_with_what_was_to_go_on(client, surface):
    surface.sync.kept = "1 image is kept back. corp is paused."
    told = {"kept_back": surface.sync.kept}
    assert (await client.post("/api/v1/retry", json={"target": "corp"})).json() == {"count": 0, **told}
    assert (await client.post("/api/v1/first", json={"target": "team/app:1"})).json() == {"count": 1, **told}
    assert (await client.post("/api/v1/resume", json={"target": "team/app"})).json() == {"count": 1, **told}
    overwrite = {"target": "team/app:1", "choice": "overwrite"}
    assert (await client.post("/api/v1/decide", json=overwrite)).json() == {"count": 1, **told}
    assert (await client.post("/api/v1/decide", json={**overwrite, "choice": "keep"})).json() == {"count": 1}
    assert surface.sync.kept_back_of[-1] == "team/app:1"
    for target, goes_as in (("team/app:1", "team/app:mine"), ("Not A Name", "Not A Name")):
        other = {"target": target, "choice": "tag", "tag": "mine"}
        assert (await client.post("/api/v1/decide", json=other)).json() == {"count": 1, **told}
        assert surface.sync.kept_back_of[-1] == goes_as
    assert (await client.post("/api/v1/cancel", json={"target": "corp"})).json() == {"count": 1}


async def test_decisions_reach_the_queue_and_the_queue_tells_what_asks_for_one(client, surface):
    (job,) = (await client.get("/api/v1/queue")).json()["jobs"]
    assert [part["conflict"] for part in job["upstreams"]] == [None, {"there": DIGEST}]
    for body in (
        {"target": "team/app:1", "choice": "overwrite", "generation": 2},
        {"target": "team/app:1", "choice": "keep", "upstream": "hub"},
        {"target": "team/app:1", "choice": "tag", "tag": "other"},
    ):
        assert (await client.post("/api/v1/decide", json=body)).json() == {"count": 1}
    assert surface.sync.asked == [
        ("decide", "team/app:1", ConflictChoice.OVERWRITE, None, None, 2),
        ("decide", "team/app:1", ConflictChoice.KEEP, "hub", None, None),
        ("decide", "team/app:1", ConflictChoice.TAG, None, Tag.parse("other"), None),
    ]


async def test_a_wait_is_answered_with_how_it_stands(client):
    assert (await client.post("/api/v1/wait", json={"seconds": 0})).json()["state"] == "pending"
    failed = (await client.post("/api/v1/wait", json={"target": "a", "seconds": 900})).json()
    assert failed == {"state": "failed", "reason": "a: 30.0"}


async def test_an_instance_is_told_of_another_account(client):
    told = await client.post("/api/v1/account-changed", json={"registry": "corp", "retry": True})
    assert told.json() == {"count": 4}
    assert (await client.post("/api/v1/account-changed", json={"registry": "corp"})).json() == {"count": 0}
    assert (await client.post("/api/v1/account-changed", json={"retry": True})).status_code == 400


async def test_showing_the_window_needs_one(client, surface):
    assert (await client.post("/api/v1/show")).status_code == 200
    surface.has_window = False
    assert (await client.post("/api/v1/show")).status_code == 409
    assert surface.shown == 2


@pytest.mark.parametrize("name", ["status", "queue", "history", "events"])
@pytest.mark.parametrize("given", [None, "", "Bearer", "Bearer wrong", "Basic s3cret-token", "Bearer s3cret-tokén"])
async def test_without_the_token_nothing_is_told(client, name, given):
    headers = {"Authorization": given.encode()} if given is not None else {}
    del client.headers["Authorization"]
    answer = await client.get(f"/api/v1/{name}", headers=headers)
    assert answer.status_code == 401
    assert "registry.corp" not in answer.text
    assert TOKEN.reveal() not in answer.text


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("pause", b"{"),
        ("pause", b"[]"),
        ("pause", b'{"target": 5}'),
        ("pause", b'{"for_seconds": "x"}'),
        ("pause", b'{"for_seconds": -1}'),
        ("wait", b'{"seconds": true}'),
        ("first", b"{}"),
        ("decide", b'{"choice": "keep"}'),
        ("decide", b'{"target": "a"}'),
        ("decide", b'{"target": "a", "choice": ["keep"]}'),
        ("decide", b'{"target": "a", "choice": "tag"}'),
        ("decide", b'{"target": "a", "choice": "tag", "tag": "-no"}'),
        ("decide", b'{"target": "a", "choice": "keep", "tag": "other"}'),
        ("decide", b'{"target": "a", "choice": "keep", "upstream": 5}'),
        ("decide", b'{"target": "a", "choice": "keep", "generation": true}'),
        ("cancel", b" " * 70_000),
    ],
)
async def test_what_cannot_be_understood_is_400_and_does_nothing(client, surface, name, body):
    answer = await client.post(f"/api/v1/{name}", content=body)
    assert answer.status_code == 400
    assert answer.json()["error"]
    assert surface.sync.asked == []


async def test_version_health_and_metrics_need_no_token(client):
    del client.headers["Authorization"]
    version = (await client.get("/version")).json()
    assert (version["name"], version["version"]) == ("yarddesk", __version__)
    assert set(version) >= {"revision"}
    assert (await client.get("/healthz")).status_code == 200
    metrics = await client.get("/metrics")
    assert metrics.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert 'yarddesk_sync_jobs{state="waiting"} 1' in metrics.text
    assert 'yarddesk_upstream_up{upstream="hub"} 0' in metrics.text
    assert "yarddesk_cache_bytes 600" in metrics.text


async def test_history_is_newest_first_and_bounded(client):
    entries = (await client.get("/api/v1/history", params={"limit": 2})).json()["entries"]
    assert len(entries) == 2
    assert entries[0]["at"] == "2026-11-24T13:00:00.250Z"
    assert json.dumps(entries[0]["bytes_saved"]) == "328"
    assert (await client.get("/api/v1/history", params={"limit": "x"})).status_code == 400


@pytest.mark.parametrize("seconds", ["1e300", "Infinity", "NaN", "0"])
async def test_a_pause_of_no_sensible_length_is_400(client, surface, seconds):
    answer = await client.post("/api/v1/pause", content=f'{{"for_seconds": {seconds}}}')
    assert answer.status_code == 400
    assert surface.sync.asked == []


@pytest.mark.parametrize(("name", "parameter"), [("history", "limit"), ("events", "since"), ("events", "seconds")])
@pytest.mark.parametrize("text", ["9" * 5000, "-1", "1.5", "", "²"])
async def test_what_is_no_sensible_number_is_400(client, name, parameter, text):
    assert (await client.get(f"/api/v1/{name}", params={parameter: text})).status_code == 400


async def test_events_are_told_from_a_number_on_as_soon_as_there_are_some(client, surface):
    def change(new):
        surface.events.publish(JobStateChanged(job_id="team/app:1", upstream="corp", old="queued", new=new, at=NOW))

    change("preparing")
    change("transferring")
    kept = (await client.get("/api/v1/events")).json()
    assert [event["new"] for event in kept["events"]] == ["preparing", "transferring"]
    assert (kept["last"], kept["missed"]) == (2, False)
    waiting = asyncio.create_task(client.get("/api/v1/events", params={"since": 2}))
    await asyncio.sleep(0)
    assert not waiting.done()
    change("committing")
    assert (await waiting).json() == {
        "events": [
            {
                "type": "job_state_changed",
                "sequence": 3,
                "at": "2026-11-24T13:00:00.250Z",
                "job_id": "team/app:1",
                "upstream": "corp",
                "old": "queued",
                "new": "committing",
                "reason": "",
            }
        ],
        "last": 3,
        "missed": False,
    }
    nothing = (await client.get("/api/v1/events", params={"since": 3, "seconds": 0})).json()
    assert nothing == {"events": [], "last": 3, "missed": False}


async def test_who_waits_for_events_is_let_go_when_it_stops(client, surface):
    waiting = asyncio.create_task(client.get("/api/v1/events", params={"since": 0}))
    await asyncio.sleep(0)
    surface.event_log.close()
    assert (await waiting).status_code == 503
