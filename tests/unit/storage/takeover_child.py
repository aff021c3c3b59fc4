"""Processes that open a store and end at the Nth call that changes the disk, as if they were killed there, for every N.

python -m tests.unit.storage.takeover_child BEFORE FOLDER      each in a copy of BEFORE of its own, FOLDER/N

One process that has loaded everything is forked for each N, until one comes to its end; it prints how many were killed.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from pathlib import Path

from tests.support.disk_calls import DiskCalls
from yarddesk.storage.filesystem import FilesystemStore

KILLED = 37


async def open_store(data: Path, last: int) -> None:
    def at(number: int, _name: str) -> None:
        if number == last:
            os._exit(KILLED)

    DiskCalls(at, str(data)).install()
    async with FilesystemStore.open(data):
        os._exit(0)


def main(before: Path, folder: Path) -> None:
    number = 0
    while True:
        number += 1
        data = folder / str(number)
        shutil.copytree(before, data)
        child = os.fork()
        if not child:
            try:
                asyncio.run(open_store(data, number))
            finally:
                os._exit(1)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if status != KILLED:
            shutil.rmtree(data)
            break
    sys.stdout.write(f"{number - 1}\n")
    sys.exit(status)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
