"""A strict reader of the Prometheus text format 0.0.4: what isn't exactly as it should be raises."""

import re
from dataclasses import dataclass, field

_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_COMMENT = re.compile(rf"# (HELP|TYPE) ({_NAME}) (.+)")
_SAMPLE = re.compile(rf"({_NAME})(?:\{{(.+)\}})? (\S+)")
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\\\|\\"|\\n)*)"(?:,(?=.)|$)')
_VALUE = re.compile(r"-?\d+(\.\d+)?(e[+-]?\d+)?|\+Inf|-Inf|NaN")
_UNESCAPED = {r"\\": "\\", r"\"": '"', r"\n": "\n"}
_KINDS = {"gauge", "counter", "histogram"}

Labels = frozenset[tuple[str, str]]


@dataclass
class Family:
    """One metric: its samples by name and labels."""

    name: str
    kind: str = ""
    help: str = ""
    samples: dict[tuple[str, Labels], float] = field(default_factory=dict)

    def value(self, suffix: str = "", **labels: str) -> float:
        return self.samples[f"{self.name}{suffix}", frozenset(labels.items())]


def read(text: str) -> dict[str, Family]:
    """The families by name. Each has its HELP, its TYPE and its samples in one group; raises AssertionError."""
    assert text.endswith("\n")
    families: dict[str, Family] = {}
    family = Family("")
    for line in text.removesuffix("\n").split("\n"):
        if line.startswith("#"):
            comment = _COMMENT.fullmatch(line)
            assert comment, f"no comment of ours: {line!r}"
            word, name, said = comment.groups()
            if word == "HELP":
                assert name not in families, f"{name} comes twice"
                family = families[name] = Family(name, help=said)
            else:
                assert name == family.name, f"the type of {name} stands apart"
                assert not family.kind
                assert said in _KINDS
                family.kind = said
        else:
            _sample(family, line)
    for each in families.values():
        _check(each)
        # OpenMetrics calls a counter by its name without the end.
        assert f"{each.name}_total" not in families, f"{each.name} is two families to some readers"
    return families


def _sample(family: Family, line: str) -> None:
    sample = _SAMPLE.fullmatch(line)
    assert sample, f"no sample: {line!r}"
    name, labelled, value = sample.groups()
    assert family.kind, f"{name} has no type before it"
    allowed = {"_bucket", "_sum", "_count"} if family.kind == "histogram" else {""}
    assert name in {f"{family.name}{suffix}" for suffix in allowed}, f"{name} is not of {family.name}"
    assert _VALUE.fullmatch(value), f"{value!r} is no number"
    key = (name, _labels(labelled or ""))
    assert key not in family.samples, f"{line!r} comes twice"
    family.samples[key] = float(value)


def _labels(text: str) -> Labels:
    labels: dict[str, str] = {}
    at = 0
    while at < len(text):
        label = _LABEL.match(text, at)
        assert label, f"no label: {text[at:]!r}"
        name, value = label.groups()
        assert name not in labels
        labels[name] = re.sub(r"\\.", lambda escape: _UNESCAPED[escape[0]], value)
        at = label.end()
    return frozenset(labels.items())


def _check(family: Family) -> None:
    assert family.kind, f"{family.name} has no type"
    assert family.help
    assert family.name.endswith("_total") == (family.kind == "counter")
    if family.kind == "counter":
        assert all(value >= 0 for value in family.samples.values())
    if family.kind == "histogram":
        _check_histogram(family)


def _check_histogram(family: Family) -> None:
    series: dict[Labels, list[tuple[float, float]]] = {}
    for (name, labels), value in family.samples.items():
        if name.endswith("_bucket"):
            bound = float(dict(labels)["le"])
            series.setdefault(frozenset(label for label in labels if label[0] != "le"), []).append((bound, value))
    for labels, buckets in series.items():
        assert buckets == sorted(buckets), "buckets grow"
        assert [count for _, count in buckets] == sorted(count for _, count in buckets), "buckets are cumulative"
        assert buckets[-1][0] == float("inf")
        assert family.samples[f"{family.name}_count", labels] == buckets[-1][1]
        assert (f"{family.name}_sum", labels) in family.samples
