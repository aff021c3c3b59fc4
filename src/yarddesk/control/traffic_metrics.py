"""What `/metrics` says of requests, of the cache, and of how upstreams answer pulls."""

from collections import Counter
from collections.abc import Sequence
from typing import Final

from yarddesk.control.exposition import Text, by, by_two, single
from yarddesk.progress.traffic import ANSWER_SECONDS, Traffic

_METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
_CUT: Final = "cut"


def render_traffic(traffic: Traffic, upstreams: Sequence[str]) -> str:
    """Labels are few: methods, classes of statuses, and the names that settings give their upstreams."""
    text = Text()
    requests: Counter[tuple[str, str]] = Counter({(method, "2xx"): 0 for method in _METHODS})
    for (method, status), count in list(traffic.requests.items()):
        requests[method if method in _METHODS else "other", f"{status // 100}xx" if status else _CUT] += count
    text.counter(
        "yarddesk_requests_total",
        "Requests that were answered, by method and class of status; cut: before the answer began.",
        by_two("method", "status", requests),
    )
    text.counter(
        "yarddesk_received_bytes_total",
        "Bytes of bodies received from clients, and of blobs that came in from upstreams to be kept.",
        by("source", traffic.received),
    )
    text.counter(
        "yarddesk_sent_bytes_total",
        "Bytes of bodies sent to clients: blobs from the store, blobs as they came from an upstream, all else.",
        by("source", traffic.sent),
    )
    text.counter(
        "yarddesk_cache_lookups_total",
        "Manifests and blobs that were asked for, by what came of it.",
        by_two("kind", "result", traffic.lookups),
    )
    text.gauge("yarddesk_fills_running", "Blobs that are coming in just now.", single(traffic.fills))
    text.counter(
        "yarddesk_fills_total",
        "Blobs that came in through an upstream, and those that did not.",
        by("outcome", {"done": traffic.fills_done, "failed": traffic.fills_failed}),
    )
    answers = traffic.of(upstreams)
    text.histogram(
        "yarddesk_upstream_seconds",
        "How long upstreams took to answer what pulls need: a tag, a manifest, the begin of a blob, a list.",
        ANSWER_SECONDS,
        [({"upstream": name}, each.seconds, each.seconds_sum) for name, each in answers.items()],
    )
    text.counter(
        "yarddesk_upstream_errors_total",
        "Questions of pulls that came to nothing, by what failed.",
        by_two(
            "upstream",
            "kind",
            {(name, kind): count for name, each in answers.items() for kind, count in each.errors.items()},
        ),
    )
    return text.whole()
