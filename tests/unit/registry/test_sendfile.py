"""Files that are read for an answer, whose client may leave at any moment."""

from __future__ import annotations

import asyncio
import gc
import io
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.support.waiting import until_async
from yarddesk.registry.sendfile import send_file

MIB = 1024 * 1024


class Slow(io.BytesIO):
    """A file whose reads, but for the first, take as long as a test wants. Notes whether it was closed under one."""

    def __init__(self) -> None:
        super().__init__(bytes(4 * MIB))
        self.reading = threading.Event()
        self.go_on = threading.Event()
        self.through = threading.Event()
        self.closed_under_way = False

    def read(self, size: int | None = -1) -> bytes:
        if self.tell():
            self.reading.set()
            assert self.go_on.wait(20)
            self.closed_under_way = self.closed
            self.through.set()
        return b"" if self.closed else super().read(size)


class Secured(asyncio.Transport):
    """A connection that the kernel can't write to."""

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return True

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """It has room for everything."""

    def is_closing(self) -> bool:
        return False


async def forever() -> None:
    await asyncio.Event().wait()


async def gone() -> None:
    raise ConnectionResetError("The client has gone.")


@pytest.mark.parametrize("drain", [forever, gone])
async def test_a_file_is_not_closed_while_a_thread_reads_from_it(drain: Callable[[], Awaitable[None]]) -> None:
    told: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    file = Slow()

    async def answer() -> None:
        with file:
            await send_file(Secured(), file, 0, 4 * MIB, drain=drain, stall_seconds=10)

    answering = asyncio.create_task(answer())
    await until_async(file.reading.is_set)
    answering.cancel()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    file.go_on.set()
    with pytest.raises((asyncio.CancelledError, ConnectionResetError)):
        await answering
    await until_async(file.through.is_set)
    assert not file.closed_under_way
    del answering
    gc.collect()
    assert not told
