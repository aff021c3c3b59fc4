"""A fault at every call of a client's way through a yard: program for the tests beside it.

    python -m tests.faults.sweep FAULTS WAY FOLDER      FAULTS: a key of FAULTS; WAY: a key of WAYS

Each fault gets a process of its own, forked off, and a copy of one data folder. Fails with what does not hold; prints how
many calls there were.
"""

from __future__ import annotations

import asyncio
import errno
import importlib
import json
import os
import shutil
import sys
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.faults.oracle import check, check_uploads, push_again
from tests.faults.ways import OTHER, REPOSITORY, WAYS, QueueClient, Unanswered, delete_again, prepare
from tests.support.disk_calls import DiskCalls
from yarddesk.errors import YarddeskError
from yarddesk.service.opening import open_yard
from yarddesk.service.reload import SettingsSource
from yarddesk.service.yard import Yard
from yarddesk.settings.loader import load_settings

KILLED = 37
WORKERS = 4
SETTINGS = """\
server: {host: 127.0.0.1, port: 0}
logger: {level: error}
upstreams: [{name: central, prefix: "", registry: "127.0.0.1:9", push: true, pull: false, tls: {plain_http: true}}]
"""


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[QueueClient]:
    """A yard, as `serve` runs it, whose queue is paused, and a client of it."""
    file = folder / "config.yaml"
    options = {"data_dir": str(folder / "data")}
    settings = load_settings({}, file=file, options=options).settings
    async with open_yard(settings, SettingsSource(file, options, {})) as yard:
        client = QueueClient(yard.url, folder / "promises", lambda: queue_of(yard))
        async with client.http:
            yield client


def queue_of(yard: Yard) -> list[dict[str, str]]:
    return [{"reference": str(job.reference), "digest": str(job.digest)} for job in yard.sync.snapshot().jobs]


@dataclass(frozen=True)
class Fault:
    """What happens at call N, and whether it goes on happening at those after it."""

    error: int | None
    lasts: bool = False
    only: tuple[str, ...] = ()


KILL = (Fault(None),)
FAILURES = (
    Fault(errno.EIO),
    Fault(errno.ENOSPC, lasts=True, only=("open", "write", "mkdir")),
    Fault(errno.EMFILE),
    Fault(errno.EROFS, lasts=True),
    Fault(errno.EDQUOT),
)
FAULTS = {"killed": KILL, "failing": FAILURES} | {
    errno.errorcode[fault.error]: (fault,) for fault in FAILURES if fault.error
}
"""By name: those that the calls meet in turn."""

STATUSES = {errno.ENOSPC: 507, errno.EDQUOT: 507, errno.EMFILE: 503}


async def prepared(folder: Path) -> None:
    data = folder / "data"
    data.mkdir(parents=True, mode=0o700)
    (folder / "config.yaml").write_text(SETTINGS)
    (data / "paused.json").write_text(json.dumps({"schema": 1, "all": True, "until": None, "upstreams": {}}))
    async with running(folder) as client:
        await prepare(client)
    (folder / "modules").write_text("\n".join(sys.modules))


def left_by_a_kill(data: Path) -> None:
    """What a start has to put right: a run that didn't end, half-written files, a marker that is older than its tag."""
    run = data / "run.json"
    run.write_text(json.dumps(json.loads(run.read_text()) | {"clean": False}))
    pending = data / "pending" / REPOSITORY
    for path in (pending / ".tmp-0", data / "uploads" / "temporary-0"):
        path.write_text("half")
    marker = pending / "v1.json"
    marker.write_text(json.dumps(json.loads(marker.read_text()) | {"digest": OTHER.manifest.digest}))


def import_what_a_yard_imports(folder: Path) -> None:
    """Once, and not in each of the processes that are forked off."""
    for name in (folder / "modules").read_text().splitlines():
        if name.startswith(("yarddesk.", "httpx", "httpcore", "anyio.", "encodings.", "uvicorn.", "watchfiles")):
            importlib.import_module(name)


async def go(folder: Path, way: str, fault: Fault, number: int) -> None:
    """The way, with the fault at that call (0: never). A yard that lives on is looked at before it ends."""

    def at(count: int, name: str) -> None:
        if number and (count == number or (fault.lasts and count > number)) and (not fault.only or name in fault.only):
            if fault.error is None:
                os._exit(KILLED)
            raise OSError(fault.error, os.strerror(fault.error))

    calls = DiskCalls(at, f"{folder}/data/")
    if way == "start":
        calls.install()
    async with running(folder) as client:
        if way != "start":
            calls.install()
        refused = None
        try:
            await WAYS[way](client)
        except Unanswered as unanswered:
            refused = unanswered
        finally:
            calls.uninstall()
        (folder / "calls").write_text("\n".join(calls.made))
        if refused is not None:
            check_refusal(refused, fault)
        if fault.error is not None and number:
            if refused is not None and way == "delete":
                await delete_again(client)
            await check(client, folder / "data", tidied=not fault.lasts)
            await push_again(client)


def check_refusal(refused: Unanswered, fault: Fault) -> None:
    """A status that says whose fault it is, and words of the specification's form that say what to do."""
    assert fault.error is not None, refused
    assert refused.status == STATUSES.get(fault.error, 500), refused
    (document,) = json.loads(refused.text)["errors"]
    assert document["code"]
    assert len(document["message"].split(". ")) > 1, document


async def look(folder: Path, fault: Fault) -> None:
    """What a start finds."""
    async with running(folder) as client:
        await check(client, folder / "data")
        if fault.error is None:
            await check_uploads(client)
        await push_again(client)
        await check(client, folder / "data")


def forked(work: Callable[[], Awaitable[None]]) -> int:
    """Run in a process of its own; its status."""
    sys.stdout.flush()
    pid = os.fork()
    if not pid:
        status = 1
        try:
            asyncio.run(_awaited(work))
            status = 0
        except BaseException:  # noqa: BLE001 - a fork must never come back
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


async def _awaited(work: Callable[[], Awaitable[None]]) -> None:
    await work()


async def go_or_not_start(folder: Path, way: str, fault: Fault, number: int) -> None:
    """A start on a disk that fails goes well, or ends in words."""
    try:
        await go(folder, way, fault, number)
    except YarddeskError as error:
        if not error.hint:
            raise


def swept(folder: Path, way: str, fault: Fault, number: int) -> bool:
    """Whether all holds with the fault at this call."""
    copy = folder / f"at-{number}"
    shutil.copytree(folder / "before", copy)
    called = (folder / "whole" / "calls").read_text().splitlines()
    where = f"{way}, {fault} at call {number} ({called[number - 1]})"
    went = go_or_not_start if way == "start" and fault.error is not None else go
    if forked(lambda: went(copy, way, fault, number)) not in ((0, KILLED) if fault.error is None else (0,)):
        sys.stderr.write(f"--- {where}: not well at once\n")
        return False
    if (fault.error is None or fault.lasts) and forked(lambda: look(copy, fault)):
        sys.stderr.write(f"--- {where}: not well after the next start\n")
        return False
    shutil.rmtree(copy)
    return True


def main(name: str, way: str, folder: Path) -> int:
    faults = FAULTS[name]
    assert forked(lambda: prepared(folder / "before")) == 0
    if way == "start":
        left_by_a_kill(folder / "before" / "data")
    import_what_a_yard_imports(folder / "before")
    shutil.copytree(folder / "before", folder / "whole")
    assert forked(lambda: go(folder / "whole", way, faults[0], 0)) == 0
    count = len((folder / "whole" / "calls").read_text().splitlines())
    workers = []
    for worker in range(WORKERS):
        pid = os.fork()
        if not pid:
            # All of them, so that one look shows every call that is not well.
            numbers = range(1 + worker, count + 1, WORKERS)
            outcomes = [swept(folder, way, faults[number % len(faults)], number) for number in numbers]
            os._exit(0 if all(outcomes) else 1)
        workers.append(pid)
    statuses = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in workers]
    sys.stdout.write(f"{count}\n")
    return 1 if any(statuses) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], Path(sys.argv[3])))
