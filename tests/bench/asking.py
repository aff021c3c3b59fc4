"""Small requests: how many a second are answered, and how long one waits."""

from __future__ import annotations

import selectors
import time
from statistics import median

from tests.bench.wire import Connection
from tests.support.images import DOCKER_MANIFEST, OCI_MANIFEST

ENTRIES = 100
"""How many names a page of a listing has."""

WARM_UP_SECONDS = 0.5


def ask_often(port: int, method: str, path: str, connections: int, seconds: float) -> dict[str, object]:
    """The same request over keep-alive connections, one at a time on each."""
    first = Connection(port)
    request = first.head(method, path, f"Accept: {OCI_MANIFEST}, {DOCKER_MANIFEST}")
    first.socket.sendall(request)
    reply = first.reply(200, has_body=method != "HEAD")
    length = reply.head_length + len(reply.begun)
    first.close()
    waits: list[float] = []
    with selectors.EpollSelector() as selector:
        for _ in range(connections):
            connection = Connection(port)
            connection.socket.sendall(request)
            selector.register(connection.socket, selectors.EVENT_READ, [time.perf_counter(), 0])
        # What comes in the first half second warms up the server, and is not counted.
        begin = time.perf_counter() + WARM_UP_SECONDS
        end = begin + seconds
        now = time.perf_counter()
        while now < end:
            for key, _events in selector.select(1.0):
                answer = key.fileobj.recv(65536)  # type: ignore[union-attr]  # all of them are sockets
                now = time.perf_counter()
                assert answer, "the connection ended"
                came = key.data[1] + len(answer)
                if came < length:
                    key.data[1] = came
                    continue
                # All answers are alike but for their date.
                assert came == length, answer
                assert key.data[1] or answer.startswith(b"HTTP/1.1 200"), answer
                if now >= begin:
                    waits.append(now - key.data[0])
                key.data[:] = [now, 0]
                key.fileobj.sendall(request)  # type: ignore[union-attr]
        for key in list(selector.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]
    waits.sort()
    p99 = waits[int(len(waits) * 0.99)]
    return {"requests_per_second": len(waits) / seconds, "p99_seconds": p99}


def ask_in_turn(port: int, path: str, times: int) -> dict[str, object]:
    """GETs one after another over one connection; the median of how long each took."""
    connection = Connection(port)
    waits = []
    for _ in range(times):
        start = time.perf_counter()
        reply = connection.ask("GET", path, status=200)
        waits.append(time.perf_counter() - start)
        assert reply.begun.count(b'"') >= ENTRIES, reply.begun
    connection.close()
    return {"seconds": median(waits)}
