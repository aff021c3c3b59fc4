"""A process that pushes into a store and ends at the Nth call that changes the disk, as if it were killed there.

    python -m tests.unit.storage.crash_child SCENARIO DATA N      N = 0: never

It writes a line for each call (`fsync /path`) and for each promise (`acked …`) to standard output, unbuffered.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.support.content import LATEST, REPOSITORY, about, image, push_blob
from yarddesk.content.target import NotFound
from yarddesk.oci.digest import Digest
from yarddesk.registry.locks import Gate
from yarddesk.storage.filesystem import FilesystemStore
from yarddesk.storage.garbage import Orders

CONTENT = b"0123456789abcdef" * 100_000
OLD, NEW = image(b"old"), image(CONTENT)
NOTE = about(NEW)
CALLS = ("open", "write", "fsync", "replace", "mkdir", "rmdir", "unlink")
KILLED = 37


class Counter:
    """Counts the calls of os that change the disk, and ends the process before the one that was chosen."""

    def __init__(self, last: int) -> None:
        self._last = last
        self._count = 0
        self._lock = threading.Lock()

    def install(self) -> None:
        for name in CALLS:
            setattr(os, name, self._counted(name, getattr(os, name)))

    def say(self, line: str) -> None:
        with self._lock:
            self._write(1, f"{line}\n".encode())

    _write = staticmethod(os.write)

    def _counted(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **options: Any) -> Any:
            if name == "open" and not (len(arguments) > 1 and arguments[1] & os.O_CREAT):
                return call(*arguments, **options)
            with self._lock:
                self._count += 1
                self._write(1, f"{name} {' -> '.join(map(_named, arguments[: 1 + (name == 'replace')]))}\n".encode())
                if self._count == self._last:
                    os._exit(KILLED)
            return call(*arguments, **options)

        return counted


def _named(file: str | int) -> str:
    """The path, also of a descriptor."""
    return os.readlink(f"/proc/self/fd/{file}") if isinstance(file, int) else file


async def push(store: FilesystemStore, counter: Counter) -> None:
    """A blob in pieces, an image that replaces an older one, and a note about it."""
    upload = await store.start_upload(REPOSITORY)
    for start in range(0, len(CONTENT), 900_000):
        await upload.write(CONTENT[start : start + 900_000])
        await upload.flush()
    await upload.commit(Digest.of(CONTENT))
    counter.say("acked blob")
    await push_blob(store, b"{}")
    await store.put_manifest(REPOSITORY, NEW)
    counter.say("acked manifest")
    await store.put_tag(REPOSITORY, LATEST, NEW.digest)
    counter.say("acked tag")
    await store.put_manifest(REPOSITORY, NOTE)
    counter.say("acked note")


async def delete(store: FilesystemStore, counter: Counter) -> None:
    """The older image and its tag."""
    await store.delete_manifest(REPOSITORY, OLD.digest)
    counter.say("acked deletion")
    await store.delete_blob(Digest.of(b"old"))
    counter.say("acked blob deletion")


async def mend(store: FilesystemStore, counter: Counter) -> None:
    """The older image's blob and manifest, both damaged: found, moved aside, and put there anew."""
    assert not await store.check_blob(Digest.of(b"old"))
    counter.say("acked damaged blob")
    with suppress(NotFound):
        await store.get_manifest(REPOSITORY, OLD.digest)
    counter.say("acked damaged manifest")
    await push_blob(store, b"old")
    counter.say("acked mended blob")
    await store.put_manifest(REPOSITORY, OLD)
    counter.say("acked mended manifest")


async def collect(store: FilesystemStore, counter: Counter) -> None:
    """Two blobs and a manifest that nothing refers to."""
    collected = await store.garbage.collect(Orders(Gate().closed, lambda *_: None, 0, untagged=True))
    assert (collected.blobs, collected.manifests) == (2, 1)
    counter.say("acked collection")


SCENARIOS: dict[str, Callable[[FilesystemStore, Counter], Awaitable[None]]] = {
    "push": push,
    "delete": delete,
    "mend": mend,
    "collect": collect,
}


async def main(scenario: str, data: Path, last: int) -> None:
    counter = Counter(last)
    async with FilesystemStore.open(data) as store:
        await store.used_bytes()
        counter.install()
        await SCENARIOS[scenario](store, counter)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])))
