"""What an OSError means for an image layout somewhere on a disk, and how a second writer is told apart."""

import contextlib
import errno
import os
from collections.abc import Iterator
from typing import Final

from yarddesk.content.errors import StorageError, StorageFull, StorageReadOnly
from yarddesk.storage.durable import is_full, open_file
from yarddesk.storage.lock import try_lock

TEMPORARY_PREFIX: Final = ".yarddesk-"


@contextlib.contextmanager
def in_words_of_layout(place: str) -> Iterator[None]:
    """Let an OSError out as the StorageError that says what it means for the layout at `place`."""
    try:
        yield
    except OSError as error:
        details = f"{error.strerror or error}: {error.filename}" if error.filename else str(error.strerror or error)
        if is_full(error):
            raise StorageFull(
                f"The disk of {place} is full.", details, hint="Free some space there, or name another place."
            ) from error
        if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
            raise StorageReadOnly(f"Our user may not read or write {place}.", details) from error
        raise StorageError(f"{place} can't be read or written.", details) from error


def open_locked(path: str, place: str) -> int:
    """A file that is there, open for writing and locked, so that two exports don't write to one place.

    Raises StorageError where another has it, FileNotFoundError where it was just renamed or removed.
    """
    descriptor = open_file(path, write=True)
    try:
        if not try_lock(descriptor):
            raise StorageError(f"Another export is writing to {place}.", hint="Wait until it's done.", temporary=True)
        if not os.path.samestat(os.fstat(descriptor), os.lstat(path)):
            raise FileNotFoundError(errno.ENOENT, "it was replaced", path)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor
