"""Small state files that survive a power cut: written beside their place, fsynced, renamed over it. All of it blocks."""

import contextlib
import os
import secrets
from pathlib import Path

from yarddesk.storage.durable import (
    close_folder,
    open_file,
    open_folder,
    regular_size,
    remove_if_there,
    replace,
    sync_file,
    sync_folder,
    write_all,
    write_durably,
)
from yarddesk.storage.layout import BESIDE_PREFIX


def replace_file(path: Path, content: bytes, *, only_if_there: bool = False) -> bool:
    """Write a file whole and durably, 0600; False (nothing is written) where it should be there already and isn't.

    Its folder is there, and durable. Raises OSError, and then the file is as it was; but where the folder's fsync failed,
    which is the last step.
    """
    temporary = str(path.parent / f"{BESIDE_PREFIX}{secrets.token_hex(8)}")
    try:
        write_durably(temporary, content)
    except FileNotFoundError:
        if only_if_there:
            return False
        raise
    folder = -1
    try:
        if only_if_there and regular_size(str(path)) is None:
            remove_if_there(temporary)
            return False
        # Opened before the rename: a lack of descriptors must not leave a name that isn't durable.
        folder = open_folder(str(path.parent))
        replace(temporary, str(path))
    except BaseException:
        close_folder(folder)
        remove_if_there(temporary)
        raise
    sync_folder(folder)
    return True


def append_lines(path: Path, content: bytes) -> None:
    """Add whole lines to a file, durably; it's made where it isn't there. A line that a crash cut off swallows none of them.

    Raises OSError, and then none of them is there.
    """
    try:
        descriptor = open_file(str(path), write=True)
    except FileNotFoundError:
        replace_file(path, content)
        return
    with open(descriptor, "r+b", buffering=0) as file:
        end = file.seek(0, 2)
        torn = b""
        if end:
            file.seek(end - 1)
            torn = b"" if file.read(1) == b"\n" else b"\n"
        try:
            write_all(descriptor, torn + content)
            sync_file(descriptor)
        except BaseException:
            os.ftruncate(descriptor, end)
            raise


def remove_files(paths: list[Path]) -> None:
    """Remove files durably; those that are not there are well so."""
    folders = set()
    for path in paths:
        remove_if_there(str(path))
        folders.add(path.parent)
    for folder in folders:
        with contextlib.suppress(FileNotFoundError):
            sync_folder(open_folder(str(folder)))
