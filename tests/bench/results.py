"""Every figure of every round, and their medians."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import median

from tests.bench.measures import MEASURES


@dataclass
class Results:
    """Figures by measure, server and name; peak memory in bytes by server."""

    figures: dict[tuple[str, str, str], list[float]] = field(default_factory=dict)
    peak_memory: dict[str, int] = field(default_factory=dict)

    def add(self, measure: str, server: str, answer: Mapping[str, object]) -> None:
        """Keep what one round gave: all that is a number."""
        for name, figure in answer.items():
            if isinstance(figure, int | float):
                self.figures.setdefault((measure, server, name), []).append(figure)

    def median(self, measure: str, server: str, figure: str = "") -> float | None:
        """The measure's own figure, or another one; None where it was not measured."""
        rounds = self.figures.get((measure, server, figure or MEASURES[measure].figure))
        return median(rounds) if rounds else None

    def ratio(self, measure: str, server: str, other: str, other_measure: str = "") -> float | None:
        """How many times as good the one is as the other."""
        ours, theirs = self.median(measure, server), self.median(other_measure or measure, other)
        if ours is None or theirs is None:
            return None
        return theirs / ours if MEASURES[measure].less else ours / theirs
