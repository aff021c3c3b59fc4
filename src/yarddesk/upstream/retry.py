"""When a request is simply sent once more. Waiting longer, and trying for days, is the worker's business."""

from dataclasses import dataclass

from yarddesk.content.upstream import UpstreamAway, UpstreamBroken, UpstreamFailure, UpstreamStalled, UpstreamTimeout


@dataclass(frozen=True, slots=True)
class Retry:
    """`tries`: how often a request that may be repeated is sent at most, when its connection breaks before an answer.

    Kept-alive connections end whenever the other side likes, so the first break says little. `resumes`: how often a download
    goes on after a break; breaks with nothing received since the last one count as tries.
    """

    tries: int = 2
    resumes: int = 20

    def again(self, failure: UpstreamFailure, tried: int) -> bool:
        """Whether to send a request again that has failed `tried` times."""
        took_long = isinstance(failure, UpstreamTimeout | UpstreamStalled)
        return tried < self.tries and isinstance(failure, UpstreamAway | UpstreamBroken) and not took_long
