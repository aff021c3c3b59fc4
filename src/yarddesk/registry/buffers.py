"""Memory that the bytes of requests are received into, used again and again: fresh memory costs a page fault for 4 KiB."""

from typing import Final

BUFFER_BYTES: Final = 1024 * 1024
_SCRATCH_BYTES: Final = 1024 * 1024
_MOST_BUFFERS: Final = 12


class Buffers:
    """For one loop. `scratch` is everybody's: what is received into it is used or copied before anything else happens."""

    def __init__(self) -> None:
        self.scratch = memoryview(bytearray(_SCRATCH_BYTES))
        self._buffers: list[bytearray] = []

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
