"""Tells when the settings file changed, however an editor, a dotfile manager or Kubernetes writes it."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Final, NamedTuple

from watchfiles import awatch

_log = logging.getLogger(__name__)
_MOST_LINKS: Final = 40
_LOOK_MILLISECONDS: Final = 5_000
_FIRST_LOOK_MILLISECONDS: Final = 300
"""A watch begins in its own time: what changed meanwhile is looked for soon after."""
_STEP_MILLISECONDS: Final = 150
"""How often the watch's thread wakes up, for as long as the app runs."""
_AGAIN_SECONDS: Final = 5.0
_NO_FOLDER_SECONDS: Final = 1.0

_WRITTEN_SECONDS: Final = 1.0
"""Who removes or empties the file may be about to write it anew: it's read after so long."""


class _State(NamedTuple):
    """What tells one content of the file from the next."""

    inode: int
    modified: int
    size: int


async def file_changes(path: Path, stop: asyncio.Event) -> AsyncIterator[None]:
    """Yields at once, since the file may have changed after it was read, and after each change until `stop` is set.

    It's a change, too, when the file is made, replaced or removed.
    `path` is absolute, and may be a symbolic link. Folders are watched, since editors write another file and rename it; that of
    `path` is made where it isn't there and can be: a container's root may be read-only.
    """
    with suppress(OSError):
        await asyncio.to_thread(path.parent.mkdir, parents=True, exist_ok=True, mode=0o700)
    seen = await asyncio.to_thread(_state, path)
    yield
    look = _FIRST_LOOK_MILLISECONDS
    while not stop.is_set():
        folders = await asyncio.to_thread(_folders, path)
        if not folders:
            await _pause(stop, _NO_FOLDER_SECONDS)
            continue
        watch = awatch(
            *folders,
            stop_event=stop,
            recursive=False,
            debounce=300,
            step=_STEP_MILLISECONDS,
            rust_timeout=look,
            yield_on_timeout=True,  # what changed before the watch was there, or where the system tells nothing of changes
        )
        try:
            async with aclosing(watch):
                async for _ in watch:
                    now = await asyncio.to_thread(_state, path)
                    changed = now != seen
                    if changed:
                        if now is None or not now.size:
                            await _written_on(stop)
                            now = await asyncio.to_thread(_state, path)
                        seen = now
                        yield
                    if await asyncio.to_thread(_folders, path) != folders:
                        look = _FIRST_LOOK_MILLISECONDS
                        break  # a link leads elsewhere now
                    # Not while something changes: what came while that was put in force would be missed.
                    if look != _LOOK_MILLISECONDS and not changed:
                        look = _LOOK_MILLISECONDS
                        break
        except Exception as error:  # noqa: BLE001 - whatever keeps it from being watched must not end the app
            # Each user has few watches, and each process few descriptors. What changes until there is one is seen then.
            _log.warning("%s can't be watched for the moment: %s", path, error)
            await _pause(stop, _AGAIN_SECONDS)


async def _written_on(stop: asyncio.Event) -> None:
    await _pause(stop, _WRITTEN_SECONDS)


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)


def _state(path: Path) -> _State | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return _State(found.st_ino, found.st_mtime_ns, found.st_size)


def _folders(path: Path) -> tuple[Path, ...]:
    """The folder of the file, and of each file on the way that links lead to it."""
    folders = {path.parent: None}
    for _ in range(_MOST_LINKS):
        folders[Path(os.path.realpath(path.parent))] = None
        if not path.is_symlink():
            break
        path = path.parent / os.readlink(path)
        if path.parent.is_dir():
            folders[path.parent] = None
    return tuple(folder for folder in folders if folder.is_dir())
