"""What passed since the start, and how upstreams answered: counters for the metrics. A count is an addition or two, on the loop."""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, get_args

ANSWER_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Upper bounds of how long upstreams take for an answer, for the histogram."""


Source = Literal["store", "upstream", "other"]
"""Where the bytes of an answer come from. No StrEnum: its members are hashed in Python."""

Lookup = Literal["hit", "miss", "stale", "absent"]
"""How it went that something was asked for: it was here (and unchanged, as far as an upstream was asked), an upstream
had it, it was here and may be out of date, nobody has it."""

Kind = Literal["manifest", "blob"]


@dataclass(slots=True)
class Answers:
    """Of one upstream: how many questions it answered, how long that took, and by what kind of failure others came to nothing.

    `seconds` has a count for each of ANSWER_SECONDS, and one for what took longer.
    """

    seconds: list[int] = field(default_factory=lambda: [0] * (len(ANSWER_SECONDS) + 1))
    seconds_sum: float = 0.0
    errors: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))


class Traffic:
    """One for a yard. Keys are few whatever happens: no name of a repository is among them."""

    def __init__(self) -> None:
        self.requests: defaultdict[tuple[str, int], int] = defaultdict(int)
        """By method and status; 0 is an answer that was cut before it began."""

        self.received = {"clients": 0, "upstreams": 0}
        self.sent: dict[Source, int] = {"store": 0, "upstream": 0, "other": 0}
        self.lookups: dict[tuple[Kind, Lookup], int] = {
            (kind, result): 0 for kind in get_args(Kind) for result in get_args(Lookup)
        }
        self.fills = 0
        self.fills_done = 0
        self.fills_failed = 0
        self._answers: dict[str, Answers] = {}

    def request(self, method: str, status: int, received: int, sent: int, source: Source) -> None:
        """A request was answered with so many bytes of a body."""
        self.requests[method, status] += 1
        self.sent[source] += sent
        if received:
            self.received["clients"] += received

    def lookup(self, kind: Kind, result: Lookup) -> None:
        """A manifest or blob was asked for."""
        self.lookups[kind, result] += 1

    def answered(self, upstream: str, seconds: float, failure: str = "") -> None:
        """An upstream answered, or failed to."""
        answers = self._answers.get(upstream)
        if answers is None:
            answers = self._answers[upstream] = Answers()
        if failure:
            answers.errors[failure] += 1
        else:
            answers.seconds[bisect_left(ANSWER_SECONDS, seconds)] += 1
            answers.seconds_sum += seconds

    def fill_begun(self) -> None:
        self.fills += 1

    def fill_received(self, count: int) -> None:
        """Some more bytes of a blob came in."""
        self.received["upstreams"] += count

    def fill_ended(self, *, whole: bool) -> None:
        """A blob is here, or did not come."""
        self.fills -= 1
        self.fills_done += whole
        self.fills_failed += not whole

    def of(self, upstreams: Collection[str]) -> Mapping[str, Answers]:
        """Of these upstreams, the settings' own; what was counted of others is forgotten, so that it can't become ever more."""
        for name in self._answers.keys() - set(upstreams):
            del self._answers[name]
        return {name: self._answers.get(name) or Answers() for name in upstreams}
