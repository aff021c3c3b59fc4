"""How much memory a process that runs for weeks keeps: no more than it uses, on Linux with glibc."""

import ctypes
import gc
import sys
from typing import Final

_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8
_LARGE_BYTES: Final = 128 * 1024
_KEPT_BYTES: Final = 1024 * 1024


def spare_memory() -> bool:
    """Have malloc give back to the system what is freed; call it before threads are started. Whether it could be told.

    glibc gives each thread a heap of its own, and takes ever larger pieces from the heaps once one was freed; pieces of
    bodies then tear holes that stay. Python's own lock lets one thread allocate at a time anyway: one heap is enough.
    """
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is None:
        return False
    wanted = ((_M_ARENA_MAX, 1), (_M_MMAP_THRESHOLD, _LARGE_BYTES), (_M_TRIM_THRESHOLD, _KEPT_BYTES))
    return all(mallopt(option, value) == 1 for option, value in wanted)


def settle_memory() -> None:
    """What is alive after the start stays so: collections of garbage need not walk through it again and again."""
    gc.collect()
    gc.freeze()
