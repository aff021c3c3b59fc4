"""Byte ranges: of reads (RFC 9110, 14) and of upload chunks (OCI distribution specification v1.1, "Pushing a blob in chunks")."""

import re
from dataclasses import dataclass
from typing import Final

_CONTENT_RANGE = re.compile(r"(?:bytes[ =])?(\d{1,18})-(\d{1,18})(?:/(?:\d{1,18}|\*))?", re.ASCII)
_RANGE = re.compile(r"(\d*)-(\d*)", re.ASCII)
_MAX_HEADER: Final = 256


class InvalidRange(ValueError):
    """The header is not of the form that it should have."""


class UnsatisfiableRange(ValueError):
    """No byte of the content is in the range that was asked for."""


@dataclass(frozen=True, slots=True)
class ByteRange:
    """The bytes from `start` to `end`, both included."""

    start: int
    end: int

    @property
    def length(self) -> int:
        return self.end - self.start + 1


def parse_range(header: str, size: int) -> ByteRange | None:
    """The range of a content of `size` bytes that a Range header asks for; None where the header is to be ignored.

    Ignored are units other than bytes, several ranges at once and what is malformed (RFC 9110, 14.2: a server may), and the
    last bytes of an empty content, which no Content-Range can name. Raises UnsatisfiableRange.
    """
    unit, _, ranges = header.partition("=")
    if unit.strip().lower() != "bytes" or len(header) > _MAX_HEADER:
        return None
    match = _RANGE.fullmatch(ranges.strip())
    if not match or match[0] == "-":
        return None
    first, last = match[1], match[2]
    if not first:
        if int(last) == 0:
            raise UnsatisfiableRange(header)
        return ByteRange(size - min(int(last), size), size - 1) if size else None
    start, end = int(first), min(int(last), size - 1) if last else size - 1
    if last and int(last) < start:
        return None
    if start >= size:
        raise UnsatisfiableRange(header)
    return ByteRange(start, end)


def parse_content_range(header: str) -> ByteRange:
    """The range of an upload's chunk, `START-END`, both included. Raises InvalidRange."""
    match = _CONTENT_RANGE.fullmatch(header.strip())
    if not match or int(match[1]) > int(match[2]):
        raise InvalidRange(header[:_MAX_HEADER])
    return ByteRange(int(match[1]), int(match[2]))
