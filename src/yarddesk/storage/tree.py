"""The folders below DATA: made when needed, private, never entered through a symbolic link, durable before we say so."""

import errno
import os
import stat
import sys
import threading
from collections.abc import Callable
from typing import Final

from yarddesk.content.errors import StorageError
from yarddesk.storage.durable import make_folder, open_file, open_folder, regular_size, replace, sync_folder
from yarddesk.storage.layout import Parts
from yarddesk.storage.recent import Recent
from yarddesk.storage.usage import Usage

_REMEMBERED_FOLDERS: Final = 20_000


class Tree:
    """What changes the shape of the data folder. Every method blocks and may be called from any thread.

    One lock makes "the folder is there", "the file is in it" and "it's counted" one step, so that an emptied folder can be
    removed while another push fills it. No fsync happens under the lock.
    """

    def __init__(self, root: str) -> None:
        self.root = root
        self.usage = Usage()
        self._lock = threading.Lock()
        self._durable: Recent[str, bool] = Recent(_REMEMBERED_FOLDERS)
        self._removals = 0
        self._unsure: set[str] = set()

    def join(self, parts: Parts, *names: str) -> str:
        """The path, without a look at the disk."""
        return os.path.join(self.root, *parts, *names)

    def find(self, parts: Parts) -> str | None:
        """The path of a folder that is there; None where it isn't. Raises StorageError where a link or file is in the way."""
        path = self.root
        for part in parts:
            path = os.path.join(path, part)
            if not _is_folder(path):
                return None
        return path

    def make(self, parts: Parts) -> str:
        """The path of a folder, made and durable if it wasn't there."""
        with self._lock:
            path, unsynced, seen = self._ensure(parts)
            descriptors = _open_folders(unsynced[::2])
        self._sync(descriptors, unsynced, seen)
        return path

    def place(self, temporary: str, parts: Parts, name: str, *, counted: bool = False, sync: bool = True) -> None:
        """Give a file, fsynced by the caller, its final name, in place of what has that name; durable on return.

        `sync=False` where another file goes into the same folder next. `counted`: the usage tells of it.
        """
        size = os.lstat(temporary).st_size if counted else 0
        with self._lock:
            folder, unsynced, seen = self._ensure(parts)
            # Opened before the rename: a lack of descriptors must not leave a name that isn't durable.
            descriptors = _open_folders([folder, *unsynced[::2]] if sync else unsynced[::2])
            replaced = -1
            try:
                target = os.path.join(folder, name)
                before = regular_size(target)
                if before is not None:
                    replaced = _hold(target)
                elif sync:
                    self._unsure.add(target)
                replace(temporary, target)
            except BaseException:
                _close([replaced, *descriptors])
                raise
            if counted:
                self.usage.changed(folder, size - (before or 0))
        _close([replaced])
        self._sync(descriptors, unsynced, seen)
        if sync:
            self._unsure.discard(target)

    def is_durable(self, path: str) -> bool:
        """False between a new file's rename and its folder's fsync, and for good where that failed: nobody may build on it."""
        return path not in self._unsure

    def remove(
        self,
        parts: Parts,
        name: str,
        *,
        counted: bool = False,
        sync: bool = True,
        only_if: Callable[[os.stat_result], bool] | None = None,
    ) -> bool:
        """Unlink a file; whether it was there, and the one meant. Durable on return."""
        with self._lock:
            folder = self.find(parts)
            if folder is None:
                return False
            target = os.path.join(folder, name)
            size = regular_size(target)
            if size is None or (only_if is not None and not only_if(os.lstat(target))):
                return False
            descriptor = open_folder(folder) if sync else -1
            removed = _hold(target)
            try:
                os.unlink(target)
            except BaseException:
                _close([descriptor, removed])
                raise
            self._unsure.discard(target)
            if counted:
                self.usage.changed(folder, -size)
        _close([removed])
        sync_folder(descriptor)
        return True

    def move_out(
        self, parts: Parts, name: str, away: Parts, new_name: str, *, only_if: Callable[[os.stat_result], bool]
    ) -> bool:
        """Move a file that the usage told of to where it doesn't; whether it was there and is the one meant. Durable on return."""
        with self._lock:
            folder = self.find(parts)
            if folder is None:
                return False
            source = os.path.join(folder, name)
            size = regular_size(source)
            if size is None or not only_if(os.lstat(source)):
                return False
            target, unsynced, seen = self._ensure(away)
            descriptors = _open_folders([target, folder, *unsynced[::2]])
            try:
                replace(source, os.path.join(target, new_name))
            except BaseException:
                _close(descriptors)
                raise
            self.usage.changed(folder, -size)
        self._sync(descriptors, unsynced, seen)
        return True

    def prune(self, parts: Parts, keep: int) -> None:
        """Remove a folder and those above it, as far as they are empty; the first `keep` stay."""
        with self._lock:
            for length in range(len(parts), keep, -1):
                path = self.join(parts[:length])
                try:
                    os.rmdir(path)
                except FileNotFoundError:
                    continue
                except OSError as error:
                    # Solaris and some others say EEXIST for a folder that isn't empty.
                    if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                        return
                    raise
                self._durable.drop(path)
                self._removals += 1
                self.usage.folder_removed(path)

    def count(self, folder: str, measure: Callable[[], int]) -> None:
        """Let the usage count a folder as it is between two changes."""
        with self._lock:
            self.usage.count(folder, measure)

    def finish_count(self) -> None:
        with self._lock:
            self.usage.finish()

    def _ensure(self, parts: Parts) -> tuple[str, list[str], int]:
        """The folder's path, the folders whose names aren't known to be durable, and how many were removed so far."""
        path, unsynced = self.root, []
        for part in parts:
            parent, path = path, os.path.join(path, part)
            if not _is_folder(path):
                make_folder(path)
                self.usage.folder_made(path)
                self._durable.drop(path)
            if not self._durable.get(path):
                # Also where it was there: a run that was killed may have made it and not come to the fsync.
                unsynced.append(parent)
                unsynced.append(path)
        return path, unsynced, self._removals

    def _sync(self, descriptors: list[int], unsynced: list[str], seen: int) -> None:
        while descriptors:
            try:
                sync_folder(descriptors.pop(0))
            except BaseException:
                _close(descriptors)
                raise
        with self._lock:
            if self._removals == seen:
                for path in unsynced[1::2]:
                    self._durable.put(path, True)


def _open_folders(paths: list[str]) -> list[int]:
    descriptors: list[int] = []
    try:
        for path in paths:
            descriptors.append(open_folder(path))  # noqa: PERF401 - those that are open are closed when one fails
    except BaseException:
        _close(descriptors)
        raise
    return descriptors


def _hold(path: str) -> int:
    """Keep a file that is about to go until it's closed: to free gigabytes takes long, and the lock is held."""
    if sys.platform == "win32":
        return -1
    try:
        return open_file(path)
    except OSError:  # then there is nothing to free, or it takes the time it takes
        return -1


def _close(descriptors: list[int]) -> None:
    for descriptor in descriptors:
        if descriptor >= 0:
            os.close(descriptor)


def _is_folder(path: str) -> bool:
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return False
    if stat.S_ISDIR(mode):
        return True
    raise StorageError(
        f"{path} is not a folder{' but a symbolic link' if stat.S_ISLNK(mode) else ''}.",
        "Nothing that is kept here may lead elsewhere.",
        hint="Move it away and put a folder in its place.",
    )
