"""What `/metrics` says of the queue, the upstreams and the store."""

from collections.abc import Callable, Mapping

from yarddesk import __version__
from yarddesk.content.pull_through import PullHealth
from yarddesk.control.counters import SECONDS_BOUNDS, SyncCounters, UpstreamCounts
from yarddesk.control.exposition import Text
from yarddesk.sync.snapshot import SyncSnapshot
from yarddesk.sync.states import JobState
from yarddesk.sync.verdicts import FailureKind

_OUTCOMES = tuple(state for state in JobState if state.is_over)
_HOOKS = ("command", "webhook")


def render_metrics(
    snapshot: SyncSnapshot,
    counters: SyncCounters,
    cache: Mapping[str, int],
    pull_health: Callable[[str], PullHealth],
) -> str:
    """How the queue, the cache and the upstreams stand, and what was counted since the start."""
    text = Text()
    text.gauge("yarddesk_info", "The version that runs.", [({"version": __version__}, 1)])
    _state(text, snapshot)
    _counts(text, counters.of([upstream.upstream for upstream in snapshot.upstreams]))
    _pulls(text, {upstream.upstream: pull_health(upstream.upstream) for upstream in snapshot.upstreams})
    text.counter(
        "yarddesk_hook_failures_total",
        "Arrivals that a hook could not be told of, for good.",
        [({"hook": hook}, counters.hooks.get(hook, 0)) for hook in _HOOKS],
    )
    text.gauge("yarddesk_cache_bytes", "Bytes of what can be had again.", [({}, cache["used"])])
    text.gauge("yarddesk_cache_max_bytes", "The bound on what can be had again; 0 is none.", [({}, cache["max"])])
    text.gauge("yarddesk_stored_bytes", "Bytes of all that is stored.", [({}, cache["stored"])])
    return text.whole()


def _state(text: Text, snapshot: SyncSnapshot) -> None:
    counts = snapshot.counts
    text.gauge(
        "yarddesk_sync_jobs",
        "Images on their way, by upstream's part and state.",
        [({"state": str(state)}, counts.get(state, 0)) for state in JobState],
    )
    text.gauge(
        "yarddesk_sync_bytes_left",
        "Bytes still to send, of the images whose size is known.",
        [({}, snapshot.bytes_left)],
    )
    text.gauge("yarddesk_sync_paused", "Whether everything is paused.", [({}, int(snapshot.paused))])
    text.gauge(
        "yarddesk_sync_paused_repositories",
        "Repositories that are paused.",
        [({}, len(snapshot.paused_repositories))],
    )
    text.gauge(
        "yarddesk_sync_set_aside",
        "Files in the queue's folder that can't be used.",
        [({}, len(snapshot.set_aside))],
    )
    text.gauge(
        "yarddesk_upstream_up",
        "Whether an upstream answered when it was last asked.",
        [
            ({"upstream": upstream.upstream}, int(upstream.state == "ok"))
            for upstream in snapshot.upstreams
            if upstream.state != "unknown"
        ],
    )


def _pulls(text: Text, upstreams: Mapping[str, PullHealth]) -> None:
    text.gauge(
        "yarddesk_upstream_pulls_up",
        "Whether pulls ask an upstream; 0 while it's left alone.",
        [({"upstream": name}, int(health.state == "ok")) for name, health in upstreams.items()],
    )
    quotas = {name: health.quota for name, health in upstreams.items() if health.quota is not None}
    text.gauge(
        "yarddesk_upstream_quota_limit",
        "Pulls that an upstream allows in its window.",
        [({"upstream": name}, quota.limit) for name, quota in quotas.items()],
    )
    text.gauge(
        "yarddesk_upstream_quota_remaining",
        "Pulls that are left in it.",
        [({"upstream": name}, quota.remaining) for name, quota in quotas.items()],
    )


def _counts(text: Text, upstreams: Mapping[str, UpstreamCounts]) -> None:
    def each(name: str, what: str, values: Mapping[str, float]) -> None:
        text.counter(name, what, [({"upstream": upstream}, value) for upstream, value in values.items()])

    text.counter(
        "yarddesk_sync_images_total",
        "Images whose sync to an upstream ended.",
        [
            ({"upstream": name, "outcome": str(outcome)}, counts.images[outcome])
            for name, counts in upstreams.items()
            for outcome in _OUTCOMES
        ],
    )
    each(
        "yarddesk_sync_bytes_sent_total",
        "Bytes sent for images whose sync ended.",
        {name: counts.bytes_sent for name, counts in upstreams.items()},
    )
    each(
        "yarddesk_sync_bytes_saved_total",
        "Bytes of synced images that an upstream had already, or could mount.",
        {name: counts.bytes_saved for name, counts in upstreams.items()},
    )
    text.counter(
        "yarddesk_sync_failures_total",
        "Tries that came to nothing, by what failed.",
        [
            ({"upstream": name, "kind": str(kind)}, counts.failures[kind])
            for name, counts in upstreams.items()
            for kind in FailureKind
        ],
    )
    each(
        "yarddesk_sync_retries_total",
        "Tries after an image's first.",
        {name: counts.retries for name, counts in upstreams.items()},
    )
    each(
        "yarddesk_sync_conflicts_total",
        "Tags that somebody else had moved, and that were not overwritten.",
        {name: counts.conflicts for name, counts in upstreams.items()},
    )
    text.histogram(
        "yarddesk_sync_seconds",
        "How long images took from their first try until they were read back.",
        SECONDS_BOUNDS,
        [({"upstream": name}, counts.seconds, counts.seconds_sum) for name, counts in upstreams.items()],
    )
