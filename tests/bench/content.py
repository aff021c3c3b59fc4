"""What must be there before it can be asked for: an image, many tags, many repositories, a long queue."""

from __future__ import annotations

import json

from tests.bench.servers import DESKTOP, QUEUED, SERVE, Server
from tests.bench.wire import Connection
from tests.peers.yarddesk import YarddeskProcess
from tests.support.images import OCI_INDEX, build_image
from tests.support.waiting import until

REPOSITORY = "bench/app"
TAGGED = "bench/tags"
TAG = "1"


def fill(server: Server, *, tags: int, repositories: int, jobs: int) -> None:
    """Put there what this server is asked for. Tags and repositories: for ours alone, whose bounds are no ratios."""
    server.peer.push(REPOSITORY, TAG, build_image("bench"))
    connection = Connection(server.peer.port)
    if server.name in (SERVE, DESKTOP):
        for number in range(tags):
            _put(connection, TAGGED, f"tag-{number:04}")
        for number in range(repositories):
            _put(connection, f"many/{number:04}", TAG)
    if server.name == QUEUED:
        for number in range(jobs):
            _put(connection, "bench/queued", f"job-{number:04}")
        _wait_for_jobs(server.peer, jobs)
    connection.close()


def _put(connection: Connection, repository: str, tag: str) -> None:
    """A manifest that needs no blob, and is another one under each name."""
    document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [], "annotations": {"name": tag}}
    content = json.dumps(document).encode()
    path = f"/v2/{repository}/manifests/{tag}"
    connection.ask("PUT", path, f"Content-Type: {OCI_INDEX}", body=content, status=201)


def _wait_for_jobs(peer: object, jobs: int) -> None:
    assert isinstance(peer, YarddeskProcess)

    def waiting() -> int:
        return sum(peer.control("status")["jobs"].values())

    until(lambda: waiting() >= jobs, what=f"{jobs} jobs wait")
