"""Whether the run before ended in order; if not, what it wrote is looked at again before it's sent anywhere."""

import json
import logging
import os
import time
import uuid
from typing import Any, Final

from yarddesk.storage.durable import open_folder, read_whole, remove_if_there, replace, sync_folder, write_durably
from yarddesk.storage.layout import RUN_FILE, TEMPORARY_PREFIX, UPLOADS

_log = logging.getLogger(__name__)
_MOST_BYTES: Final = 64 * 1024
# Clocks of file systems are coarser than ours.
_SLACK_SECONDS: Final = 5.0


class RunMarker:
    """`DATA/run.json`: `started` and `unchecked_since` in seconds of the epoch, `clean` once the run has ended in order.

    What was written from `unchecked_since` to `unchecked_until` came in runs of which one ended uncleanly. Both stay over
    clean runs, since nobody may have looked at all of it. Blocks: for a thread.
    """

    def __init__(self, root: str) -> None:
        self._root = root
        self.started = time.time()
        self.previous_ended_cleanly = True
        self.unchecked_since: float | None = None
        self.unchecked_until = 0.0

    def begin(self) -> None:
        """Read what the last run left, and have it on disk that this one goes on."""
        previous = self._read()
        self.unchecked_since = _seconds(previous.get("unchecked_since"))
        self.unchecked_until = _seconds(previous.get("unchecked_until")) or 0.0
        if previous and previous.get("clean") is not True:
            self.previous_ended_cleanly = False
            # A marker that can't be read tells no time: then everything is to be checked.
            began = _seconds(previous.get("started")) or 0.0
            earlier = self.unchecked_since
            self.unchecked_since = began if earlier is None else min(began, earlier)
            self.unchecked_until = self.started
            _log.warning("the last run ended uncleanly: what it wrote is checked before it is sent")
        self._write(clean=False)

    def end(self) -> None:
        """Have it on disk that this run ended in order."""
        self._write(clean=True)

    def is_unchecked(self, modified: float) -> bool:
        """Whether a file of this time (seconds of the epoch) was written then, and not verified since, which renews its time."""
        since = self.unchecked_since
        return since is not None and since - _SLACK_SECONDS <= modified < self.unchecked_until

    def _read(self) -> dict[str, Any]:
        try:
            document = json.loads(read_whole(os.path.join(self._root, RUN_FILE), _MOST_BYTES))
        except FileNotFoundError:
            return {}
        except (ValueError, RecursionError):
            document = None
        return document if isinstance(document, dict) and document else {"clean": False}

    def _write(self, *, clean: bool) -> None:
        content = {
            "schema": 1,
            "started": self.started,
            "clean": clean,
            "unchecked_since": self.unchecked_since,
            "unchecked_until": self.unchecked_until,
        }
        temporary = os.path.join(self._root, UPLOADS, f"{TEMPORARY_PREFIX}{uuid.uuid4()}")
        write_durably(temporary, json.dumps(content).encode() + b"\n")
        try:
            replace(temporary, os.path.join(self._root, RUN_FILE))
        except BaseException:
            remove_if_there(temporary)
            raise
        sync_folder(open_folder(self._root))


def _seconds(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
