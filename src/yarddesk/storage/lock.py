"""One process a data folder: a lock that the system takes back when its holder dies, in whatever way."""

import contextlib
import json
import logging
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from yarddesk.errors import YarddeskError
from yarddesk.storage.durable import in_words, is_full, prepare_root, read_whole
from yarddesk.storage.layout import CONTROL_FILE, LOCK_FILE

_log = logging.getLogger(__name__)
_MOST_BYTES: Final = 64 * 1024
# On Windows a locked byte can't be read by others; this one lies beyond all that is written there.
_LOCKED_BYTE: Final = 1 << 30


class AlreadyRunning(YarddeskError):
    """Another process holds the data folder. `pid` and `url` are None where it hasn't said them (yet)."""

    def __init__(self, data_dir: Path, pid: int | None, url: str | None) -> None:
        who = f"pid {pid}" if pid is not None else "another process"
        where = f", listening on {url}" if url else ""
        super().__init__(
            f"yarddesk already runs on {data_dir}: {who}{where}.",
            hint="Stop that one, or give this one a data folder of its own (--data-dir).",
        )
        self.pid = pid
        self.url = url


class InstanceLock:
    """Held from `acquire` to `release` (or the end of the `with` block, or of the process)."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def acquire(cls, data_dir: Path) -> Self:
        """Take the folder, which is made where it isn't there. Raises AlreadyRunning or StorageError. Blocks for a moment."""
        root = prepare_root(data_dir)
        with in_words(root):
            flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
            descriptor = os.open(os.path.join(root, LOCK_FILE), flags, 0o600)
        try:
            if not try_lock(descriptor):
                raise _holder(Path(root))
            held = cls(descriptor)
            with in_words(root):
                os.chmod(os.path.join(root, LOCK_FILE), 0o600)
                held._write({"pid": os.getpid()})
        except BaseException:
            os.close(descriptor)
            raise
        return held

    def announce(self, url: str) -> None:
        """Let a second instance's message name our address, too."""
        self._write({"pid": os.getpid(), "url": url})

    def release(self) -> None:
        """Let another have the folder; releasing twice does nothing. The file stays: removing it would race with the next."""
        if self._descriptor >= 0:
            try:
                os.ftruncate(self._descriptor, 0)
            except (
                OSError
            ) as error:  # a disk that fails, or is read-only by now: nobody is misled while none holds the lock
                _log.info("who held the lock still stands in it: %s", error.strerror or error)
            unlock(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()

    def _write(self, holder: Mapping[str, object]) -> None:
        os.ftruncate(self._descriptor, 0)
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        try:
            os.write(self._descriptor, json.dumps(holder).encode() + b"\n")
        except OSError as error:
            if not is_full(error):
                raise
            # The lock is held all the same: what is said in it only makes a message to others richer.
            _log.info("the disk is full: a second start will not be told who runs here")


def try_lock(descriptor: int) -> bool:
    """Whether a file's lock is ours now."""
    if sys.platform == "win32":
        import msvcrt

        os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        os.lseek(descriptor, 0, os.SEEK_SET)  # whoever writes to it next begins there
        return True
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def unlock(descriptor: int) -> None:
    """Give the lock back at once: closing alone would leave it to a child that has not closed what it inherited yet."""
    if sys.platform == "win32":
        import msvcrt

        os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)
        return
    import fcntl

    fcntl.flock(descriptor, fcntl.LOCK_UN)


def holder_seen(data_dir: Path) -> int | None:
    """The process that holds the folder's lock; None where none is seen to.

    The lock is not taken for it, not for a moment: a start just then would fail. So only Linux tells (proc(5), /proc/locks).
    """
    try:
        found = os.stat(data_dir / LOCK_FILE)
        lines = Path("/proc/locks").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    said = _read(data_dir / LOCK_FILE).get("pid")
    for line in lines:
        fields = line.split()
        if len(fields) < 6 or fields[1] != "FLOCK":
            continue
        pid, (major, minor, inode) = int(fields[4]), fields[5].split(":")
        # Some file systems (overlay, btrfs) have one device for stat(2) and another one here.
        is_device = (int(major, 16), int(minor, 16)) == (os.major(found.st_dev), os.minor(found.st_dev))
        if int(inode) == found.st_ino and (is_device or pid == said):
            return pid
    return None


def _holder(data_dir: Path) -> AlreadyRunning:
    said = {**_read(data_dir / CONTROL_FILE), **_read(data_dir / LOCK_FILE)}
    pid, url = said.get("pid"), said.get("url")
    return AlreadyRunning(data_dir, pid if isinstance(pid, int) else None, url if isinstance(url, str) else None)


def _read(path: Path) -> dict[str, Any]:
    # A file that is just being written, or was left by another version, only makes the message poorer.
    with contextlib.suppress(OSError, ValueError):
        document = json.loads(read_whole(str(path), _MOST_BYTES))
        if isinstance(document, dict):
            return document
    return {}
