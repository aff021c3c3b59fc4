"""An image of many small layers, pushed as docker pushes it: several connections, four requests for each layer."""

from __future__ import annotations

import json
import queue
import random
import time
from concurrent.futures import ThreadPoolExecutor

from tests.bench.blobs import digest_of
from tests.bench.wire import Connection, with_digest
from tests.support.images import OCI_CONFIG, OCI_LAYER, OCI_MANIFEST

SMALLEST, LARGEST = 4 << 10, 64 << 10
CONNECTIONS = 5
"""docker's max-concurrent-uploads."""


def push_small(port: int, repository: str, seed: str, layers: int) -> dict[str, object]:
    """Push that many layers, the config and the manifest."""
    source = random.Random(seed)
    contents = [source.randbytes(source.randint(SMALLEST, LARGEST)) for _ in range(layers)]
    config = json.dumps({"architecture": "amd64", "os": "linux", "seed": seed}).encode()
    blobs = {digest_of([content]): content for content in (config, *contents)}
    manifest = _manifest(config, contents)
    waiting: queue.SimpleQueue[tuple[str, bytes]] = queue.SimpleQueue()
    for digest, content in blobs.items():
        waiting.put((digest, content))
    connections = [Connection(port) for _ in range(CONNECTIONS)]

    def run(connection: Connection) -> None:
        while not waiting.empty():
            try:
                digest, content = waiting.get_nowait()
            except queue.Empty:  # another one was quicker
                return
            _push_one(connection, repository, digest, content)

    start = time.perf_counter()
    with ThreadPoolExecutor(CONNECTIONS) as threads:
        list(threads.map(run, connections))
    path = f"/v2/{repository}/manifests/{random.Random(seed).randrange(10**9)}"
    connections[0].ask("PUT", path, f"Content-Type: {OCI_MANIFEST}", body=manifest, status=201)
    seconds = time.perf_counter() - start
    for connection in connections:
        connection.close()
    return {"layers_per_second": layers / seconds}


def _push_one(connection: Connection, repository: str, digest: str, content: bytes) -> None:
    location = connection.ask("POST", f"/v2/{repository}/blobs/uploads/", status=202).location
    body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(content), content)
    reply = connection.ask("PATCH", location, body=body, framing="Transfer-Encoding: chunked", status=202)
    connection.ask("PUT", with_digest(reply.location, digest), status=201)
    found = connection.ask("HEAD", f"/v2/{repository}/blobs/{digest}", status=200)
    assert found.length == len(content), f"{digest} has {found.length} bytes"


def _manifest(config: bytes, layers: list[bytes]) -> bytes:
    return json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": _descriptor(OCI_CONFIG, config),
            "layers": [_descriptor(OCI_LAYER, layer) for layer in layers],
        }
    ).encode()


def _descriptor(media_type: str, content: bytes) -> dict[str, object]:
    return {"mediaType": media_type, "digest": digest_of([content]), "size": len(content)}
