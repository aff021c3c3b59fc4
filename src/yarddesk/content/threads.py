"""Threads for work that blocks on the disk or the processor, apart from those that wait for the network.

asyncio's own executor looks up names. Without an answer of the name server each of its few threads is busy for many
seconds, and cannot be called back: nothing that a local push or pull needs may stand in line behind them.
"""

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_THREADS: Final = 8
_POOL: Final = ThreadPoolExecutor(_THREADS, "yarddesk-disk")


def start_in_thread(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> asyncio.Future[T]:
    """Begin `function` in one of the process's threads for disk and hashing; the future has what it gives or raises.

    For work whose end is near: never for what waits for a network, another program or a person. Cancelling the future
    takes the work back only while no thread has begun it.
    """
    return asyncio.get_running_loop().run_in_executor(_POOL, lambda: function(*args, **kwargs))


async def in_thread(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """What `function` gives or raises, from a thread (see `start_in_thread`)."""
    return await start_in_thread(function, *args, **kwargs)


async def in_thread_to_the_end(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """As `in_thread`, for what tidies up, or reads from a file that is closed next: a cancellation waits until it's through.

    A file's number may be another's the moment it's closed: no thread may be about to read from it then.
    """
    begun = start_in_thread(function, *args, **kwargs)
    try:
        return await asyncio.shield(begun)
    except asyncio.CancelledError:
        await over(begun)
        raise


async def to_the_end(change: Coroutine[Any, Any, T]) -> T:
    """What a change gives or raises; a cancellation waits until it's through, so that memory and file say the same thing.

    For what takes a lock, writes a file in a thread and then remembers that it did.
    """
    begun = asyncio.ensure_future(change)
    try:
        return await asyncio.shield(begun)
    except asyncio.CancelledError:
        await over(begun)
        raise


async def over(begun: asyncio.Future[T]) -> None:
    """Return when what was begun is through, in a thread or not, whatever came of it and whoever cancels us meanwhile."""
    cancelled: asyncio.CancelledError | None = None
    while not begun.done():
        try:
            await asyncio.wait([begun])
        except asyncio.CancelledError as error:
            cancelled = error
    if not begun.cancelled():
        begun.exception()  # looked at; who calls this leaves for another reason
    if cancelled is not None:
        raise cancelled


async def in_thread_or_undone(
    undo: Callable[[T], None], function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs
) -> T:
    """As `in_thread`, for what opens something: where we are cancelled meanwhile, `undo` gets what it gave, in a thread."""
    begun = start_in_thread(function, *args, **kwargs)
    try:
        return await asyncio.shield(begun)
    except asyncio.CancelledError:
        try:
            await over(begun)
        finally:
            if not begun.cancelled() and begun.exception() is None:
                await in_thread_to_the_end(undo, begun.result())
        raise
