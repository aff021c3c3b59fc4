"""`python -m tests.bench.long_queue`: what `yarddesk serve` costs with 10,000 images in its queue, in seconds of processor time.

A data folder is filled with the images as pushes would leave them; their upstream is away. Nothing is compared, and nothing
fails: tests count operations, which tells the same on every machine, and here one sees where the time goes.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import psutil

from tests.bench.servers import CONFIG_AWAY
from tests.peers.yarddesk import YarddeskProcess
from tests.support.images import Content, build_image, manifest_of
from tests.support.ports import held_port

START_SECONDS = 300.0
_IMAGE, _REPOSITORY, _UPSTREAM = "many/000:tag-00000", "many/001", "away"
_WHATS = (("an image", _IMAGE), ("a repository", _REPOSITORY), ("the upstream", _UPSTREAM), ("all", None))
STEERED = (
    *((command, what, target) for command in ("pause", "resume", "retry") for what, target in _WHATS),
    ("first", "a repository", _REPOSITORY),
    *(("cancel", what, target) for what, target in _WHATS if what != "the upstream"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description="What a long queue costs.")
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--repositories", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=30.0, help="how long it's watched while nothing happens")
    parser.add_argument("--folder", type=Path, help="where the content goes")
    parser.add_argument("--profile", type=Path, help="where cProfile writes to; all of it costs more then")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="yarddesk-queue-", dir=options.folder))
    try:
        with held_port() as away:
            _measure(folder, CONFIG_AWAY.format(port=away) + f"    name: {_UPSTREAM}\n", options)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _measure(folder: Path, config: str, options: argparse.Namespace) -> None:
    module = ("cProfile", "-o", str(options.profile), "-m", "yarddesk") if options.profile else ("yarddesk",)
    yard = YarddeskProcess(folder, config=config, module=module)
    try:
        yard.start()
        _report("an empty queue", yard, 0.0)
        fill(yard, options.jobs, options.repositories)
        yard.start(START_SECONDS)
        print(f"{options.jobs:,} images in {options.repositories} repositories")
        _report("start", yard, cpu_seconds(yard))
        time.sleep(3)
        with _costs("idle", yard, options.seconds):
            time.sleep(options.seconds)
        for what, ask in _commands(yard):
            with _costs(what, yard):
                ask()
            # What a command leaves to be done afterwards is not the next one's.
            time.sleep(2)
    finally:
        yard.terminate(30)


def _commands(yard: YarddeskProcess) -> Iterator[tuple[str, Callable[[], object]]]:
    yield "status", lambda: yard.control("status")
    yield "status again", lambda: yard.control("status")
    yield "queue", lambda: yard.control("queue")
    yield "metrics", lambda: yard.request("GET", "/metrics")
    for command, what, target in STEERED:
        yield f"{command} {what}", partial(yard.control, command, {"target": target})


def fill(yard: YarddeskProcess, jobs: int, repositories: int) -> None:
    """Queue so many images, each one of its own. Pushed is one, whose files the others are made after."""
    image = build_image("long queue", [1000])
    yard.push("many/000", "tag-00000", image)
    yard.terminate()
    data = yard.data_dir
    marker = json.loads((data / "pending/many/000/tag-00000.json").read_text(encoding="utf-8"))
    for number in range(1, jobs):
        repository, tag = f"many/{number % repositories:03}", f"tag-{number:05}"
        manifest = manifest_of(image.config, image.layers, annotations={"number": str(number)})
        _write_manifest(data / "manifests" / repository, tag, manifest)
        document = marker | {"repository": repository, "reference": tag, "digest": manifest.digest}
        pending = data / "pending" / repository
        pending.mkdir(parents=True, exist_ok=True, mode=0o700)
        (pending / f"{tag}.json").write_text(json.dumps(document, indent=2), encoding="utf-8")


def _write_manifest(folder: Path, tag: str, manifest: Content) -> None:
    for name in ("_sha256", "_tags"):
        (folder / name).mkdir(parents=True, exist_ok=True, mode=0o700)
    place = folder / "_sha256" / manifest.digest.removeprefix("sha256:")
    place.write_bytes(manifest.content)
    place.with_name(f"{place.name}.type").write_text(manifest.media_type, encoding="ascii")
    (folder / "_tags" / tag).write_text(manifest.digest, encoding="ascii")


def cpu_seconds(yard: YarddeskProcess) -> float:
    """Processor time that it has used up to now, user and system."""
    times = psutil.Process(yard.pid).cpu_times()
    return float(times.user + times.system)


@contextmanager
def _costs(what: str, yard: YarddeskProcess, over_seconds: float = 0.0) -> Iterator[None]:
    begin, before = time.perf_counter(), cpu_seconds(yard)
    yield
    seconds = time.perf_counter() - begin
    _report(what, yard, cpu_seconds(yard) - before, seconds, of=over_seconds)


def _report(what: str, yard: YarddeskProcess, cpu: float, seconds: float | None = None, *, of: float = 0.0) -> None:
    memory = psutil.Process(yard.pid).memory_info().rss / 1e6
    share = f"{cpu / of:8.2%}" if of else " " * 8
    answered = f"{seconds:8.2f} s" if seconds is not None else " " * 10
    print(f"{what:24} {cpu:8.2f} s CPU {share} {answered} {memory:8.0f} MB", flush=True)


if __name__ == "__main__":
    main()
