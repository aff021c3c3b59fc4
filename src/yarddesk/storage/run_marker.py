"""Whether the run before ended in order."""

import json
import logging
import os
import time
from pathlib import Path
from typing import Any, Final

from yarddesk.storage.durable import create_file, is_full, open_file, open_folder, read_whole, sync_file, sync_folder
from yarddesk.storage.layout import RUN_FILE
from yarddesk.storage.state_files import replace_file

_log = logging.getLogger(__name__)
_MOST_BYTES: Final = 64 * 1024


class RunMarker:
    """`DATA/run.json`: `started` in seconds of the epoch, `clean` once the run has ended in order. Blocks: for a thread."""

    def __init__(self, root: str) -> None:
        self._root = root
        self.started = time.time()
        self.previous_ended_cleanly = True

    def look(self) -> float:
        """Read what the last run left; when it began (in seconds of the epoch, 0 where that can't be told)."""
        previous = self._read()
        if previous and previous.get("clean") is not True:
            self.previous_ended_cleanly = False
            _log.warning(
                "the last run ended uncleanly; as after any start, what is stored is checked before it is sent"
            )
        started = previous.get("started")
        return float(started) if isinstance(started, int | float) else 0.0

    def begin(self) -> None:
        """Have it on disk that this run goes on."""
        try:
            self._write(clean=False)
        except OSError as error:
            if not is_full(error):
                raise
            self._write_nothing()

    def end(self) -> None:
        """Have it on disk that this run ended in order."""
        self._write(clean=True)

    def _read(self) -> dict[str, Any]:
        try:
            document = json.loads(read_whole(os.path.join(self._root, RUN_FILE), _MOST_BYTES))
        except FileNotFoundError:
            return {}
        except (ValueError, RecursionError):
            document = None
        return document if isinstance(document, dict) and document else {"clean": False}

    def _write_nothing(self) -> None:
        """An empty file takes no room, and says as well that the run has not ended in order."""
        _log.warning("the disk is full: what is stored here is served, and pushes are taken once there is room")
        path = os.path.join(self._root, RUN_FILE)
        try:
            descriptor = open_file(path, write=True)
        except FileNotFoundError:
            descriptor = create_file(path)
        try:
            os.ftruncate(descriptor, 0)
            sync_file(descriptor)
        finally:
            os.close(descriptor)
        sync_folder(open_folder(self._root))

    def _write(self, *, clean: bool) -> None:
        content = {"schema": 1, "started": self.started, "clean": clean}
        replace_file(Path(self._root, RUN_FILE), json.dumps(content).encode() + b"\n")
