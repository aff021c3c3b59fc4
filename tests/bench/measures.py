"""What is measured, and how it is written down."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Measure:
    """One row of the table: the load client answers `figure`, which is better the larger (or, `less`, the smaller) it is."""

    title: str
    figure: str
    written: Callable[[float], str]
    less: bool = False


def _bytes(rate: float) -> str:
    return f"{rate / 1e6:,.0f} MB/s"


def _requests(rate: float) -> str:
    return f"{rate:,.0f} /s"


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:.2f} ms"


MEASURES = {
    "push": Measure("push, Content-Length", "bytes_per_second", _bytes),
    "push-chunked": Measure("push, chunked", "bytes_per_second", _bytes),
    "push-parallel": Measure("push, 4 layers at once", "bytes_per_second", _bytes),
    "push-small": Measure("push, small layers", "layers_per_second", _requests),
    "pull": Measure("pull", "bytes_per_second", _bytes),
    "head": Measure("HEAD of a manifest", "requests_per_second", _requests),
    "get": Measure("GET of a manifest", "requests_per_second", _requests),
    "tags": Measure("100 of 2,000 tags", "seconds", _milliseconds, less=True),
    "catalog": Measure("100 of 500 repositories", "seconds", _milliseconds, less=True),
    "push-huge": Measure("push, a huge layer", "bytes_per_second", _bytes),
    "pull-huge": Measure("pull, a huge layer", "bytes_per_second", _bytes),
    "cold-pull": Measure("cold pull", "bytes_per_second", _bytes),
    "cold-line": Measure("cold pull, over 2.5 Gbit/s", "bytes_per_second", _bytes),
    "cold-together": Measure("cold pull, 50 clients at once", "bytes_per_second", _bytes),
    "cold-line-together": Measure("cold pull, 50 clients at once, over 2.5 Gbit/s", "bytes_per_second", _bytes),
    "warm-tag": Measure("GET of a tag within its time", "requests_per_second", _requests),
}

BULK = ("push", "push-chunked", "push-parallel")
"""What must not make the window stutter."""
