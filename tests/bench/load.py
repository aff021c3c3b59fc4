"""The benchmark's client, a process of its own: plain sockets and bytes made beforehand, so that the server is the limit.

`python -m tests.bench.load MEASURE …` prints one JSON object with what it measured.
"""

from __future__ import annotations

import argparse
import hashlib
import http.client
import json
import random
import selectors
import socket
import time
from collections.abc import Iterable, Iterator

from tests.support.images import DOCKER_MANIFEST, OCI_MANIFEST

BLOCK = 1 << 20
# What `docker push` sends: Go copies at most 32 KiB at once, and its compressor hands over less than that.
CHUNKS = (32 << 10, 8 << 10, 16 << 10, 8 << 10)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("measure", choices=["push", "push-chunked", "pull", "head"])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--repository", default="bench/app")
    parser.add_argument("--seed", default="")
    parser.add_argument("--bytes", type=int, default=512 << 20)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--reference", default="")
    options = parser.parse_args()
    if options.measure == "head":
        path = f"/v2/{options.repository}/manifests/{options.reference}"
        answer = head(options.port, path, options.connections, options.seconds)
    elif options.measure == "pull":
        answer = pull(options.port, f"/v2/{options.repository}/blobs/{options.reference}", options.bytes)
    else:
        chunked = options.measure == "push-chunked"
        answer = push(options.port, options.repository, options.seed, options.bytes, chunked=chunked)
    print(json.dumps(answer))


def push(port: int, repository: str, seed: str, size: int, *, chunked: bool) -> dict[str, object]:
    """Push one blob as docker does (POST, one PATCH with all of it, PUT); size in bytes."""
    pieces = list(blocks(seed, size))
    checksum = hashlib.sha256()
    for block in pieces:
        checksum.update(block)
    digest = f"sha256:{checksum.hexdigest()}"
    body: list[bytes | memoryview] = list(as_chunks(pieces)) if chunked else list(pieces)
    connection = connect(port)
    start = time.perf_counter()
    location = small_request(connection, "POST", f"/v2/{repository}/blobs/uploads/", 202)
    framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {size}"
    head = f"PATCH {target(location)} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{framing}\r\n"
    connection.sendall(f"{head}Content-Type: application/octet-stream\r\n\r\n".encode())
    for piece in body:
        connection.sendall(piece)
    location = read_answer(connection, 202)
    join = "&" if "?" in location else "?"
    small_request(connection, "PUT", f"{target(location)}{join}digest={digest}", 201)
    seconds = time.perf_counter() - start
    connection.close()
    return {"seconds": seconds, "bytes_per_second": size / seconds, "digest": digest}


def pull(port: int, path: str, size: int) -> dict[str, object]:
    """Read one blob to its end and throw it away."""
    connection = connect(port)
    buffer = bytearray(BLOCK)
    start = time.perf_counter()
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
    received = bytearray()
    while b"\r\n\r\n" not in received:
        received += connection.recv(BLOCK)
    head, _, first = bytes(received).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), head
    left = size - len(first)
    while left:
        count = connection.recv_into(buffer)
        assert count, f"the answer ended {left} bytes too early"
        left -= count
    seconds = time.perf_counter() - start
    connection.close()
    return {"seconds": seconds, "bytes_per_second": size / seconds}


def head(port: int, path: str, connections: int, seconds: float) -> dict[str, object]:
    """HEAD over keep-alive connections, one request at a time on each."""
    accept = f"Accept: {OCI_MANIFEST}, {DOCKER_MANIFEST}\r\n"
    request = f"HEAD {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{accept}\r\n".encode()
    waits: list[float] = []
    with selectors.EpollSelector() as selector:
        for _ in range(connections):
            connection = connect(port)
            connection.sendall(request)
            selector.register(connection, selectors.EVENT_READ, [time.perf_counter()])
        # What comes in the first half second warms up the server, and is not counted.
        begin = time.perf_counter() + 0.5
        end = begin + seconds
        now = time.perf_counter()
        while now < end:
            for key, _events in selector.select(1.0):
                answer = key.fileobj.recv(4096)  # type: ignore[union-attr]  # all of them are sockets
                now = time.perf_counter()
                assert answer.startswith(b"HTTP/1.1 200"), answer
                assert answer.endswith(b"\r\n\r\n"), answer
                if now >= begin:
                    waits.append(now - key.data[0])
                key.data[0] = now
                key.fileobj.sendall(request)  # type: ignore[union-attr]
        for key in list(selector.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]
    waits.sort()
    p99 = waits[int(len(waits) * 0.99)]
    return {"requests_per_second": len(waits) / seconds, "p50_ms": waits[len(waits) // 2] * 1e3, "p99_ms": p99 * 1e3}


def blocks(seed: str, size: int) -> Iterator[memoryview]:
    """Incompressible bytes in pieces of 1 MiB: one random block, its first bytes different in each piece."""
    block = random.Random(seed).randbytes(BLOCK)
    for number in range(0, size, BLOCK):
        piece = number.to_bytes(8, "big") + block[8:]
        yield memoryview(piece)[: min(BLOCK, size - number)]


def as_chunks(pieces: Iterable[memoryview]) -> Iterator[bytes]:
    """The pieces in HTTP's chunked coding (RFC 9112, section 7.1), a chunk at a time."""
    for piece in pieces:
        start = 0
        while start < len(piece):
            for length in CHUNKS:
                chunk = piece[start : start + length]
                if chunk:
                    yield b"%x\r\n%b\r\n" % (len(chunk), bytes(chunk))
                start += length
    yield b"0\r\n\r\n"


def connect(port: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=60)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def small_request(connection: socket.socket, method: str, path: str, status: int) -> str:
    """A request without a body; gives the answer's Location."""
    port = connection.getpeername()[1]
    connection.sendall(f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: 0\r\n\r\n".encode())
    return read_answer(connection, status)


def read_answer(connection: socket.socket, status: int) -> str:
    response = http.client.HTTPResponse(connection)
    response.begin()
    body = response.read()
    assert response.status == status, f"{response.status} instead of {status}: {body!r}"
    return response.headers.get("Location", "")


def target(location: str) -> str:
    """A Location's path and query, whether or not it has scheme and host before them."""
    return "/" + location.split("/", 3)[3] if location.startswith("http") else location


if __name__ == "__main__":
    main()
