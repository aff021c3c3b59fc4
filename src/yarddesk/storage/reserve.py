"""A little room on the disk that only the instance's own few small files may use, so that it can be found also when the disk is full."""

import os
import shutil
from pathlib import Path
from typing import Final

from yarddesk.storage.durable import create_file, regular_size, remove_if_there, write_all
from yarddesk.storage.layout import RESERVE_FILE

_BYTES: Final = 64 * 1024
_LEFT_TO_OTHERS_BYTES: Final = 1024 * 1024


def hold_reserve(data_dir: Path) -> None:
    """Have it, where the disk has room to spare. Blocks."""
    path = os.path.join(data_dir, RESERVE_FILE)
    if regular_size(path) == _BYTES or shutil.disk_usage(data_dir).free < _LEFT_TO_OTHERS_BYTES:
        return
    remove_if_there(path)
    descriptor = create_file(path)
    try:
        write_all(descriptor, os.urandom(_BYTES))  # what could be compressed would hold no room
    except BaseException:
        remove_if_there(path)
        raise
    finally:
        os.close(descriptor)


def give_up_reserve(data_dir: Path) -> bool:
    """Whether there was one. Blocks."""
    path = os.path.join(data_dir, RESERVE_FILE)
    there = regular_size(path) is not None
    remove_if_there(path)
    return there
