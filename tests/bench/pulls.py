"""Pulls of one layer, alone and by many clients at once: how soon they begin, and how quickly they come.

Before it comes its manifest, which tells whoever is in between how large it is, as with any client.
"""

from __future__ import annotations

import selectors
import socket
import time

from tests.bench.wire import Connection
from tests.support.images import OCI_MANIFEST

_AT_ONCE = 1 << 20


def pull_alone(port: int, repository: str, tag: str, digest: str, size: int) -> dict[str, object]:
    """Read a layer once to its end, and throw it away."""
    path = f"/v2/{repository}/blobs/{digest}"
    connection = Connection(port)
    _see_manifest(connection, repository, tag, digest)
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


def pull_together(port: int, repository: str, tag: str, digest: str, size: int, clients: int) -> dict[str, object]:
    """As many clients as that read the same layer at once; bytes a second of all of them together."""
    path = f"/v2/{repository}/blobs/{digest}"
    nowhere = bytearray(_AT_ONCE)
    with selectors.EpollSelector() as selector:
        connections = [Connection(port) for _ in range(clients)]
        _see_manifest(connections[0], repository, tag, digest)
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


def _see_manifest(connection: Connection, repository: str, tag: str, digest: str) -> None:
    path = f"/v2/{repository}/manifests/{tag}"
    reply = connection.ask("GET", path, f"Accept: {OCI_MANIFEST}", status=200)
    assert digest.encode() in reply.begun, reply.begun
