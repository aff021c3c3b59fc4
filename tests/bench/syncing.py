"""An image on its way up: `yarddesk serve` to an empty docker-registry, against `skopeo copy` of it to another empty one.

The clock runs as a person's would: the image was pushed while the queue was paused, and from `resume` on it takes until
`yarddesk wait` has ended, that command's own start included, as skopeo's is.
"""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from tests.bench.bounds import Bound
from tests.bench.servers import CONFIG_SYNCING, Server
from tests.bench.settling import settle
from tests.peers.engines import Skopeo
from tests.peers.registry import DockerRegistry
from tests.peers.yarddesk import YarddeskProcess
from tests.support.images import OCI_LAYER, Content, Image, build_image, manifest_of

REPOSITORY = "bench/synced"
WHOLE, CHANGED = "sync", "sync, one layer changed"
AT_MOST_OF_SKOPEO = {WHOLE: 0.8, CHANGED: 0.3}

_LONGEST_SECONDS = 300.0


@dataclass
class SyncFigures:
    """Seconds by measure, of each round: ours, skopeo's; and the processor time that `serve` took for ours."""

    ours: dict[str, list[float]] = field(default_factory=dict)
    skopeo: dict[str, list[float]] = field(default_factory=dict)
    cpu: dict[str, list[float]] = field(default_factory=dict)

    def lines(self) -> list[str]:
        return [
            f"{what}: {median(self.ours[what]):.2f} s (serve's CPU {median(self.cpu[what]):.2f} s),"
            f" skopeo {median(self.skopeo[what]):.2f} s"
            for what in self.ours
        ]

    def bounds(self) -> list[Bound]:
        return [
            Bound(
                f"{what}: seconds, serve ÷ skopeo to another empty registry",
                median(self.ours[what]) / median(self.skopeo[what]),
                AT_MOST_OF_SKOPEO[what],
                at_most=True,
            )
            for what in self.ours
        ]


def measure_syncs(folder: Path, *, rounds: int, layers: int, layer_bytes: int) -> SyncFigures:
    """Each round with servers of its own, that have nothing yet; who goes first alternates."""
    figures, size = SyncFigures(), layers * layer_bytes
    kept = [_layer(number, layer_bytes) for number in range(layers)]
    images = {WHOLE: _image(kept), CHANGED: _image([*kept[:-1], _layer(layers, layer_bytes)])}
    for number in range(rounds):
        with _fresh(folder / f"sync-{number}", list(images)) as (yard, others, skopeo):
            for tag, (what, image) in enumerate(images.items()):
                place = f"{REPOSITORY}:{tag}"
                yard.control("pause", {})
                yard.push(REPOSITORY, str(tag), image)

                def ours(what: str = what, place: str = place) -> None:
                    before = Server("", yard).cpu_seconds()
                    figures.ours.setdefault(what, []).append(_seconds(lambda: _sync(yard, place), folder, size))
                    figures.cpu.setdefault(what, []).append(Server("", yard).cpu_seconds() - before)

                def theirs(what: str = what, place: str = place) -> None:
                    to = f"docker://{others[what].host}/{place}"
                    took = _seconds(lambda: skopeo.copy(f"docker://{yard.registry}/{place}", to), folder, size)
                    figures.skopeo.setdefault(what, []).append(took)

                for each in (ours, theirs) if number % 2 == 0 else (theirs, ours):
                    each()
    return figures


def _sync(yard: YarddeskProcess, place: str) -> None:
    yard.control("resume", {})
    yard.run("wait", place, deadline_seconds=_LONGEST_SECONDS)


def _seconds(work: Callable[[], None], folder: Path, written: int) -> float:
    settle(folder, written)
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


@contextmanager
def _fresh(folder: Path, measures: list[str]) -> Iterator[tuple[YarddeskProcess, dict[str, DockerRegistry], Skopeo]]:
    """`serve` with its upstream, and for each measure a registry that skopeo copies to; all of them empty."""
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder)
        upstream, *others = (_registry(folder / f"registry-{number}", stack) for number in range(1 + len(measures)))
        yard = YarddeskProcess(folder / "yard", config=CONFIG_SYNCING.format(host=upstream.host))
        stack.callback(yard.kill)
        yard.start()
        yield yard, dict(zip(measures, others, strict=True)), Skopeo(folder / "skopeo")


def _registry(folder: Path, stack: ExitStack) -> DockerRegistry:
    registry = DockerRegistry(folder)
    stack.callback(registry.stop)
    registry.start()
    return registry


def _layer(number: int, size: int) -> Content:
    return Content(OCI_LAYER, random.Random(number).randbytes(size))


def _image(layers: list[Content]) -> Image:
    """With a configuration of its own, as another layer makes another one."""
    config = build_image(layers[-1].digest).config
    return Image(manifest_of(config, layers), config, tuple(layers), "linux/amd64")
