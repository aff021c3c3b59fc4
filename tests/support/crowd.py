"""Many clients that ask one server at the same moment, and compare all that comes with what should come."""

from __future__ import annotations

import selectors
import socket
from collections.abc import Sequence

from tests.support.raw_http import RawAnswer, request

_AT_ONCE = 1 << 18
_HEAD_BYTES = 65536


def ask_together(
    port: int, requests: Sequence[tuple[bytes, str]], content: bytes, *, seconds: float = 60.0
) -> list[RawAnswer]:
    """The answers to these requests (method, path), one of each client; 200, each body `content` to the byte; none for a HEAD.

    seconds: how long nothing at all may come. They are read as they come, and compared without being kept.
    """
    buffer = memoryview(bytearray(_AT_ONCE))
    clients = [_Client(port, method, path, content) for method, path in requests]
    try:
        with selectors.DefaultSelector() as selector:
            for client in clients:
                selector.register(client.connection, selectors.EVENT_READ, client)
            for client in clients:
                client.connection.sendall(client.sent)
            while selector.get_map():
                ready = selector.select(seconds)
                assert ready, f"nothing came for {seconds:g} seconds"
                for key, _ in ready:
                    if not key.data.receive(buffer):
                        selector.unregister(key.fileobj)
    finally:
        for client in clients:
            client.connection.close()
    return [client.whole() for client in clients]


class _Client:
    def __init__(self, port: int, method: bytes, path: str, content: bytes) -> None:
        self.connection = socket.create_connection(("127.0.0.1", port), timeout=30)
        self.sent = request(path.encode(), method=method)
        self._expected = b"" if method == b"HEAD" else content
        self._begun = b""
        self._answer: RawAnswer | None = None
        self._came = 0

    def receive(self, buffer: memoryview) -> bool:
        """Take what is there; False at the end."""
        if self._answer is not None:
            count = self.connection.recv_into(buffer)
            self._compare(buffer[:count])
            return count > 0
        piece = self.connection.recv(_HEAD_BYTES)
        self._begun += piece
        self._answer = RawAnswer.parse(self._begun)
        if self._answer is not None:
            assert self._answer.status == 200, self._begun
            self._compare(self._answer.rest)
        return bool(piece)

    def whole(self) -> RawAnswer:
        assert self._answer is not None, f"no answer: {self._begun!r}"
        assert self._came == len(self._expected), f"{self._came} bytes of {len(self._expected)}"
        return self._answer

    def _compare(self, piece: bytes | memoryview) -> None:
        # A memoryview is compared item by item, bytes at once; without a copy only like this.
        assert self._expected.startswith(piece, self._came), f"other bytes after {self._came}"
        self._came += len(piece)
