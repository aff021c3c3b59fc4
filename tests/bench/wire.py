"""A client's side of HTTP with as little work as can be, so that the server is what is measured."""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass

_LENGTH = re.compile(rb"(?im)^content-length: *(\d+)\r$")
_LOCATION = re.compile(rb"(?im)^location: *(.*?) *\r$")
_AT_ONCE = 1 << 20


@dataclass(frozen=True)
class Reply:
    """An answer's head: how long it is, its Location's path and query, its Content-Length; and what came of its body."""

    head_length: int
    location: str
    length: int
    begun: bytes


class Connection:
    """A keep-alive connection to 127.0.0.1; one request at a time."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=120)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, method: str, path: str, *headers: str, body: bytes = b"", status: int, framing: str = "") -> Reply:
        """Send a request whose body is small, and read its answer. `framing`: the body is in the chunked coding."""
        lines = (*headers, framing or f"Content-Length: {len(body)}")
        self.socket.sendall(self.head(method, path, *lines) + body)
        return self.reply(status, has_body=method != "HEAD")

    def head(self, method: str, path: str, *headers: str) -> bytes:
        """The head of a request."""
        return "\r\n".join([f"{method} {path} HTTP/1.1", f"Host: 127.0.0.1:{self.port}", *headers, "", ""]).encode()

    def reply(self, status: int, *, has_body: bool = True) -> Reply:
        """The next answer, with its body."""
        reply = self.begin_reply(status)
        begun, length = reply.begun, reply.length if has_body else 0
        while len(begun) < length:
            begun += self._receive()
        assert len(begun) == length, begun
        return Reply(reply.head_length, reply.location, reply.length, begun)

    def begin_reply(self, status: int) -> Reply:
        """The next answer's head, and what came with it."""
        received = b""
        while b"\r\n\r\n" not in received:
            received += self._receive()
        head, _, begun = received.partition(b"\r\n\r\n")
        head += b"\r\n"
        assert int(head[9:12]) == status, f"{status} was expected: {received[:1000]!r}"
        length, location = _LENGTH.search(head), _LOCATION.search(head)
        target = location[1].decode() if location else ""
        if target.startswith("http"):
            target = "/" + target.split("/", 3)[3]
        return Reply(len(head) + 2, target, int(length[1]) if length else 0, begun)

    def throw_away(self, count: int) -> None:
        """Receive so many bytes of a body without looking at them: the kernel need not even copy them for us."""
        nowhere = bytearray(_AT_ONCE)
        while count:
            came = self.socket.recv_into(nowhere, min(count, _AT_ONCE), socket.MSG_TRUNC)
            assert came, f"the answer ended {count} bytes too early"
            count -= came

    def close(self) -> None:
        self.socket.close()

    def _receive(self) -> bytes:
        received = self.socket.recv(65536)
        assert received, "the connection ended"
        return received


def with_digest(location: str, digest: str) -> str:
    """Where the PUT goes that ends an upload."""
    return f"{location}{'&' if '?' in location else '?'}digest={digest}"
