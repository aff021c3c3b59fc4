"""Large layers, pushed as docker does (POST, one PATCH with all of it, PUT) and pulled."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator

from tests.bench.blobs import as_chunks, blocks, digest_of
from tests.bench.wire import Connection, with_digest

_MADE_BEFORE_BYTES = 1 << 30
"""A layer up to this size is made before the clock starts; a larger one would need the memory."""


def push(port: int, repository: str, seed: str, size: int, *, chunked: bool) -> dict[str, object]:
    """Push one blob; size in bytes."""
    body = _Body(seed, size, chunked=chunked)
    connection = Connection(port)
    start = time.perf_counter()
    _push_one(connection, repository, body)
    seconds = time.perf_counter() - start
    connection.close()
    return {"bytes_per_second": size / seconds, "digests": [body.digest]}


def push_together(port: int, repository: str, seed: str, size: int, layers: int) -> dict[str, object]:
    """Push so many blobs at once, `size` bytes together, each by a process of its own, which waits for no other."""
    together = multiprocessing.get_context("fork")
    ready = together.Barrier(layers + 1)
    digests: multiprocessing.SimpleQueue[str] = together.SimpleQueue()

    def run(number: int) -> None:
        body = _Body(f"{seed} {number}", size // layers, chunked=True)
        connection = Connection(port)
        ready.wait()
        _push_one(connection, repository, body)
        digests.put(body.digest)

    processes = [together.Process(target=run, args=(number,), daemon=True) for number in range(layers)]
    for process in processes:
        process.start()
    ready.wait(60)
    start = time.perf_counter()
    for process in processes:
        process.join()
    seconds = time.perf_counter() - start
    assert all(process.exitcode == 0 for process in processes), "a push failed"
    return {"bytes_per_second": size / seconds, "digests": [digests.get() for _ in processes]}


def pull(port: int, path: str, size: int, times: int) -> dict[str, object]:
    """Read one blob to its end, so many times, and throw it away."""
    connection = Connection(port)
    start = time.perf_counter()
    for _ in range(times):
        connection.socket.sendall(connection.head("GET", path))
        reply = connection.begin_reply(200)
        assert reply.length == size, f"{reply.length} bytes in place of {size}"
        connection.throw_away(size - len(reply.begun))
    seconds = time.perf_counter() - start
    connection.close()
    return {"bytes_per_second": size * times / seconds}


class _Body:
    """A layer and its digest, ready to be sent."""

    def __init__(self, seed: str, size: int, *, chunked: bool) -> None:
        self.digest = digest_of(blocks(seed, size))
        self.framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {size}"
        self._seed, self._size, self._chunked = seed, size, chunked
        self._made = list(self._make()) if size <= _MADE_BEFORE_BYTES else None

    def pieces(self) -> Iterator[bytes | memoryview]:
        return iter(self._made) if self._made is not None else self._make()

    def _make(self) -> Iterator[bytes | memoryview]:
        pieces = blocks(self._seed, self._size)
        return as_chunks(pieces) if self._chunked else pieces


def _push_one(connection: Connection, repository: str, body: _Body) -> None:
    location = connection.ask("POST", f"/v2/{repository}/blobs/uploads/", status=202).location
    connection.socket.sendall(
        connection.head("PATCH", location, body.framing, "Content-Type: application/octet-stream")
    )
    for piece in body.pieces():
        connection.socket.sendall(piece)
    location = connection.reply(202).location
    connection.ask("PUT", with_digest(location, body.digest), status=201)
