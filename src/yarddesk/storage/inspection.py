"""What a data folder looks like to who only looks: nothing is made, moved or left behind. Everything here blocks."""

import errno
import os
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from yarddesk.storage.durable import in_words, storage_error
from yarddesk.storage.layout import BLOBS, MANIFESTS, PENDING, QUARANTINE, UPLOADS
from yarddesk.storage.takeover import is_switchyards
from yarddesk.storage.tree import Tree

_FOLDERS: Final = (BLOBS, MANIFESTS, UPLOADS, PENDING, QUARANTINE)
_MOST_LOOKED_AT: Final = 2000
_OTHERS: Final = 0o077


def nearest_folder(data_dir: Path) -> Path:
    """The data folder, or the one above it in which it would be made."""
    folder = data_dir.absolute()
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder


def check_makeable(data_dir: Path) -> None:
    """Raises StorageError where a start could not make the data folder that is not there."""
    folder = nearest_folder(data_dir)
    with in_words(str(folder)):
        if not folder.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, "a file is in the way", str(folder))
        _check_access(folder)


def check_writable(data_dir: Path) -> None:
    """Raises StorageError where nothing could be written in the data folder, as a push would."""
    with in_words(str(data_dir)):
        if not data_dir.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, "a file is in the way", str(data_dir))
        with tempfile.TemporaryFile(dir=data_dir) as file:
            file.write(b"\n")
            file.flush()
            os.fsync(file.fileno())
        for name in _FOLDERS:
            if (data_dir / name).is_dir():
                _check_access(data_dir / name)


def check_readable(data_dir: Path) -> None:
    """Raises StorageError where content can't be read; looks at folders and files until it has seen enough of them."""
    with in_words(str(data_dir)):
        for number, path in enumerate(_below(data_dir)):
            if number >= _MOST_LOOKED_AT:
                return
            if not os.access(path, os.R_OK):
                raise PermissionError(errno.EACCES, "it can't be read", str(path))


def lax_mode(data_dir: Path) -> str:
    """The data folder's mode, as `755`, where it lets others in; else empty."""
    mode = stat.S_IMODE(data_dir.stat().st_mode)
    return f"{mode:03o}" if mode & _OTHERS and sys.platform != "win32" else ""


def is_another_programs(data_dir: Path) -> bool:
    """Whether a start will take over what Switchyard left, or goes on with it. Raises StorageError."""
    root = str(data_dir)
    try:
        return is_switchyards(Tree(root))
    except OSError as error:
        raise storage_error(error, root) from error


def quarantined(data_dir: Path) -> int:
    """How many files lie in quarantine. Raises StorageError."""
    with in_words(str(data_dir)):
        try:
            return len(os.listdir(data_dir / QUARANTINE))
        except FileNotFoundError:
            return 0


def _below(data_dir: Path) -> Iterator[Path]:
    for name in _FOLDERS:
        for folder, folders, files in os.walk(data_dir / name, onerror=_raise_unless_gone):
            yield Path(folder)
            yield from (Path(folder, each) for each in (*folders, *files[:1]))


def _raise_unless_gone(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


def _check_access(folder: Path) -> None:
    """Raises OSError as writing there would: also root may not write where all is mounted read-only."""
    if not os.access(folder, os.W_OK | os.X_OK):
        if sys.platform != "win32" and os.statvfs(folder).f_flag & os.ST_RDONLY:
            raise OSError(errno.EROFS, "it is mounted read-only", str(folder))
        raise PermissionError(errno.EACCES, "it can't be written to", str(folder))
