"""Facts that change, in a file with a line of JSON for each change; it begins anew before it grows for ever."""

import json
import logging
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from yarddesk.content.threads import in_thread
from yarddesk.errors import YarddeskError
from yarddesk.storage.durable import read_whole
from yarddesk.storage.state_files import append_lines, replace_file

_log = logging.getLogger(__name__)
_MAX_BYTES: Final = 256 * 1024 * 1024
_SPARE_LINES: Final = 1000

Line = dict[str, Any]


class LineFile:
    """Who has it writes one thing after the other. What takes long is done on threads."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lines = 0

    async def load(self, take: Callable[[Line], object], otherwise: str) -> None:
        """Give each line to `take`, in order. Those that can't be read, or that it can't take, are left out; the log says how many.

        `otherwise` says, for the log, what it means where the file can't be read.
        """
        try:
            content = await in_thread(read_whole, str(self.path), _MAX_BYTES)
        except FileNotFoundError:
            return
        except OSError as error:
            _log.error("%s can't be read: %s: %s", self.path, otherwise, error)
            return
        damaged = 0
        for line in content.splitlines():
            self._lines += 1
            try:
                take(_parsed(line))
            except (YarddeskError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError):
                damaged += 1
        if damaged:
            _log.warning("%d lines of %s can't be read, and are left out", damaged, self.path)

    async def write(self, batch: Sequence[Line], count: int, everything: Callable[[], Iterable[Line]]) -> None:
        """Have these in the file, durably. Raises OSError, and then none of them is, unless a folder's fsync failed.

        Where it has far more lines by now than the `count` that are true, it begins anew with those that `everything` gives:
        called at once, on the loop, it gives what is true now, with the batch; a thread goes through it.
        """
        if self._lines + len(batch) <= 2 * count + _SPARE_LINES:
            await in_thread(lambda: append_lines(self.path, _encoded(batch)))
            self._lines += len(batch)
        else:
            true = everything()
            await in_thread(lambda: replace_file(self.path, _encoded(true)))
            self._lines = count


def _parsed(text: bytes) -> Line:
    line = json.loads(text)
    if not isinstance(line, dict):
        raise TypeError("it is no JSON object")
    return line


def _encoded(lines: Iterable[Line]) -> bytes:
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)
