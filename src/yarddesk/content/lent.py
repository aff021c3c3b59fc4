"""Memory that bytes are received into, used again and again: fresh memory costs a page fault for each 4 KiB."""


class LentBuffers:
    """Up to `most` buffers of `size` bytes, for one thread."""

    def __init__(self, size: int, most: int) -> None:
        self._size = size
        self._most = most
        self._buffers: list[bytearray] = []

    def lend(self) -> memoryview | None:
        """A buffer that nobody looks at any more; None where all are in use.

        It's given back by letting go of the view, and of all views made from it.
        """
        for buffer in self._buffers:
            if not _is_viewed(buffer):
                return memoryview(buffer)
        if len(self._buffers) == self._most:
            return None
        buffer = bytearray(self._size)
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
