"""`yarddesk gc`: what nothing refers to, collected."""

from typing import Final

from yarddesk.control.works import Document, Report
from yarddesk.errors import YarddeskError
from yarddesk.service.surroundings import Surroundings
from yarddesk.storage.garbage import Orders

GRACE_SECONDS: Final = 3600.0
"""So long what was just pushed may wait for the manifest that refers to it."""


class Collecting:
    """The work behind the command."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around

    async def gc(self, parameters: Document, report: Report) -> Document:
        """`grace_seconds`, `untagged`, `dry_run`. What is queued for an upstream is never collected."""
        grace = parameters.get("grace_seconds", GRACE_SECONDS)
        if not isinstance(grace, int | float) or isinstance(grace, bool) or not grace >= 0:
            raise YarddeskError("grace_seconds is a number, 0 at least.")
        dry_run = parameters.get("dry_run") is True
        store = self._around.store

        def progress(doing: str, done: int, total: int) -> None:
            report.progress(doing=doing, count_done=done, count_total=total)

        uploads = await store.abandoned_uploads() if dry_run else await store.collect_uploads()
        orders = Orders(
            closed=self._around.deletes.closed,
            progress=progress,
            grace_seconds=float(grace),
            untagged=parameters.get("untagged") is True,
            dry_run=dry_run,
            queued=self._around.queue.queued_in,
        )
        collected = await store.garbage.collect(orders)
        return {
            "dry_run": dry_run,
            "blobs": collected.blobs,
            "manifests": collected.manifests,
            "uploads": uploads,
            "bytes": collected.blob_bytes + collected.manifest_bytes,
            "kept_young": collected.young,
            "kept_promised": collected.promised,
            "not_looked_through": sorted(collected.busy),
        }
