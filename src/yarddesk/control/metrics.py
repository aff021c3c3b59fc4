"""The Prometheus text format (version 0.0.4)."""

from yarddesk import __version__
from yarddesk.sync.snapshot import SyncSnapshot
from yarddesk.sync.states import JobState


def render_metrics(snapshot: SyncSnapshot, used_bytes: int, max_bytes: int) -> str:
    """The queue's states, its bytes, the cache's and the upstreams' health."""
    counts = snapshot.counts
    lines = [
        "# HELP yarddesk_info The version that runs.",
        "# TYPE yarddesk_info gauge",
        f'yarddesk_info{{version="{__version__}"}} 1',
        "# HELP yarddesk_sync_jobs Images on their way, by upstream's part and state.",
        "# TYPE yarddesk_sync_jobs gauge",
        *(f'yarddesk_sync_jobs{{state="{state}"}} {counts.get(state, 0)}' for state in JobState),
        "# HELP yarddesk_sync_bytes_left Bytes still to send, of the images whose size is known.",
        "# TYPE yarddesk_sync_bytes_left gauge",
        f"yarddesk_sync_bytes_left {snapshot.bytes_left}",
        "# HELP yarddesk_sync_paused Whether everything is paused.",
        "# TYPE yarddesk_sync_paused gauge",
        f"yarddesk_sync_paused {int(snapshot.paused)}",
        "# HELP yarddesk_sync_set_aside Files in the queue's folder that can't be used.",
        "# TYPE yarddesk_sync_set_aside gauge",
        f"yarddesk_sync_set_aside {len(snapshot.set_aside)}",
        "# HELP yarddesk_cache_bytes Bytes stored.",
        "# TYPE yarddesk_cache_bytes gauge",
        f"yarddesk_cache_bytes {used_bytes}",
        "# HELP yarddesk_cache_max_bytes The bound on what can be had again; 0 is none.",
        "# TYPE yarddesk_cache_max_bytes gauge",
        f"yarddesk_cache_max_bytes {max_bytes}",
        "# HELP yarddesk_upstream_up Whether an upstream answered when it was last asked.",
        "# TYPE yarddesk_upstream_up gauge",
        *(
            f'yarddesk_upstream_up{{upstream="{_label(upstream.upstream)}"}} {int(upstream.state == "ok")}'
            for upstream in snapshot.upstreams
            if upstream.state != "unknown"
        ),
    ]
    return "\n".join(lines) + "\n"


def _label(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
