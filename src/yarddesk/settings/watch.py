"""Tells when the settings file changed, however an editor writes it."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from watchfiles import awatch


async def file_changes(path: Path, stop: asyncio.Event) -> AsyncIterator[None]:
    """Yields after each change of the file, also when it's made, replaced or removed, until `stop` is set.

    `path` is absolute. Its folder is watched, since editors write another file and rename it; it's made where it isn't there.
    """
    await asyncio.to_thread(path.parent.mkdir, parents=True, exist_ok=True, mode=0o700)
    async for changes in awatch(path.parent, stop_event=stop, recursive=False, debounce=200, step=50):
        if any(Path(changed) == path for _, changed in changes):
            yield
