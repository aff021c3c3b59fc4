"""A small .tar.gz that is written whole or not at all, for its owner alone, and in place of nothing. Blocking."""

import errno
import io
import os
import sys
import tarfile
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from yarddesk.errors import YarddeskError
from yarddesk.storage import durable
from yarddesk.storage.layout import BESIDE_PREFIX

_FILE_MODE: Final = 0o600
_NO_LINKS: Final = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


def refuse_taken(path: Path) -> None:
    """Raises YarddeskError where that name is not free."""
    if os.path.lexists(path):
        raise _taken(path)


def write_archive(path: Path, folder: str, members: Mapping[str, bytes]) -> None:
    """`members` by their names, in a folder of that name. Raises YarddeskError, and then there is no file of `path`."""
    try:
        descriptor, temporary = tempfile.mkstemp(
            dir=path.absolute().parent, prefix=BESIDE_PREFIX
        )  # 0600 from the start
        try:
            with os.fdopen(descriptor, "wb") as stream:
                _write(stream, folder, members)
                stream.flush()
                durable.sync_file(stream.fileno())
            _name(temporary, path)
        finally:
            durable.remove_if_there(temporary)
    except FileExistsError as error:
        raise _taken(path) from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise YarddeskError(
            f"{path} can't be written: {reason}.", hint="Name a file in a folder of yours that has room for it."
        ) from error


def _write(stream: io.BufferedWriter, folder: str, members: Mapping[str, bytes]) -> None:
    with tarfile.open(fileobj=stream, mode="w:gz", format=tarfile.PAX_FORMAT) as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size, member.mode, member.mtime = len(content), _FILE_MODE, int(time.time())
            archive.addfile(member, io.BytesIO(content))


def _name(temporary: str, path: Path) -> None:
    """Give it its name unless another file has it by now. Raises FileExistsError."""
    if sys.platform == "win32":
        os.rename(temporary, path)  # which there replaces nothing
        return
    try:
        os.link(temporary, path)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        # No links on this file system: the name is taken first, by an empty file.
        os.close(durable.create_file(str(path)))
        os.replace(temporary, path)


def _taken(path: Path) -> YarddeskError:
    return YarddeskError(f"{path} is there already.", hint="Name another file, or remove that one.")
