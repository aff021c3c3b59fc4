"""The few things that make a file last: no-follow creation, fsync of files and folders, and words for what fails."""

import contextlib
import ctypes
import errno
import os
import shutil
import stat
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, cast

from yarddesk.content.errors import StorageError, StorageFull, StorageReadOnly

# Absent on Windows, where links need rights that few have, descriptors aren't inherited and files are text by default.
_NO_FOLLOW: Final = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_FILE_MODE: Final = 0o600
_FOLDER_MODE: Final = 0o700
_NO_FSYNC: Final = (errno.EINVAL, errno.ENOTSUP, errno.ENOTTY)
_NO_EARLY_WRITING: Final = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EPERM, errno.ESPIPE)
_BUSY_SECONDS: Final = 2.0
_PLENTY_BYTES: Final = 1024 * 1024 * 1024


def create_file(path: str) -> int:
    """A new file, 0600 whatever the umask, open for reading and writing. Raises FileExistsError, also for a link."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | _NO_FOLLOW, _FILE_MODE)
    try:
        if sys.platform != "win32":
            os.fchmod(descriptor, _FILE_MODE)
    except BaseException:
        os.close(descriptor)
        remove_if_there(path)
        raise
    return descriptor


def open_file(path: str, *, write: bool = False) -> int:
    """A regular file that is there; a symbolic link is taken for a missing one. Raises FileNotFoundError."""
    try:
        # Not to wait for whoever might write into a pipe; to a regular file it means nothing.
        descriptor = os.open(path, (os.O_RDWR if write else os.O_RDONLY) | _NO_FOLLOW | getattr(os, "O_NONBLOCK", 0))
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENOTDIR):
            raise FileNotFoundError(errno.ENOENT, "no regular file", path) from error
        raise
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise FileNotFoundError(errno.ENOENT, "no regular file", path)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def make_folder(path: str) -> None:
    """A new folder, 0700 whatever the umask. Raises FileExistsError."""
    os.mkdir(path, _FOLDER_MODE)
    os.chmod(path, _FOLDER_MODE)


def write_all(descriptor: int, content: bytes | bytearray | memoryview) -> None:
    """All of it, also where the system takes less at once."""
    written = os.write(descriptor, content)
    if written < len(content):
        rest = memoryview(content)
        while written < len(rest):
            written += os.write(descriptor, rest[written:])


def read_whole(path: str, limit: int) -> bytes:
    """A small file's bytes, `limit` + 1 at most. Raises FileNotFoundError."""
    descriptor = open_file(path)
    try:
        pieces, length = [], 0
        while length <= limit and (piece := os.read(descriptor, limit + 1 - length)):
            pieces.append(piece)
            length += len(piece)
        return b"".join(pieces)
    finally:
        os.close(descriptor)


def write_durably(path: str, content: bytes) -> None:
    """A new small file that survives a power cut under this name once its folder is fsynced; nothing is left where it fails."""
    descriptor = create_file(path)
    try:
        try:
            write_all(descriptor, content)
            sync_file(descriptor)
        finally:
            os.close(descriptor)
    except BaseException:
        remove_if_there(path)
        raise


def sync_file(descriptor: int) -> None:
    """Return when the file's bytes are on the medium. What failed once must not be tried again on the same descriptor."""
    if sys.platform == "darwin":
        import fcntl

        try:
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)  # fsync alone leaves them in the drive's own cache there
        except OSError as error:
            if error.errno not in _NO_FSYNC:
                raise
        else:
            return
    os.fsync(descriptor)


def start_writing(descriptor: int, offset: int, count: int) -> None:
    """Have the system begin to write these bytes of a file to the medium, so that the one `sync_file` at the end is short.

    It waits for nothing and promises nothing (Linux: sync_file_range(2)); what goes wrong on the medium is told by
    `sync_file`. Raises OSError where it is known at once. Where the system has no such call, nothing happens.
    """
    if _sync_file_range is None:
        return
    if _sync_file_range(descriptor, offset, count, _SYNC_FILE_RANGE_WRITE) != 0:
        number = ctypes.get_errno()
        if number not in _NO_EARLY_WRITING:
            raise OSError(number, os.strerror(number))


def find_room(descriptor: int, offset: int, count: int) -> bool:
    """Have the file system find the blocks for these bytes at once, which costs less than page by page; whether it did.

    The file's size stays (`give_room_back`). An aid only (Linux: fallocate(2)): where the system has no such call it's for
    the writing to say what can't be done, and where the disk is nearly full nobody takes room that another may need first.
    """
    if _fallocate is None or not _has_plenty(descriptor):
        return False
    return _fallocate(descriptor, _FALLOC_FL_KEEP_SIZE, offset, count) == 0


def give_room_back(descriptor: int) -> None:
    """Let go of what `find_room` found beyond the file's end. Raises OSError."""
    os.ftruncate(descriptor, os.fstat(descriptor).st_size)


def _has_plenty(descriptor: int) -> bool:
    """Whether the disk that a file is on is far from full."""
    try:
        return shutil.disk_usage(descriptor).free >= _PLENTY_BYTES
    except OSError:
        return False


def _system_call(name: str, *arguments: object) -> Callable[..., int] | None:
    function = getattr(ctypes.CDLL(None, use_errno=True), name, None) if sys.platform == "linux" else None
    if function is None:
        return None
    function.argtypes = (ctypes.c_int, *arguments)
    function.restype = ctypes.c_int
    return cast("Callable[..., int]", function)


_SYNC_FILE_RANGE_WRITE: Final = 2
_FALLOC_FL_KEEP_SIZE: Final = 1
_sync_file_range: Final = _system_call("sync_file_range", ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
# The C library's posix_fallocate writes zeros where a file system can't; with 64-bit offsets on every machine by this name.
_fallocate: Final = _system_call("fallocate64", ctypes.c_int, ctypes.c_int64, ctypes.c_int64)


def open_folder(path: str) -> int:
    """A descriptor for `sync_folder`, which works even when the folder is renamed or removed meanwhile; -1 on Windows."""
    if sys.platform == "win32":
        return -1
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | _NO_FOLLOW)


def sync_folder(descriptor: int) -> None:
    """Make the names in a folder durable, and close the descriptor. Some network file systems can't, and needn't."""
    if descriptor < 0:
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_FSYNC:
            raise
    finally:
        os.close(descriptor)


def close_folder(descriptor: int) -> None:
    """Close what `open_folder` gave, where there is nothing to make durable."""
    if descriptor >= 0:
        os.close(descriptor)


def replace(source: str, target: str) -> None:
    """Rename over whatever has that name."""
    if sys.platform == "win32":
        _replace_patiently(source, target)
    else:
        os.replace(source, target)


def _replace_patiently(source: str, target: str) -> None:
    """On Windows a scanner or a reader may hold the file for a moment."""
    end = time.monotonic() + _BUSY_SECONDS
    while True:
        try:
            os.replace(source, target)
            return
        except PermissionError:
            if time.monotonic() >= end:
                raise
            time.sleep(0.02)


def remove_if_there(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def regular_size(path: str) -> int | None:
    """A regular file's size in bytes; None where there is none, or a link or folder."""
    try:
        found = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_size if stat.S_ISREG(found.st_mode) else None


def prepare_root(data_dir: Path) -> str:
    """The data folder's path, absolute; it is made, and 0700, also where it was laxer. Raises StorageError."""
    root = os.path.abspath(data_dir)
    with in_words(root):
        parent = os.path.dirname(root)
        os.makedirs(parent, exist_ok=True)
        try:
            make_folder(root)
        except FileExistsError:
            if sys.platform != "win32" and stat.S_IMODE(os.stat(root).st_mode) != _FOLDER_MODE:
                os.chmod(root, _FOLDER_MODE)
        # Also where it was there: a run that was killed may have made it and not come to this.
        with contextlib.suppress(PermissionError):  # made by somebody else, in a folder that we may pass through alone
            sync_folder(open_folder(os.path.realpath(parent)))
    return root


@contextlib.contextmanager
def in_words(root: str) -> Iterator[None]:
    """Let an OSError out as the StorageError that says what it means for the data folder `root`."""
    try:
        yield
    except OSError as error:
        raise storage_error(error, root) from error


def is_full(error: OSError) -> bool:
    """Whether the disk, or what a quota leaves of it, has no room."""
    return error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))


def storage_error(error: OSError, root: str) -> StorageError:
    """What an OSError below `root` means to a person."""
    details = f"{error.strerror or error}: {error.filename}" if error.filename else str(error.strerror or error)
    if is_full(error):
        return StorageFull(
            "The disk is full.", f"{_free(root)} in {root}.", hint="Free some space, or lower cache.max_size."
        )
    if error.errno == errno.EROFS:
        return StorageReadOnly(f"{root} is mounted read-only.", details, hint="Mount it for writing, or set data_dir.")
    if error.errno in (errno.EACCES, errno.EPERM):
        return StorageReadOnly(
            f"Our user may not write or read in {root}.", details, hint="Give the folder to this user, 0700."
        )
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return StorageError(
            "Too many files are open.",
            details,
            hint="Raise the limit (ulimit -n), or push less at once.",
            temporary=True,
        )
    if error.errno == errno.EXDEV:
        return StorageError(f"{root} lies on several file systems.", details, hint="Keep the data folder on one.")
    if error.errno == errno.EIO:
        return StorageError("The disk fails.", details, hint="Save what matters, and check the disk.")
    return StorageError(f"The data folder {root} did not do what it was asked.", details)


def _free(root: str) -> str:
    try:
        return f"{shutil.disk_usage(root).free:,} bytes are free"
    except OSError:
        return "Nothing is free"
