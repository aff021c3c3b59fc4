"""Layers to push: incompressible, made from a seed, never all in memory at once where they are large."""

from __future__ import annotations

import hashlib
import itertools
import random
from collections.abc import Iterable, Iterator

BLOCK = 1 << 20
# What `docker push` sends: Go copies at most 32 KiB at once, and its compressor hands over less than that.
CHUNKS = (32 << 10, 8 << 10, 16 << 10, 8 << 10)


def blocks(seed: str, size: int) -> Iterator[memoryview]:
    """Incompressible bytes in pieces of 1 MiB: one random block, its first bytes different in each piece."""
    block = random.Random(seed).randbytes(BLOCK)
    for number in range(0, size, BLOCK):
        piece = number.to_bytes(8, "big") + block[8:]
        yield memoryview(piece)[: min(BLOCK, size - number)]


def digest_of(pieces: Iterable[bytes | memoryview]) -> str:
    """The digest of all pieces together."""
    checksum = hashlib.sha256()
    for piece in pieces:
        checksum.update(piece)
    return f"sha256:{checksum.hexdigest()}"


def as_chunks(pieces: Iterable[memoryview]) -> Iterator[bytes]:
    """The pieces in HTTP's chunked coding (RFC 9112, section 7.1).

    The chunks of a piece come together: to send each by a call of its own would cost the client about as much as the server
    gets to receive it, and the server finds them together in its socket all the same.
    """
    for piece in pieces:
        yield b"".join(_chunks_of(piece))
    yield b"0\r\n\r\n"


def _chunks_of(piece: memoryview) -> Iterator[bytes]:
    start = 0
    for length in itertools.cycle(CHUNKS):
        chunk = piece[start : start + length]
        if not chunk:
            return
        yield b"%x\r\n%b\r\n" % (len(chunk), bytes(chunk))
        start += length
