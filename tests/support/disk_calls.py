"""The calls of `os` that change a disk, counted; at the one that was chosen the process dies, or the call fails."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any

CALLS = ("open", "write", "fsync", "replace", "mkdir", "rmdir", "unlink", "utime", "ftruncate")


class DiskCalls:
    """Counts from `install` on. `at` is called with the number and the name of each call, before it is made.

    What `at` raises, the call raises; what never returns (`os._exit`) is a process that was killed there.
    """

    def __init__(self, at: Callable[[int, str], None], below: str) -> None:
        self._at = at
        self._below = below
        self._lock = threading.Lock()
        self._originals: dict[str, Callable[..., Any]] = {}
        self.made: list[str] = []

    def install(self) -> None:
        for name in CALLS:
            self._originals[name] = getattr(os, name)
            setattr(os, name, self._counted(name, self._originals[name]))

    def uninstall(self) -> None:
        for name, original in self._originals.items():
            setattr(os, name, original)

    def _counted(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **options: Any) -> Any:
            changes = name != "open" or (len(arguments) > 1 and arguments[1] & os.O_CREAT)
            if changes and (where := _path_of(arguments[0])).startswith(self._below):
                with self._lock:
                    self.made.append(f"{name} {where.removeprefix(self._below)}")
                    self._at(len(self.made), name)
            return call(*arguments, **options)

        return counted


def _path_of(file: Any) -> str:
    return os.readlink(f"/proc/self/fd/{file}") if isinstance(file, int) else os.fspath(file)
