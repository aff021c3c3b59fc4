"""What must be reached. Ratios are of medians of one run, so that they hold on slow and on busy machines."""

from __future__ import annotations

from dataclasses import dataclass

from tests.bench.measures import BULK, MEASURES
from tests.bench.results import Results
from tests.bench.servers import DESKTOP, DOCKER_REGISTRY, QUEUED, SERVE

TIMES_DOCKER_REGISTRY = {
    (SERVE, "push"): 2.5,
    (SERVE, "push-chunked"): 2.5,
    (SERVE, "push-parallel"): 2.0,
    (SERVE, "push-small"): 3.0,
    (QUEUED, "push-small"): 3.0,
    (SERVE, "pull"): 1.3,
    (SERVE, "head"): 8.0,
    (SERVE, "get"): 8.0,
}
CHUNKED_WITHIN = 0.85
DESKTOP_WITHIN = 1.5
PULL_CPU = 0.5
P99_SECONDS = 0.010
PAGE_SECONDS = 0.0015
MEMORY_BYTES = 80_000_000
LOOP_DELAY_SECONDS = 0.016


@dataclass(frozen=True)
class Bound:
    """A figure that must be so large at least or, `at_most`, so small.

    beyond: why it's out of reach where it's measured, which is said with it where it's missed.
    """

    what: str
    figure: float
    bound: float
    at_most: bool = False
    beyond: str = ""

    @property
    def kept(self) -> bool:
        return self.figure <= self.bound if self.at_most else self.figure >= self.bound

    def __str__(self) -> str:
        most = "at most" if self.at_most else "at least"
        why = f"; {self.beyond}" if self.beyond and not self.kept else ""
        return f"{'kept  ' if self.kept else 'MISSED'}  {self.what}: {self.figure:.2f} ({most} {self.bound:.2f}){why}"


def bounds_of(results: Results) -> list[Bound]:
    """The bounds that these results can show, kept or not."""
    bounds = [
        *_against_docker_registry(results),
        *_in_milliseconds(results),
        _ratio("push, chunked ÷ plain", results.ratio("push-chunked", SERVE, SERVE, "push"), CHUNKED_WITHIN),
        *(
            _ratio(f"{measure.title}: desktop ÷ serve", results.ratio(name, DESKTOP, SERVE), 1 / DESKTOP_WITHIN)
            for name, measure in MEASURES.items()
            if not measure.less and "huge" not in name
        ),
    ]
    memory = results.peak_memory.get(SERVE)
    if memory is not None:
        bounds.append(Bound("peak memory of serve, MB", memory / 1e6, MEMORY_BYTES / 1e6, at_most=True))
    return [bound for bound in bounds if bound is not None]


def _against_docker_registry(results: Results) -> list[Bound | None]:
    bounds = [
        _ratio(
            f"{MEASURES[name].title}: {server} ÷ docker-registry", results.ratio(name, server, DOCKER_REGISTRY), least
        )
        for (server, name), least in TIMES_DOCKER_REGISTRY.items()
    ]
    ours, theirs = (results.median("pull", server, "cpu_seconds") for server in (SERVE, DOCKER_REGISTRY))
    if ours is not None and theirs:
        bounds.append(Bound("pull, CPU seconds: serve ÷ docker-registry", ours / theirs, PULL_CPU, at_most=True))
    return bounds


def _in_milliseconds(results: Results) -> list[Bound | None]:
    return [
        *(
            _milliseconds(f"{MEASURES[name].title}: p99 of serve, ms", results, name, SERVE, "p99_seconds", P99_SECONDS)
            for name in ("head", "get")
        ),
        *(
            _milliseconds(f"{MEASURES[name].title}: serve, ms", results, name, SERVE, "seconds", PAGE_SECONDS)
            for name in ("tags", "catalog")
        ),
        *(
            _milliseconds(
                f"{MEASURES[name].title}: p99 of the desktop loop's delay, ms",
                results,
                name,
                DESKTOP,
                "loop_delay_seconds",
                LOOP_DELAY_SECONDS,
            )
            for name in BULK
        ),
    ]


def _ratio(what: str, ratio: float | None, least: float) -> Bound | None:
    return None if ratio is None else Bound(what, ratio, least)


def _milliseconds(
    what: str, results: Results, measure: str, server: str, figure: str, most_seconds: float
) -> Bound | None:
    seconds = results.median(measure, server, figure)
    return None if seconds is None else Bound(what, seconds * 1e3, most_seconds * 1e3, at_most=True)
