"""The Prometheus text format (version 0.0.4)."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from typing import TypeVar

_Value = TypeVar("_Value", bound=str)
_Pair = TypeVar("_Pair", bound=tuple[str, str])
Sample = tuple[Mapping[str, str], float]


def single(value: float) -> list[Sample]:
    """The one sample of a family without labels."""
    return [({}, value)]


def by(label: str, values: Mapping[_Value, float]) -> list[Sample]:
    """A sample for each value of a label."""
    return [({label: value}, sample) for value, sample in values.items()]


def by_two(first: str, second: str, values: Mapping[_Pair, float]) -> list[Sample]:
    """A sample for each pair of two labels' values."""
    return [({first: one, second: other}, sample) for (one, other), sample in values.items()]


class Text:
    """One family after the other."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def whole(self) -> str:
        return "".join(f"{line}\n" for line in self._lines)

    def gauge(self, name: str, what: str, samples: Iterable[Sample]) -> None:
        self._family(name, "gauge", what, ((name, *sample) for sample in samples))

    def counter(self, name: str, what: str, samples: Iterable[Sample]) -> None:
        self._family(name, "counter", what, ((name, *sample) for sample in samples))

    def histogram(
        self,
        name: str,
        what: str,
        bounds: Sequence[float],
        series: Iterable[tuple[Mapping[str, str], Sequence[int], float]],
    ) -> None:
        """`series`: labels, a count for each of the bounds and one for what is beyond, and the sum."""
        samples: list[tuple[str, Mapping[str, str], float]] = []
        for labels, counts, total in series:
            below = list(accumulate(counts))
            edges = (*(f"{bound:g}" for bound in bounds), "+Inf")
            samples += [
                (f"{name}_bucket", {**labels, "le": edge}, count) for edge, count in zip(edges, below, strict=True)
            ]
            samples.append((f"{name}_sum", labels, round(total, 3)))
            samples.append((f"{name}_count", labels, below[-1]))
        self._family(name, "histogram", what, samples)

    def _family(self, name: str, kind: str, what: str, samples: Iterable[tuple[str, Mapping[str, str], float]]) -> None:
        self._lines += [f"# HELP {name} {what}", f"# TYPE {name} {kind}"]
        for sample, labels, value in samples:
            named = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
            self._lines.append(f"{sample}{f'{{{named}}}' if named else ''} {value}")


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
