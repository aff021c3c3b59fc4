"""What `/metrics` says of the queue, the upstreams and the store."""

from collections.abc import Callable, Mapping

from yarddesk import __version__
from yarddesk.content.pull_through import PullHealth
from yarddesk.control.counters import SECONDS_BOUNDS, EventCounters, UpstreamCounts
from yarddesk.control.exposition import Text, by, by_two, single
from yarddesk.sync.snapshot import SyncSnapshot
from yarddesk.sync.states import JobState
from yarddesk.sync.verdicts import FailureKind

_OUTCOMES = tuple(state for state in JobState if state.is_over)
_HOOKS = ("command", "webhook")


def render_metrics(
    snapshot: SyncSnapshot,
    counters: EventCounters,
    cache: Mapping[str, int],
    pull_health: Callable[[str], PullHealth],
) -> str:
    """How the queue, the cache and the upstreams stand, and what was counted since the start."""
    upstreams = [upstream.upstream for upstream in snapshot.upstreams]
    text = Text()
    text.gauge("yarddesk_info", "The version that runs.", by("version", {__version__: 1}))
    _state(text, snapshot)
    _counts(text, counters.of(upstreams))
    _pulls(text, {upstream: pull_health(upstream) for upstream in upstreams})
    text.counter(
        "yarddesk_hook_failures_total",
        "Arrivals that a hook could not be told of, for good.",
        by("hook", {hook: counters.hooks.get(hook, 0) for hook in _HOOKS}),
    )
    _cache(text, cache, counters)
    return text.whole()


def _cache(text: Text, cache: Mapping[str, int], counters: EventCounters) -> None:
    text.gauge("yarddesk_cache_bytes", "Bytes of what can be had again.", single(cache["used"]))
    text.gauge("yarddesk_cache_max_bytes", "The bound on what can be had again; 0 is none.", single(cache["max"]))
    text.gauge("yarddesk_stored_bytes", "Bytes of all that is stored.", single(cache["stored"]))
    text.counter(
        "yarddesk_evicted_images_total",
        "Images that went to make room, by what it was made for: cache.max_size, or cache.min_free of the disk.",
        by("bound", {bound: evicted.images for bound, evicted in counters.evicted.items()}),
    )
    text.counter(
        "yarddesk_evicted_bytes_total",
        "Bytes that went to make room: with images, and of blobs that no manifest names.",
        by("bound", {bound: evicted.size for bound, evicted in counters.evicted.items()}),
    )


def _state(text: Text, snapshot: SyncSnapshot) -> None:
    text.gauge(
        "yarddesk_sync_jobs",
        "Images on their way, by upstream's part and state.",
        by("state", {state: snapshot.counts.get(state, 0) for state in JobState}),
    )
    text.gauge(
        "yarddesk_sync_bytes_left",
        "Bytes still to send, of the images whose size is known.",
        single(snapshot.bytes_left),
    )
    text.gauge("yarddesk_sync_paused", "Whether everything is paused.", single(int(snapshot.paused)))
    text.gauge(
        "yarddesk_sync_paused_repositories",
        "Repositories that are paused.",
        single(len(snapshot.paused_repositories)),
    )
    text.gauge(
        "yarddesk_sync_set_aside",
        "Files in the queue's folder that can't be used.",
        single(len(snapshot.set_aside)),
    )
    known = [upstream for upstream in snapshot.upstreams if upstream.state != "unknown"]
    text.gauge(
        "yarddesk_upstream_up",
        "Whether an upstream answered when it was last asked.",
        by("upstream", {upstream.upstream: int(upstream.state == "ok") for upstream in known}),
    )


def _pulls(text: Text, upstreams: Mapping[str, PullHealth]) -> None:
    text.gauge(
        "yarddesk_upstream_pulls_up",
        "Whether pulls ask an upstream; 0 while it's left alone.",
        by("upstream", {name: int(health.state == "ok") for name, health in upstreams.items()}),
    )
    quotas = {name: health.quota for name, health in upstreams.items() if health.quota is not None}
    text.gauge(
        "yarddesk_upstream_quota_limit",
        "Pulls that an upstream allows in its window.",
        by("upstream", {name: quota.limit for name, quota in quotas.items()}),
    )
    text.gauge(
        "yarddesk_upstream_quota_remaining",
        "Pulls that are left in it.",
        by("upstream", {name: quota.remaining for name, quota in quotas.items()}),
    )


_TOTALS: tuple[tuple[str, str, Callable[[UpstreamCounts], int]], ...] = (
    ("bytes_sent", "Bytes sent for images whose sync ended.", lambda counts: counts.bytes_sent),
    (
        "bytes_saved",
        "Bytes of synced images that an upstream had already, or could mount.",
        lambda counts: counts.bytes_saved,
    ),
    ("retries", "Tries after an image's first.", lambda counts: counts.retries),
    ("conflicts", "Tags that somebody else had moved, and that were not overwritten.", lambda counts: counts.conflicts),
)
"""Of each upstream, a number each."""


def _counts(text: Text, upstreams: Mapping[str, UpstreamCounts]) -> None:
    text.counter(
        "yarddesk_sync_images_total",
        "Images whose sync to an upstream ended.",
        by_two(
            "upstream",
            "outcome",
            {(name, outcome): counts.images[outcome] for name, counts in upstreams.items() for outcome in _OUTCOMES},
        ),
    )
    text.counter(
        "yarddesk_sync_failures_total",
        "Tries that came to nothing, by what failed.",
        by_two(
            "upstream",
            "kind",
            {(name, kind): counts.failures[kind] for name, counts in upstreams.items() for kind in FailureKind},
        ),
    )
    for total, what, number in _TOTALS:
        text.counter(
            f"yarddesk_sync_{total}_total",
            what,
            by("upstream", {name: number(counts) for name, counts in upstreams.items()}),
        )
    text.histogram(
        "yarddesk_sync_seconds",
        "How long images took from their first try until they were read back.",
        SECONDS_BOUNDS,
        [({"upstream": name}, counts.seconds, counts.seconds_sum) for name, counts in upstreams.items()],
    )
