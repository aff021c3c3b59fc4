"""The chunked coding (RFC 9112, 7.1), taken apart without a Python object for each octet: views into what was received.

httptools hands over each chunk as a copy of its own and calls back for it, which is what a push costs most. Here the
chunks' sizes are read; whatever else may stand between chunks (extensions, trailers) is httptools' to judge.
"""

import re
from collections.abc import Callable
from typing import Final

# But for the first, a chunk's line is preceded by the end of the chunk before.
_FIRST_LINE: Final = re.compile(rb"([0-9A-Fa-f]+)(;[^\r\n]*)?\r\n")
_FIRST_BEGUN: Final = re.compile(rb"[0-9A-Fa-f]+(?:;[^\r\n]*)?\r?")
_NEXT_PLAIN_LINE: Final = re.compile(rb"\r\n([0-9A-Fa-f]{1,8})\r\n")
_NEXT_LINE: Final = re.compile(rb"\r\n([0-9A-Fa-f]+)(;[^\r\n]*)?\r\n")
_NEXT_BEGUN: Final = re.compile(rb"\r(?:\n(?:[0-9A-Fa-f]+(?:;[^\r\n]*)?\r?)?)?")
_LONGEST_LINE: Final = 16 * 1024
_LARGEST_CHUNK: Final = 2**63 - 1


class InvalidChunk(Exception):
    """The body is not in the chunked coding."""


class ChunkedDecoder:
    """One body. `ended`: the line of the last chunk has come; trailers follow it, to be read by somebody else.

    `check_extension` gets what follows a chunk's size in its line, and raises InvalidChunk for what is no extension.
    """

    def __init__(self, check_extension: Callable[[bytes], None]) -> None:
        self.ended = False
        self._check_extension = check_extension
        self._left = 0  # bytes of the current chunk that are still to come
        self._line, self._line_begun = _FIRST_LINE, _FIRST_BEGUN
        self._begun = b""  # of the line that comes next

    def feed(self, received: memoryview) -> tuple[list[memoryview], int]:
        """The parts of `received` that are content, and how many of its bytes were used: all, but at the end.

        Raises InvalidChunk. What came before the fault is given first, and the fault raised when it's fed again.
        """
        content: list[memoryview] = []
        position = 0
        length = len(received)
        if self._begun:
            position = self._complete_line(received)
        while position < length and not self.ended:
            left = self._left
            if left:
                taken = min(left, length - position)
                content.append(received[position : position + taken])
                position += taken
                self._left = left - taken
                position = _take_whole_chunks(received, position, content) if taken == left else position
                continue
            line = self._line.match(received, position)
            try:
                if line is None:
                    self._begin_line(bytes(received[position : position + _LONGEST_LINE + 1]))
                    return content, length
                self._take_line(line)
            except InvalidChunk:
                if content:
                    break
                raise
            position = line.end()
        return content, position

    def _take_line(self, line: re.Match[bytes]) -> None:
        if line.end() - line.start() > _LONGEST_LINE:
            raise InvalidChunk("A chunk's line is too long.")
        size, extension = line.groups()
        if extension is not None:
            self._check_extension(extension)
        left = int(size, 16)
        if left > _LARGEST_CHUNK:
            raise InvalidChunk("A chunk is larger than anything.")
        self._left = left
        self.ended = not self._left
        self._line, self._line_begun = _NEXT_LINE, _NEXT_BEGUN

    def _begin_line(self, begun: bytes) -> None:
        """Keep the part of a line that ends with what was received. Raises InvalidChunk where it is none."""
        if len(begun) > _LONGEST_LINE or not self._line_begun.fullmatch(begun):
            raise InvalidChunk("A chunk's size or its end can't be read.")
        self._begun = begun

    def _complete_line(self, received: memoryview) -> int:
        """Go on with a line that was begun; the position of what follows it."""
        begun, self._begun = self._begun, b""
        more = begun + received[:_LONGEST_LINE]
        line = self._line.match(more)
        if line is None:
            self._begin_line(more)
            return len(received)
        self._take_line(line)
        return line.end() - len(begun)


def _take_whole_chunks(received: memoryview, position: int, content: list[memoryview]) -> int:
    """The chunks that begin at `position`, after the content of another, as far as they are whole and plain; their end.

    All but the busiest case is left to `ChunkedDecoder.feed`: a last chunk, an extension, a fault, a part of a chunk.
    """
    match = _NEXT_PLAIN_LINE.match
    length = len(received)
    while line := match(received, position):
        begin = line.end()
        end = begin + int(line[1], 16)
        if end == begin or end > length:
            break
        content.append(received[begin:end])
        position = end
    return position
