"""Memory that the bytes of requests are received into, used again and again: fresh memory costs a page fault for 4 KiB."""

from typing import Final

BUFFER_BYTES: Final = 1024 * 1024
_SCRATCH_BYTES: Final = 1024 * 1024
_MOST_BUFFERS: Final = 12
_MOST_WAITING_BYTES: Final = 16 * 1024 * 1024


SHORT_BYTES: Final = 16 * 1024
"""What each connection may receive at once, and have waiting, while memory is short."""


class Buffers:
    """For one loop. `waiting`: bytes of bodies that came, over all connections, and that no application is done with."""

    def __init__(self) -> None:
        self.waiting = 0
        self._scratch = memoryview(bytearray(_SCRATCH_BYTES))
        self._buffers: list[bytearray] = []

    @property
    def is_short(self) -> bool:
        """Whether so many clients send at once that each gets little of the memory."""
        return self.waiting > _MOST_WAITING_BYTES

    @property
    def scratch(self) -> memoryview:
        """Everybody's: what is received into it is used or copied before anything else happens."""
        return self._scratch[:SHORT_BYTES] if self.is_short else self._scratch

    def received(self, count: int) -> memoryview:
        """So many bytes that came into `scratch`."""
        return self._scratch[:count]

    def lend(self) -> memoryview | None:
        """A buffer that nobody looks at any more; None where all are in use.

        It's given back by letting go of the view, and of all views made from it.
        """
        for buffer in self._buffers:
            if not _is_viewed(buffer):
                return memoryview(buffer)
        if len(self._buffers) == _MOST_BUFFERS:
            return None
        buffer = bytearray(BUFFER_BYTES)
        self._buffers.append(buffer)
        return memoryview(buffer)

    def forget(self) -> None:
        """Give the memory back to the system, as far as it's not in use."""
        self._buffers = [buffer for buffer in self._buffers if _is_viewed(buffer)]


def _is_viewed(buffer: bytearray) -> bool:
    # Python itself refuses to resize what somebody has a view of: no count of ours could be as right.
    try:
        buffer.append(0)
    except BufferError:
        return True
    buffer.pop()
    return False
