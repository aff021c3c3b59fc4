"""What was measured, as a table."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tests.bench.measures import BULK, MEASURES
from tests.bench.results import Results
from tests.bench.servers import DESKTOP, DOCKER_REGISTRY, SERVE

_NOTHING = "–"
_TITLE_CELLS = max(len(f"CPU, {measure.title}") for measure in MEASURES.values()) + 1


def table(results: Results, servers: Sequence[str]) -> str:
    """The medians, a row for each measure; below them what they cost."""
    lines = [_row("", [*servers, "serve ÷ d.-r.", "desktop ÷ serve"])]
    for name, measure in MEASURES.items():
        cells = _cells(results, name, measure.figure, servers, measure.written)
        ratios = [results.ratio(name, SERVE, DOCKER_REGISTRY), results.ratio(name, DESKTOP, SERVE)]
        if any(cell != _NOTHING for cell in cells):
            lines.append(_row(measure.title, cells + [f"{ratio:.2f}" if ratio else _NOTHING for ratio in ratios]))
    lines.append("")
    for name, measure in MEASURES.items():
        if not measure.less:
            lines += _cost(results, name, f"CPU, {measure.title}", "cpu_seconds", servers, _seconds)
    for name in ("head", "get"):
        lines += _cost(results, name, f"p99, {MEASURES[name].title}", "p99_seconds", servers, _milliseconds)
    for name in BULK:
        title = f"loop's delay, {MEASURES[name].title}"
        lines += _cost(results, name, f"{title}, p99", "loop_delay_seconds", servers, _milliseconds)
    memory = [f"{results.peak_memory[server] / 1e6:.0f} MB" for server in servers if server in results.peak_memory]
    lines.append(_row("peak memory", memory))
    return "\n".join(lines)


def _cost(
    results: Results, name: str, title: str, figure: str, servers: Sequence[str], written: Callable[[float], str]
) -> list[str]:
    cells = _cells(results, name, figure, servers, written)
    return [_row(title, cells)] if any(cell != _NOTHING for cell in cells) else []


def _cells(
    results: Results, name: str, figure: str, servers: Sequence[str], written: Callable[[float], str]
) -> list[str]:
    medians = [results.median(name, server, figure) for server in servers]
    return [_NOTHING if each is None else written(each) for each in medians]


def _seconds(seconds: float) -> str:
    return f"{seconds:.2f} s"


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:.1f} ms"


def _row(title: str, cells: Sequence[str]) -> str:
    return title.ljust(_TITLE_CELLS) + "".join(cell.rjust(17) for cell in cells)
