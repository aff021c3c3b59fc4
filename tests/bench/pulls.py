"""Pulls of one blob, alone and by many clients at once: how soon they begin, and how quickly they come."""

from __future__ import annotations

import selectors
import socket
import time

from tests.bench.wire import Connection

_AT_ONCE = 1 << 20


def pull_alone(port: int, path: str, size: int) -> dict[str, object]:
    """Read a blob once to its end, and throw it away."""
    connection = Connection(port)
    start = time.perf_counter()
    connection.socket.sendall(connection.head("GET", path))
    reply = connection.begin_reply(200)
    begun = reply.begun or connection.socket.recv(1)
    first = time.perf_counter() - start
    assert reply.length == size, f"{reply.length} bytes in place of {size}"
    connection.throw_away(size - len(begun))
    seconds = time.perf_counter() - start
    connection.close()
    return {"bytes_per_second": size / seconds, "first_byte_seconds": first}


def pull_together(port: int, path: str, size: int, clients: int) -> dict[str, object]:
    """As many clients as that read the same blob at once; bytes a second of all of them together."""
    nowhere = bytearray(_AT_ONCE)
    with selectors.EpollSelector() as selector:
        connections = [Connection(port) for _ in range(clients)]
        start = time.perf_counter()
        for connection in connections:
            connection.socket.sendall(connection.head("GET", path))
            selector.register(connection.socket, selectors.EVENT_READ, [connection, -1])
        left = clients
        while left:
            ready = selector.select(120)
            assert ready, "nothing came for two minutes"
            for key, _events in ready:
                connection, missing = key.data
                if missing < 0:
                    reply = connection.begin_reply(200)
                    assert reply.length == size, f"{reply.length} bytes in place of {size}"
                    key.data[1] = size - len(reply.begun)
                else:
                    came = connection.socket.recv_into(nowhere, min(missing, _AT_ONCE), socket.MSG_TRUNC)
                    assert came, f"an answer ended {missing} bytes too early"
                    key.data[1] = missing - came
                if not key.data[1]:
                    selector.unregister(connection.socket)
                    left -= 1
        seconds = time.perf_counter() - start
        for connection in connections:
            connection.close()
    return {"bytes_per_second": size * clients / seconds}
