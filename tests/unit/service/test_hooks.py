"""A real command and a real HTTP server are told of arrivals: in order, at least once, and whatever they do, no image waits."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.support.clocks import HandClock
from tests.support.waiting import until_async
from tests.support.webhook_receiver import Receiver, receiving
from yarddesk.content.credentials import Secret
from yarddesk.content.listener import Arrival
from yarddesk.events import EventBus, HookFailed
from yarddesk.oci.digest import Digest
from yarddesk.oci.name import RepositoryName, Tag
from yarddesk.service import hooks as hooks_module
from yarddesk.service.hooks import Hooks
from yarddesk.service.outbox import Outbox
from yarddesk.settings.model import OnSyncedSettings
from yarddesk.sync.snapshot import HistoryEntry

DIGEST, BEFORE = Digest.of(b"now"), Digest.of(b"before")


def arrival(tag: str = "v1", at: datetime | None = None) -> Arrival:
    return Arrival(
        RepositoryName.parse("team/app"),
        Tag.parse(tag),
        DIGEST,
        "corp",
        "registry.corp",
        "registry.corp/team/app",
        BEFORE,
        42,
        at or datetime(2026, 3, 1, 12, 0, tzinfo=UTC),
    )


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as made:
        yield made


class Told:
    """Hooks over a folder, what they publish, and a clock."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.clock = HandClock()
        self.failed: list[HookFailed] = []
        self.kept: list[HistoryEntry] = []
        self.events = EventBus()
        self.events.subscribe(self.failed.append, HookFailed)

    @asynccontextmanager
    async def hooks(self, *, command: str = "", webhook: str = "", environ: dict[str, str] | None = None) -> Any:
        settings = OnSyncedSettings(Secret(command), Secret(webhook))
        given = os.environ | (environ or {})
        async with Hooks(self.folder, settings, self.events, environ=given, clock=self.clock) as made:
            made.remember = self.remember
            yield made

    async def remember(self, entry: HistoryEntry) -> None:
        """As the history: while something is kept there, it still waits to be told."""
        assert self.waiting(entry.hook)
        self.kept.append(entry)

    def waiting(self, kind: str) -> int:
        folder = self.folder / "arrivals" / kind
        return len(list(folder.iterdir())) if folder.is_dir() else 0


@pytest.fixture
def told(tmp_path: Path) -> Told:
    return Told(tmp_path / "data")


def python(script: str, *arguments: str) -> str:
    return shlex.join([sys.executable, "-c", script, *arguments])


def appends(file: Path) -> str:
    """A command that writes what it is given, and its environment, into a file."""
    script = (
        "import sys, os, json; given = json.load(sys.stdin);"
        "env = {k: v for k, v in os.environ.items() if k.startswith('YARDDESK_') or k == 'MINE'};"
        "open(sys.argv[1], 'a').write(json.dumps([given, env]) + chr(10))"
    )
    return python(script, str(file))


def lines(file: Path) -> list[Any]:
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


async def test_the_command_is_given_the_arrival_as_json_and_in_its_environment(told: Told, tmp_path: Path) -> None:
    file = tmp_path / "with 'quotes' and $HOME"
    environ = {"MINE": "kept", "YARDDESK_STORAGE_SECRET_KEY": "s3cr3t"}
    async with told.hooks(command=appends(file), environ=environ) as hooks:
        for tag in ("v1", "v2", "v3"):
            await hooks.image_arrived(arrival(tag))
        await until_async(lambda: len(lines(file)) == 3 and not told.waiting("command"), 20, "it ran thrice")
    (given, environment), *_ = lines(file)
    assert [line[0]["reference"] for line in lines(file)] == ["v1", "v2", "v3"]
    assert {key: given[key] for key in ("event", "image", "digest", "upstream", "registry", "replaced", "at")} == {
        "event": "image_synced",
        "image": "team/app:v1",
        "digest": DIGEST,
        "upstream": "corp",
        "registry": "registry.corp",
        "replaced": BEFORE,
        "at": "2026-03-01T12:00:00.000Z",
    }
    assert environment == {
        "MINE": "kept",
        "YARDDESK_REPOSITORY": "team/app",
        "YARDDESK_REFERENCE": "v1",
        "YARDDESK_DIGEST": DIGEST,
        "YARDDESK_UPSTREAM": "corp",
        "YARDDESK_REGISTRY": "registry.corp",
        "YARDDESK_REPLACED": BEFORE,
    }
    assert told.failed == []


async def test_a_command_that_fails_or_is_not_there_is_told_of_once_without_its_arguments(
    told: Told, caplog: pytest.LogCaptureFixture
) -> None:
    script = "import sys; print('the', 'chat', 'said', 'no', 'to', sys.argv[1]); sys.exit(3)"
    async with told.hooks(command=python(script, "s3cr3t-token")) as hooks:
        await hooks.image_arrived(arrival())
        await until_async(lambda: told.failed, 20, "the failure is told")
        assert "status 3: the chat said no to ***" in told.failed[0].reason
        hooks.follow(OnSyncedSettings(command=Secret("/not/there s3cr3t-token")))
        await hooks.image_arrived(arrival("v2"))
        await until_async(lambda: len(told.failed) == 2, 20, "the failure is told")
        assert "/not/there could not be started" in told.failed[1].reason
        await until_async(lambda: not told.waiting("command"), 5, "neither is tried again")
    assert [(entry.name, entry.hook, entry.outcome, entry.digest, entry.at) for entry in told.kept] == [
        ("team/app:v1", "command", "failed", DIGEST, told.clock.now()),
        ("team/app:v2", "command", "failed", DIGEST, told.clock.now()),
    ]
    assert [entry.reason for entry in told.kept] == [event.reason for event in told.failed]
    assert all(event.over for event in told.failed)
    assert "s3cr3t" not in caplog.text
    assert "s3cr3t" not in str(told.failed) + str(told.kept)


async def test_a_piece_of_a_commands_script_that_it_prints_is_not_repeated(told: Told) -> None:
    script = "wget https://hooks.example.com/services/T0/s3cr3t-token --header='X-Key: s3cr3t+key'"
    said = "echo no answer from https://hooks.example.com/services/T0/s3cr3t-token with s3cr3t+key; exit 3;"
    async with told.hooks(command=shlex.join(["/bin/sh", "-c", f"{said} {script}"])) as hooks:
        await hooks.image_arrived(arrival())
        await until_async(lambda: told.kept, 20, "the failure is kept")
    assert "status 3" in told.kept[0].reason
    assert "s3cr3t" not in str(told.kept) + str(told.failed)


async def test_a_command_that_hangs_is_ended_with_all_that_it_started(
    told: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hooks_module, "_COMMAND_SECONDS", 2.0)
    file = tmp_path / "child"
    command = shlex.join(["/bin/sh", "-c", f"sleep 600 & echo $! > {file}; wait"])
    async with told.hooks(command=command) as hooks:
        await hooks.image_arrived(arrival())
        await until_async(lambda: told.failed, 20, "it took too long")
    assert "/bin/sh took more than 2 s" in told.failed[0].reason
    await until_async(lambda: _is_over(int(file.read_text())), 5, "its child ended too")


def _is_over(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


async def test_stopping_ends_the_command_quickly_and_it_runs_again_at_the_next_start(
    told: Told, tmp_path: Path
) -> None:
    file = tmp_path / "started"
    async with told.hooks(command=shlex.join(["/bin/sh", "-c", f"echo x >> {file}; sleep 600"])) as hooks:
        await hooks.image_arrived(arrival())
        await until_async(file.exists, 20, "it runs")
        stopped = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - stopped < 10
    assert told.waiting("command") == 1
    after = tmp_path / "after"
    async with told.hooks(command=appends(after)):
        await until_async(lambda: lines(after), 20, "it runs again")


async def test_what_a_command_leaves_running_holds_nothing_up(told: Told, tmp_path: Path) -> None:
    file = tmp_path / "child"
    command = shlex.join(["/bin/sh", "-c", f"sleep 600 & echo $! >> {file}"])
    async with told.hooks(command=command) as hooks:
        await hooks.image_arrived(arrival())
        await hooks.image_arrived(arrival("v2"))
        await until_async(lambda: not told.waiting("command") and len(file.read_text().split()) == 2, 20, "both ran")
    for pid in map(int, file.read_text().split()):
        assert not _is_over(pid)
        os.kill(pid, 9)
    assert told.failed == []


async def test_a_command_that_prints_without_end_costs_no_memory(told: Told) -> None:
    script = (
        "import sys\nfor _ in range(400): sys.stdout.write('x' * 100_000)\nsys.stdout.write('the end'); sys.exit(1)"
    )
    async with told.hooks(command=python(script)) as hooks:
        await hooks.image_arrived(arrival())
        await until_async(lambda: told.failed, 30, "it failed")
    assert len(told.failed[0].reason) < 1000


async def test_the_webhook_gets_the_arrival_with_a_key_of_its_own(told: Told, receiver: Receiver) -> None:
    async with told.hooks(webhook=receiver.address) as hooks:
        for tag in ("v1", "v2"):
            await hooks.image_arrived(arrival(tag))
        await until_async(lambda: len(receiver.got) == 2 and not told.waiting("webhook"), 20, "both were told")
    path, headers, document = receiver.got[0]
    assert path == "/hook/s3cr3t-path?key=s3cr3t-key"
    assert headers["content-type"] == "application/json"
    assert headers["idempotency-key"] == document["id"] != receiver.got[1][2]["id"]
    assert receiver.tags == ["v1", "v2"]


async def test_a_webhook_that_fails_is_tried_again_later_and_later_and_keeps_the_order(
    told: Told, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    receiver.answers = [500, 302, 429]
    async with told.hooks(webhook=receiver.address) as hooks:
        await hooks.image_arrived(arrival("v1"))
        await hooks.image_arrived(arrival("v2"))
        for tries, seconds in ((1, 5), (2, 10), (3, 20)):
            await until_async(lambda: told.clock.next_alarm is not None, 20, "it waits for its next try")
            assert len(receiver.got) == tries
            assert told.clock.next_alarm == seconds
            told.clock.advance(seconds)
            await until_async(lambda: len(receiver.got) > tries, 20, "it's tried again")  # noqa: B023
        await until_async(lambda: not told.waiting("webhook"), 20, "both were told")
    assert receiver.tags == ["v1"] * 4 + ["v2"]
    assert len({document["id"] for _, _, document in receiver.got[:4]}) == 1
    [failed] = told.failed
    assert (failed.what, failed.image) == ("webhook", "team/app:v1")
    assert failed.reason == f"127.0.0.1:{receiver.server_port} answered with status 500."
    assert "s3cr3t" not in caplog.text


async def test_a_webhooks_user_and_password_go_as_basic_authentication(told: Told, receiver: Receiver) -> None:
    async with told.hooks(webhook=receiver.address.replace("://", "://me:s3cr3t@")) as hooks:
        await hooks.image_arrived(arrival())
        await until_async(lambda: receiver.got, 20, "it was told")
    assert receiver.got[0][1]["authorization"] == "Basic bWU6czNjcjN0"
    assert receiver.got[0][1]["host"] == f"127.0.0.1:{receiver.server_port}"


async def test_a_webhook_that_is_not_there_is_told_of_without_its_address_and_given_up_after_a_day(
    told: Told, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    address = receiver.address
    receiver.shutdown()
    receiver.server_close()
    async with told.hooks(webhook=address) as hooks:
        await hooks.image_arrived(arrival(at=told.clock.now() - timedelta(hours=23)))
        await until_async(lambda: told.clock.next_alarm is not None, 20, "it waits for its next try")
        assert told.waiting("webhook") == 1
        told.clock.advance(2 * 3600)
        assert not told.kept
        await until_async(lambda: not told.waiting("webhook"), 20, "it's given up")
    assert [event.over for event in told.failed] == [False, True]
    [entry] = told.kept
    assert (entry.name, entry.hook) == ("team/app:v1", "webhook")
    assert "refused the connection" in entry.reason
    assert "s3cr3t" not in str(entry)
    assert "refused the connection" in told.failed[0].reason
    assert "s3cr3t" not in caplog.text + str(told.failed)


async def test_of_what_gives_way_to_others_it_is_kept_that_it_was_never_told(
    told: Told, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("yarddesk.service.hooks.Outbox", partial(Outbox, kept=2))
    receiver.answers = [503] * 10
    async with told.hooks(webhook=receiver.address) as hooks:
        for tag in ("v1", "v2", "v3"):
            await hooks.image_arrived(arrival(tag))
        assert [entry.name for entry in told.kept] == ["team/app:v1"]
        assert "too many others" in told.kept[0].reason.lower()


async def test_another_address_is_tried_at_once_and_none_drops_what_waits(told: Told, receiver: Receiver) -> None:
    receiver.answers = [503] * 10
    async with told.hooks(webhook=f"{receiver.address}&old") as hooks:
        await hooks.image_arrived(arrival("v1"))
        await until_async(lambda: told.clock.next_alarm is not None, 20, "it waits for its next try")
        receiver.answers = []
        hooks.follow(OnSyncedSettings(webhook=Secret(receiver.address)))
        await until_async(lambda: not told.waiting("webhook"), 20, "it's told at the new address")
        assert len(receiver.got) == 2
        receiver.answers = [503]
        await hooks.image_arrived(arrival("v2"))
        await until_async(lambda: told.clock.next_alarm is not None, 20, "it waits for its next try")
        hooks.follow(OnSyncedSettings())
        await until_async(lambda: not told.waiting("webhook"), 20, "nobody is to be told any more")
        await hooks.image_arrived(arrival("v3"))
        assert not told.waiting("webhook")
    assert receiver.tags == ["v1", "v1", "v2"]


async def test_a_webhook_that_is_down_does_not_keep_the_command_from_running(
    told: Told, receiver: Receiver, tmp_path: Path
) -> None:
    receiver.answers = [500] * 10
    file = tmp_path / "ran"
    async with told.hooks(command=appends(file), webhook=receiver.address) as hooks:
        await hooks.image_arrived(arrival("v1"))
        await hooks.image_arrived(arrival("v2"))
        await until_async(lambda: len(lines(file)) == 2 and not told.waiting("command"), 20, "the command ran")
        assert told.waiting("webhook") == 2
    receiver.answers = []
    async with told.hooks(command=appends(file), webhook=receiver.address):
        await until_async(lambda: not told.waiting("webhook"), 20, "the webhook was told")
    assert len(lines(file)) == 2


async def test_without_settings_nothing_is_written(told: Told) -> None:
    async with told.hooks() as hooks:
        await hooks.image_arrived(arrival())
    assert not list(told.folder.iterdir())
