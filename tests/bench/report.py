"""What was measured, as a table of medians and ratios, and which bounds it keeps."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median

from tests.bench.servers import DESKTOP, DOCKER_REGISTRY, SERVE

MEASURES = {
    "push": "push, Content-Length",
    "push-chunked": "push, chunked",
    "pull": "pull",
    "head": "HEAD of a manifest",
}

# How many times docker-registry's rate `serve` reaches at least, and what part of serve's rate the desktop does.
AGAINST_DOCKER_REGISTRY = {"push": 1.5, "push-chunked": 1.5, "head": 4.0}
DESKTOP_WITHIN = 1.5


@dataclass(frozen=True)
class Bound:
    """A ratio that must be reached."""

    what: str
    ratio: float
    needed: float

    @property
    def kept(self) -> bool:
        return self.ratio >= self.needed

    def __str__(self) -> str:
        return f"{'kept  ' if self.kept else 'MISSED'}  {self.what}: {self.ratio:.2f} (needs {self.needed:.2f})"


@dataclass
class Results:
    """Every round's figures, by measure and server."""

    rates: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    cpu_seconds: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    p99_ms: dict[str, list[float]] = field(default_factory=dict)
    peak_memory: dict[str, int] = field(default_factory=dict)

    def add(self, measure: str, server: str, answer: dict[str, float], cpu_seconds: float) -> None:
        """Keep one answer of the load client. Rates are bytes or requests a second."""
        rate = answer["requests_per_second"] if measure == "head" else answer["bytes_per_second"]
        self.rates.setdefault((measure, server), []).append(rate)
        self.cpu_seconds.setdefault((measure, server), []).append(cpu_seconds)
        if measure == "head":
            self.p99_ms.setdefault(server, []).append(answer["p99_ms"])

    def rate(self, measure: str, server: str) -> float | None:
        rounds = self.rates.get((measure, server))
        return median(rounds) if rounds else None

    def ratio(self, measure: str, server: str, other: str) -> float | None:
        ours, theirs = self.rate(measure, server), self.rate(measure, other)
        return ours / theirs if ours and theirs else None

    def bounds(self) -> list[Bound]:
        """The bounds that these results can show, kept or not."""
        bounds = []
        for measure, title in MEASURES.items():
            ratio = self.ratio(measure, SERVE, DOCKER_REGISTRY)
            needed = AGAINST_DOCKER_REGISTRY.get(measure)
            if ratio is not None and needed is not None:
                bounds.append(Bound(f"{title}: serve ÷ docker-registry", ratio, needed))
            ratio = self.ratio(measure, DESKTOP, SERVE)
            if ratio is not None:
                bounds.append(Bound(f"{title}: desktop ÷ serve", ratio, 1 / DESKTOP_WITHIN))
        return bounds

    def table(self, servers: list[str]) -> str:
        """The medians, a row for each measure; below them what they cost."""
        lines = [_row("", [*servers, "serve ÷ d.-r.", "desktop ÷ serve"])]
        for measure, title in MEASURES.items():
            ratios = [self.ratio(measure, SERVE, DOCKER_REGISTRY), self.ratio(measure, DESKTOP, SERVE)]
            cells = [self._cell(measure, server) for server in servers]
            lines.append(_row(title, cells + [f"{ratio:.2f}" if ratio is not None else "–" for ratio in ratios]))
        lines.append("")
        for measure, title in MEASURES.items():
            seconds = [median(self.cpu_seconds.get((measure, server), [0])) for server in servers]
            lines.append(_row(f"CPU, {title}", [f"{each:.2f} s" for each in seconds]))
        lines.append(_row("p99, HEAD", [f"{median(self.p99_ms.get(server, [0])):.1f} ms" for server in servers]))
        lines.append(_row("peak memory", [f"{self.peak_memory[server] / 1e6:.0f} MB" for server in servers]))
        return "\n".join(lines)

    def _cell(self, measure: str, server: str) -> str:
        rate = self.rate(measure, server)
        if rate is None:
            return "–"
        return f"{rate:,.0f} /s" if measure == "head" else f"{rate / 1e6:,.0f} MB/s"


def _row(title: str, cells: list[str]) -> str:
    return title.ljust(26) + "".join(cell.rjust(17) for cell in cells)
