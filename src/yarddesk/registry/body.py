"""A request's body on its way from the socket to its exchange: into large buffers once it proves to be large."""

from collections.abc import Callable
from typing import Final

from yarddesk.registry.buffers import BUFFER_BYTES, Buffers
from yarddesk.registry.chunked import ChunkedDecoder
from yarddesk.registry.exchange import Exchange

_LARGE_BYTES: Final = 128 * 1024
"""A body of which so much has come gets a buffer: a thousand clients that send a little must not take them all."""


class IncomingBody:
    """The framing of one body, by its length or in chunks, and its bytes until the exchange gets them.

    `exchange` None: the body belongs to nobody, and is thrown away. `length` None: it's chunked, with its last chunk's line
    `ended` is true, and the trailers are not read here.
    """

    def __init__(
        self, buffers: Buffers, exchange: Exchange | None, length: int | None, check_extension: Callable[[bytes], None]
    ) -> None:
        self.chunked = length is None
        self.came = 0
        self._buffers = buffers
        self._exchange = exchange
        self._left = length or 0
        self._decoder = ChunkedDecoder(check_extension) if length is None else None
        self._buffer: memoryview | None = None
        self._filled = 0
        self._seen = 0

    @property
    def ended(self) -> bool:
        return self._decoder.ended if self._decoder is not None else not self._left

    def room(self) -> memoryview | None:
        """Where the socket's next bytes go to be used as they are (`filled` is told then); None: elsewhere, to be taken."""
        if self._decoder is not None or self.came < _LARGE_BYTES or not self._has_buffer():
            return None
        assert self._buffer is not None
        return self._buffer[self._filled : self._filled + self._left]

    def filled(self, count: int) -> None:
        """So many bytes have come into what `room` gave."""
        self.came += count
        self._left -= count
        self._filled += count
        if self._filled == BUFFER_BYTES or not self._left:
            self.hand_over()

    def take(self, received: memoryview) -> int:
        """Take what belongs to the body; how many bytes that is, fewer than all only at its end or before a fault.

        Raises InvalidChunk.
        """
        if self._decoder is None:
            used = min(len(received), self._left)
            self._left -= used
            content = [received[:used]]
        else:
            content, used = self._decoder.feed(received)
        came = sum(map(len, content))
        self.came += came
        if self._is_wanted() and came:
            if self._buffer is not None or (self.came >= _LARGE_BYTES and self._has_buffer()):
                self._gather(content)
            else:
                self._hand(b"".join(content))
        if self.ended:
            self.hand_over()
        return used

    def hand_over(self) -> None:
        """Let the exchange have what was gathered."""
        buffer, self._buffer = self._buffer, None
        filled, self._filled = self._filled, 0
        if buffer is not None and filled and self._is_wanted():
            self._hand(buffer[:filled] if filled * 4 >= BUFFER_BYTES else bytes(buffer[:filled]))

    def hand_over_if_still(self) -> None:
        """As `hand_over`, where nothing has come since this was called last: what waits for more must not wait long."""
        if self.came == self._seen:
            self.hand_over()
        self._seen = self.came

    def _gather(self, content: list[memoryview]) -> None:
        buffer, filled = self._buffer, self._filled
        for piece in content:
            if buffer is not None and (end := filled + len(piece)) < BUFFER_BYTES:
                buffer[filled:end] = piece
                filled = end
            else:
                self._filled = filled
                self._gather_more(piece)
                buffer, filled = self._buffer, self._filled
        self._filled = filled

    def _gather_more(self, piece: memoryview) -> None:
        """Gather a piece that fills the buffer, or that begins one."""
        while piece:
            if not self._has_buffer():
                self._hand(bytes(piece))
                return
            assert self._buffer is not None
            fitting = piece[: BUFFER_BYTES - self._filled]
            end = self._filled + len(fitting)
            self._buffer[self._filled : end] = fitting
            self._filled = end
            if end == BUFFER_BYTES:
                self.hand_over()
            piece = piece[len(fitting) :]

    def _has_buffer(self) -> bool:
        if self._buffer is None and self._is_wanted():
            self._buffer = self._buffers.lend()
        return self._buffer is not None

    def _is_wanted(self) -> bool:
        return self._exchange is not None and not self._exchange.complete

    def _hand(self, piece: bytes | memoryview) -> None:
        assert self._exchange is not None
        self._exchange.body_came(piece)
