"""Bytes to a server on this machine and back over a plain socket, with no HTTP library in between that would tidy them up."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Sequence
from dataclasses import dataclass

_PIECE_BYTES = 65536


@dataclass(frozen=True)
class RawAnswer:
    """The first answer among what came, as far as it can be told apart."""

    status: int
    headers: dict[str, str]
    rest: bytes

    @classmethod
    def parse(cls, received: bytes) -> RawAnswer | None:
        """None where nothing came that looks like an answer."""
        head, separator, rest = received.partition(b"\r\n\r\n")
        if not separator or not head.startswith(b"HTTP/1."):
            return None
        status_line, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        return cls(int(status_line.split()[1]), headers, rest)


def request(
    target: bytes, *headers: bytes, method: bytes = b"GET", body: bytes = b"", host: bytes = b"localhost"
) -> bytes:
    """A request after which the server closes; headers: whole lines without their end."""
    lines = [b"%b %b HTTP/1.1" % (method, target), b"Host: " + host, b"Connection: close", *headers]
    if body:
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join([*lines, b"", body])


def exchange(port: int, sent: bytes, *, seconds: float = 10.0) -> bytes:
    """All that comes back until the server closes, or for so long as it leaves us waiting."""
    return exchange_all(port, [sent], seconds=seconds)[0]


def exchange_all(port: int, each: Sequence[bytes], *, seconds: float = 10.0) -> list[bytes]:
    """As `exchange`, over as many connections, all of which are sent to before any is read from."""
    connections = [socket.create_connection(("127.0.0.1", port), timeout=seconds) for _ in each]
    received = [bytearray() for _ in each]
    for connection, sent in zip(connections, each, strict=True):
        with contextlib.suppress(TimeoutError, ConnectionError):  # it may have been closed on us
            connection.sendall(sent)
    for connection, answer in zip(connections, received, strict=True):
        with connection, contextlib.suppress(TimeoutError, ConnectionError):
            while piece := connection.recv(_PIECE_BYTES):
                answer += piece
    return [bytes(answer) for answer in received]


def ask(port: int, target: bytes, *headers: bytes, **options: bytes) -> RawAnswer:
    """One whole request and its answer; options: those of `request`."""
    answer = RawAnswer.parse(exchange(port, request(target, *headers, **options)))
    assert answer is not None, f"no answer to {target!r}"
    return answer
