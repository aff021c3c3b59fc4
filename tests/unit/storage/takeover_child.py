"""A process that opens a store and ends at the Nth call that changes the disk, as if it were killed there.

python -m tests.unit.storage.takeover_child DATA N      N = 0: never; then it prints how many there were
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from tests.support.disk_calls import DiskCalls
from yarddesk.storage.filesystem import FilesystemStore

KILLED = 37


async def main(data: Path, last: int) -> None:
    def at(number: int, _name: str) -> None:
        if number == last:
            os._exit(KILLED)

    calls = DiskCalls(at, str(data))
    calls.install()
    async with FilesystemStore.open(data):
        # Counted before the end, which every run of a store has.
        sys.stdout.write(f"{len(calls.made)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
