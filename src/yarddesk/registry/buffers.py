"""Memory that the bytes of requests are received into."""

from typing import Final

from yarddesk.content.lent import LentBuffers

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
        self._lent = LentBuffers(BUFFER_BYTES, _MOST_BUFFERS)

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
        """A large buffer that nobody looks at any more; None where all are in use."""
        return self._lent.lend()

    def forget(self) -> None:
        """Give the memory of the large buffers back to the system, as far as it's not in use."""
        self._lent.forget()
