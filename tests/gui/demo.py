"""The window with scenes made by hand, to be looked at: `python -m tests.gui.demo SCENE [--dark] [--size 640x420]`.

`--shot FILE` writes a picture of the window and ends. The scene `moving` plays a whole sync.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from PySide6.QtCore import Qt

from tests.support.fake_yard import MB, FakeEngine, FakeYard, digest, entry, health, job, part, progress, upstream
from yarddesk.desktop.app import make_application
from yarddesk.desktop.core import Problem, Remedy
from yarddesk.desktop.loop import run
from yarddesk.desktop.shell import Shell
from yarddesk.engines.model import SetupState
from yarddesk.oci.name import RepositoryName
from yarddesk.progress import LayerProgress, LayerState
from yarddesk.service.markers import marker_problem
from yarddesk.sync.snapshot import HistoryEntry, SendPlan, SetAsideMarker
from yarddesk.sync.states import JobState

NOW = datetime.now(UTC)


def layers() -> tuple[LayerProgress, ...]:
    return (
        LayerProgress(digest("a"), 80 * MB, 80 * MB, LayerState.THERE),
        LayerProgress(digest("b"), 48 * MB, 48 * MB, LayerState.THERE),
        LayerProgress(digest("c"), 30 * MB, 30 * MB, LayerState.MOUNTED),
        LayerProgress(digest("d"), 92 * MB, 54 * MB, LayerState.SENDING),
        LayerProgress(digest("e"), 90 * MB, 0, LayerState.WAITING),
        LayerProgress(digest("f"), 7_000, 0, LayerState.WAITING),
    )


def history() -> tuple[HistoryEntry, ...]:
    return (
        entry("team/app:2.4.0", at=NOW - timedelta(minutes=4)),
        entry("team/base:nightly", at=NOW - timedelta(minutes=31), bytes_sent=0, seconds=0.4),
        entry("tools/lint:6", at=NOW - timedelta(hours=1), registry="ghcr.io", bytes_saved=0, seconds=74),
    )


def syncing(yard: FakeYard) -> None:
    yard.listed += [upstream("registry.corp", path="team"), upstream("ghcr.io", prefix="tools", name="tools")]
    yard.sync.entries = [
        *history(),
        entry("team/app:2.3.9", at=NOW - timedelta(days=1), outcome=JobState.CANCELLED, reason="cancelled by you"),
        entry(
            "team/web:1", at=NOW - timedelta(days=1), outcome=JobState.FAILED, reason="registry.corp refused the name"
        ),
    ]
    yard.sync.show(
        jobs=(
            job(
                "team/app:2.4.1",
                part(JobState.TRANSFERRING, progress=progress(212 * MB, 340 * MB, rate=18 * MB, layers=layers())),
            ),
            job("team/worker:2.4.1", part(JobState.PREPARING)),
            job(
                "team/base:nightly",
                part(JobState.BLOCKED, reason="registry.corp refused the password for “ci”", needs_credentials=True),
            ),
            job(
                "tools/lint:7",
                part(
                    JobState.WAITING,
                    "ghcr.io",
                    tries=2,
                    next_attempt=NOW + timedelta(seconds=40),
                    reason="the connection was reset after 12 MB",
                    progress=progress(12 * MB, 61 * MB),
                ),
            ),
            job("team/docs:latest", part(JobState.QUEUED)),
        ),
        recent=history(),
        upstreams=(
            health("registry.corp", "needs_you", "registry.corp refused the password for “ci”", needs_credentials=True),
            health("tools"),
        ),
        bytes_per_second=18.0 * MB,
    )


def plain_syncing(yard: FakeYard) -> None:
    syncing(yard)
    jobs = tuple(
        each for each in yard.sync.shown.jobs if each.parts[0].state not in (JobState.BLOCKED, JobState.WAITING)
    )
    yard.sync.show(jobs=jobs, upstreams=(health("registry.corp"), health("tools")))


def paused(yard: FakeYard) -> None:
    syncing(yard)
    kept = progress(212 * MB, 340 * MB, layers=layers())
    yard.sync.show(
        paused=True,
        paused_until=NOW + timedelta(hours=2),
        jobs=(
            job("team/app:2.4.1", part(JobState.PAUSED, progress=kept)),
            job("team/worker:2.4.1", part(JobState.PAUSED)),
            job("team/docs:latest", part(JobState.PAUSED), paused=True),
        ),
        upstreams=(health("registry.corp"), health("tools")),
        bytes_per_second=0.0,
    )


def down(yard: FakeYard) -> None:
    syncing(yard)
    yard.sync.show(
        jobs=tuple(
            job(
                f"team/app:2.4.{n}",
                part(
                    JobState.WAITING,
                    tries=n,
                    next_attempt=NOW + timedelta(seconds=13 * n),
                    reason="registry.corp does not answer: connection refused",
                ),
            )
            for n in range(1, 5)
        ),
        upstreams=(health("registry.corp", "away", "connection refused"), health("tools")),
        bytes_per_second=0.0,
    )


def long_names(yard: FakeYard) -> None:
    syncing(yard)
    name = "platform-engineering/very-long-team-name/services/billing/invoice-renderer-with-a-name-nobody-should-have"
    tag = "2026.11.24-feature-" + "x" * 90
    reason = "<b>the registry said</b> " + "something very long that goes on and on and on; " * 8
    registry = "registry.eu-central-1.production.internal.example-corporation.com:5443"
    yard.sync.show(
        jobs=(
            job(
                f"{name}:{tag}",
                part(
                    JobState.TRANSFERRING,
                    registry,
                    progress=progress(1_212 * MB, 14_340 * MB, rate=118 * MB, layers=layers()),
                ),
            ),
            job(f"{name}:1", part(JobState.BLOCKED, registry, reason=reason, needs_credentials=True)),
            job(
                "a/b:1",
                part(JobState.TRANSFERRING, progress=progress(10 * MB, 20 * MB, rate=MB)),
                part(JobState.WAITING, "ghcr.io", tries=3, next_attempt=NOW + timedelta(minutes=4), reason=reason),
            ),
            job("a/c:1", part(JobState.FAILED, registry, reason=reason)),
        ),
        recent=(entry(f"{name}:{tag}", registry=registry), *history()),
    )


def many(yard: FakeYard) -> None:
    syncing(yard)
    jobs = list(yard.sync.shown.jobs)
    jobs += [job(f"load/image-{n}:latest", part(JobState.QUEUED)) for n in range(1000)]
    yard.sync.show(jobs=tuple(jobs))


def idle(yard: FakeYard) -> None:
    yard.listed += [upstream("registry.corp")]
    yard.sync.entries = list(history())
    yard.sync.show(recent=history(), upstreams=(health("registry.corp"),))


def nothing(yard: FakeYard) -> None:
    yard.listed += [upstream("registry.corp")]
    yard.stored = 0


def no_upstream(yard: FakeYard) -> None:
    yard.listed += [
        upstream("docker.io", push=False, prefix="docker.io"),
        upstream("ghcr.io", push=False, prefix="ghcr.io"),
    ]
    yard.stored = 320 * MB


def trouble(yard: FakeYard) -> None:
    plain_syncing(yard)
    yard.shown_problems = (
        Problem(
            "The disk is nearly full: 1.2 GB are left.",
            "Pushes are refused below 500 MB. Free some space, or move the data folder.",
            "/home/me/.local/share/yarddesk: 1 203 442 688 bytes free",
            Remedy.OPEN_DATA_FOLDER,
        ),
    )


def conflict(yard: FakeYard) -> None:
    idle(yard)
    moved = part(JobState.BLOCKED, reason="Somebody moved 2.4.1 at registry.corp.", conflict=digest("theirs"))
    elsewhere = part(JobState.DONE, "ghcr.io")
    yard.sync.show(
        jobs=(
            job("team/app:2.4.1", moved),
            job("team/worker:2.4.1", moved, elsewhere),
            job("team/docs:latest", part(JobState.QUEUED)),
        )
    )


def planned(yard: FakeYard) -> None:
    idle(yard)
    sending = progress(1240 * MB, 1256 * MB, rate=2 * MB, layers=layers())
    plan = SendPlan(1200 * MB, 40 * MB, 16 * MB)
    yard.sync.show(
        jobs=(
            replace(job("team/app:2.4.1", part(JobState.QUEUED, plan=plan)), priority=1),
            job("team/worker:2.4.1", part(JobState.TRANSFERRING, progress=sending, plan=plan)),
            job("team/web:2.4.1", part(JobState.PREPARING, plan=plan, progress=progress(1200 * MB, 1256 * MB))),
            replace(job("team/old:1", part(JobState.PAUSED)), repository_paused=True),
        ),
        paused_repositories={
            RepositoryName.parse("team/old"): None,
            RepositoryName.parse("platform/" + "a-rather-long-name/" * 4 + "base"): NOW + timedelta(hours=2),
            RepositoryName.parse("team/docs"): NOW + timedelta(days=1),
            RepositoryName.parse("tools/lint"): None,
        },
    )


def untrusted(yard: FakeYard) -> None:
    idle(yard)
    reason = (
        "The certificate of registry.corp is not trusted. It was issued by “Corp Root CA” (Example Corporation): unable to get "
        "local issuer certificate. Name your company's certificate in upstreams[].tls.ca_file, or let the system trust it."
    )
    yard.sync.show(
        jobs=(job("team/app:2.4.1", part(JobState.BLOCKED, reason=reason)),),
        upstreams=(health("registry.corp", "needs_you", reason),),
    )


def aside(yard: FakeYard) -> None:
    idle(yard)
    marker = SetAsideMarker("team/app/2.4.0.json.damaged", "It is not JSON.")
    yard.sync.show(set_aside=(marker,))
    problem = marker_problem(yard.sync.shown, Path("/home/me/.local/share/yarddesk"))
    assert problem is not None
    yard.shown_problems = (problem,)


def readme(yard: FakeYard) -> None:
    """README's picture."""
    central, mirror = "registry.example.com", "mirror.example.com"
    yard.listed += [upstream(central), upstream(mirror, prefix="tools", name="tools")]
    plan = SendPlan(1200 * MB, 40 * MB, 16 * MB)
    going = progress(212 * MB, 340 * MB, rate=18 * MB, layers=layers())
    waiting = part(
        JobState.WAITING,
        mirror,
        next_attempt=NOW + timedelta(seconds=40),
        reason=f"{mirror} refused the connection. Nothing listens there",
    )
    done = tuple(replace(each, upstream=central, registry=central) for each in history())
    yard.sync.show(
        jobs=(
            replace(job("team/app:2.4.1", part(JobState.TRANSFERRING, central, progress=going)), priority=1),
            job("team/web:nightly", part(JobState.QUEUED, central, plan=plan)),
            job("team/worker:2.4.1", part(JobState.BLOCKED, central, conflict=digest("theirs"))),
            job("tools/lint:7", waiting),
        ),
        recent=done,
        upstreams=(health(central), health("tools", "away", "connection refused")),
        paused_repositories={RepositoryName.parse("team/legacy"): NOW + timedelta(hours=2)},
        bytes_per_second=18.0 * MB,
    )


SCENES = {
    "readme": readme,
    "planned": planned,
    "untrusted": untrusted,
    "aside": aside,
    "conflict": conflict,
    "syncing": plain_syncing,
    "mixed": syncing,
    "paused": paused,
    "down": down,
    "long": long_names,
    "many": many,
    "idle": idle,
    "nothing": nothing,
    "no-upstream": no_upstream,
    "trouble": trouble,
    "moving": plain_syncing,
}


async def play(yard: FakeYard) -> None:
    """A sync that goes on and on."""
    done = 0
    while True:
        done = (done + 6 * MB) % (340 * MB)
        first = yard.sync.shown.jobs[0]
        moved = replace(
            first.parts[0], progress=progress(done, 340 * MB, rate=20 * MB + done % (7 * MB), layers=layers())
        )
        yard.sync.shown = replace(
            yard.sync.shown,
            revision=yard.sync.shown.revision + 1,
            jobs=(replace(first, parts=(moved,)), *yard.sync.shown.jobs[1:]),
            bytes_per_second=20.0 * MB + done % (9 * MB),
        )
        await asyncio.sleep(0.25)


@contextlib.asynccontextmanager
async def playing(yard: FakeYard, wanted: bool) -> AsyncIterator[None]:
    task = asyncio.create_task(play(yard)) if wanted else None
    try:
        yield
    finally:
        if task is not None:
            task.cancel()


async def show(options: argparse.Namespace) -> None:
    yard = FakeYard()
    yard.engines = (
        FakeEngine("docker", "Docker Engine"),
        FakeEngine("podman", "Podman", SetupState.SET_UP),
        FakeEngine("nerdctl", "nerdctl", SetupState.ABSENT),
    )
    SCENES[options.scene](yard)
    finished = asyncio.Event()
    shell = Shell(yard, finished.set)
    for sample in range(60):
        at = time.monotonic() - 118 + sample * 2
        shell.bridge.throughput.record(at, max(0.0, 18e6 + (sample * 7919 % 13 - 6) * 1.4e6) if sample > 12 else 0.0)
    shell.start(minimized=False)
    width, _, height = options.size.partition("x")
    shell.window.resize(int(width), int(height))
    shell.window.show_page(options.page)
    async with playing(yard, options.scene == "moving"):
        if options.open:
            shell.window.queue_page.view.expand(shell.window.queue_page.rows.index(0, 0))
        if options.choose:
            shell.window.queue_page.view.setCurrentIndex(shell.window.queue_page.rows.index(options.choose - 1, 0))
            shell.window.queue_page.view.setFocus()
        if options.ask == "sign_in":
            shell.actions.sign_in_asked.emit("registry.corp", "registry.corp refused the password for “ci”")
        elif options.ask == "details":
            shell.actions.details_asked.emit(yard.sync.shown.jobs[0])
        elif options.ask in ("overwrite", "other_tag"):
            getattr(shell.actions, f"{options.ask}_asked").emit(yard.sync.shown.jobs[0])
        elif options.ask:
            getattr(shell.actions, options.ask).trigger()
        if options.shot:
            await asyncio.sleep(options.wait)
            shot = shell.window.grab()
            dialog = next(iter(shell.dialogs), None)
            if dialog is not None:
                dialog.grab().save(options.shot.replace(".png", "-dialog.png"))
            shot.save(options.shot)
        else:
            await finished.wait()
    await shell.close()


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("scene", choices=SCENES, nargs="?", default="moving")
    parser.add_argument("--dark", action="store_true")
    parser.add_argument("--light", action="store_true")
    parser.add_argument("--size", default="980x640")
    parser.add_argument("--page", default="queue")
    parser.add_argument("--open", action="store_true")
    parser.add_argument("--choose", type=int, default=0)
    parser.add_argument("--ask", default="")
    parser.add_argument("--wait", type=float, default=0.6)
    parser.add_argument("--shot", default="")
    parser.add_argument("--font", type=float, default=0.0)
    options = parser.parse_args()
    app = make_application()
    if options.font:
        font = app.font()
        font.setPointSizeF(options.font)
        app.setFont(font)
    if options.dark or options.light:
        app.styleHints().setColorScheme(Qt.ColorScheme.Dark if options.dark else Qt.ColorScheme.Light)
    run(show(options), app)
    return 0


if __name__ == "__main__":
    sys.exit(main())
