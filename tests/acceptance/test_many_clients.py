"""Many clients at once before `yarddesk serve`: one blob, one tag, and readers of what is replaced, deleted and collected."""

from __future__ import annotations

import hashlib
import http.client
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

import pytest

from tests.acceptance.settings import push_everything_to
from tests.peers.registry import DockerRegistry
from tests.peers.yarddesk import YarddeskProcess
from tests.support.images import OCI_MANIFEST, Content, Image, build_image, manifest_of
from tests.support.registry_client import RegistryClient
from tests.support.waiting import until

CLIENTS = 12
REPOSITORY = "team/app"
NOBODY = "127.0.0.1:9"
TAGS = tuple(f"v{number}" for number in range(5))
OCTETS = {"Content-Type": "application/octet-stream"}
T = TypeVar("T")


def at_once(works: Sequence[Callable[[], T]]) -> list[T]:
    """Each by a client of its own, all begun at one moment."""
    ready = threading.Barrier(len(works))

    def begun_with_the_others(work: Callable[[], T]) -> T:
        ready.wait(30)
        return work()

    with ThreadPoolExecutor(len(works)) as clients:
        return list(clients.map(begun_with_the_others, works))


def push_at_once(serve: YarddeskProcess, blob: Content) -> int:
    return serve.request("POST", f"/v2/{REPOSITORY}/blobs/uploads/?digest={blob.digest}", blob.content, OCTETS)[0]


def push_in_chunks(serve: YarddeskProcess, blob: Content) -> int:
    _, headers, _ = serve.request("POST", f"/v2/{REPOSITORY}/blobs/uploads/", b"")
    for start in range(0, len(blob.content), 700_000):
        piece = blob.content[start : start + 700_000]
        _, headers, _ = serve.request("PATCH", headers["Location"], piece, OCTETS)
    return serve.request("PUT", f"{headers['Location']}?digest={blob.digest}", b"")[0]


def put_manifest(serve: YarddeskProcess, reference: str, manifest: Content) -> int:
    path = f"/v2/{REPOSITORY}/manifests/{reference}"
    return serve.request("PUT", path, manifest.content, {"Content-Type": manifest.media_type})[0]


def test_one_blob_that_many_push_is_one_file(make_yarddesk):
    serve = make_yarddesk(config="upstreams: []\n")
    for number in range(3):
        blob = build_image(f"pushed by many {number}", (2_000_000,)).layers[0]
        ways = [push_at_once if client % 2 else push_in_chunks for client in range(CLIENTS)]
        assert at_once([partial(way, serve, blob) for way in ways]) == [201] * CLIENTS
        assert serve.blob(REPOSITORY, blob.digest) == blob.content
    files = [path for path in (serve.data_dir / "blobs").rglob("*") if path.is_file()]
    assert len(files) == 3
    assert all(hashlib.sha256(path.read_bytes()).hexdigest() == path.name for path in files)
    assert list((serve.data_dir / "uploads").iterdir()) == []


@pytest.mark.parametrize("paused", [True, False])
def test_one_tag_that_many_push_is_one_of_theirs_and_that_one_is_queued(make_yarddesk, paused):
    serve = make_yarddesk(config=push_everything_to(NOBODY))
    if paused:
        serve.run("pause")
    images = pushed_without_a_tag(serve)
    for tag in TAGS:
        put_at_once(serve, tag, images)
        assert queued(serve)[tag] == marker(serve, tag) == named(serve, tag, images)
    before = queued(serve)
    serve.kill()
    serve.start()
    assert {tag: named(serve, tag, images) for tag in TAGS} == before == queued(serve)


def test_one_tag_that_many_push_is_upstream_what_it_is_here(make_yarddesk, docker_registry: DockerRegistry):
    serve = make_yarddesk(config=push_everything_to(docker_registry.host))
    images = pushed_without_a_tag(serve)
    for tag in TAGS:
        put_at_once(serve, tag, images)
    serve.run("wait", "--timeout", "60")
    for tag in TAGS:
        assert docker_registry.manifest(REPOSITORY, tag) == serve.manifest(REPOSITORY, tag)
    until(lambda: not list((serve.data_dir / "pending").rglob("*.json")), 10, "nothing is queued")


def test_readers_of_what_is_replaced_deleted_and_collected_get_all_of_it_or_nothing(make_yarddesk):
    serve = make_yarddesk(config="upstreams: []\n")
    shared = build_image("shared", (1_500_000,)).layers
    stays, one, other = (with_layers(name, shared) for name in ("stays", "one", "other"))
    serve.push(REPOSITORY, "stays", stays)
    changing = ["manifests/moves", *(f"manifests/{image.manifest.digest}" for image in (one, other))]
    changing += [f"blobs/{image.layers[0].digest}" for image in (one, other)]
    lasting = ["manifests/stays", f"blobs/{shared[0].digest}"]
    with reading(serve, changing, {200, 404}) as changed, reading(serve, lasting, {200}):
        for _ in range(4):
            serve.push(REPOSITORY, "moves", one)
            serve.push(REPOSITORY, "moves", other)
            deleted(serve, f"manifests/{one.manifest.digest}")
            collected(serve)
            serve.push(REPOSITORY, "moves", one)
            deleted(serve, "manifests/moves")
            collected(serve)
            deleted(serve, f"blobs/{other.config.digest}", 404)
    assert changed == {200, 404}
    assert serve.holds(REPOSITORY, "stays", stays)
    assert {path.name for path in blob_files(serve)} == {blob.digest.partition(":")[2] for blob in stays.blobs}


def test_a_reader_that_began_gets_all_though_it_is_deleted_meanwhile(make_yarddesk):
    serve = make_yarddesk(config="upstreams: []\n")
    layer = build_image("read slowly", (24_000_000,)).layers[0]
    serve.push_blob(REPOSITORY, layer)
    connection = http.client.HTTPConnection(serve.host, serve.port, timeout=30)
    connection.request("GET", f"/v2/{REPOSITORY}/blobs/{layer.digest}")
    answer = connection.getresponse()
    first = answer.read(100_000)
    deleted(serve, f"blobs/{layer.digest}")
    assert serve.blob(REPOSITORY, layer.digest) is None
    assert blob_files(serve) == []
    assert first + answer.read() == layer.content
    connection.close()


def put_at_once(serve: YarddeskProcess, tag: str, images: Sequence[Image]) -> None:
    answers = at_once([partial(put_manifest, serve, tag, image.manifest) for image in images])
    assert answers == [201] * len(images)


def pushed_without_a_tag(serve: YarddeskProcess) -> list[Image]:
    images = [build_image(f"client {number}") for number in range(CLIENTS)]
    for image in images:
        for blob in image.blobs:
            serve.push_blob(REPOSITORY, blob)
    return images


def named(serve: YarddeskProcess, tag: str, images: Sequence[Image]) -> str:
    manifest = serve.manifest(REPOSITORY, tag)
    assert manifest in [image.manifest for image in images]
    assert manifest is not None
    return manifest.digest


def marker(serve: YarddeskProcess, tag: str) -> str:
    return str(json.loads((serve.data_dir / "pending" / REPOSITORY / f"{tag}.json").read_text())["digest"])


def queued(serve: YarddeskProcess) -> dict[str, str]:
    return {job["reference"]: job["digest"] for job in serve.control("queue")["jobs"]}


def with_layers(name: str, more: tuple[Content, ...]) -> Image:
    """An image with a layer of its own and others."""
    own = build_image(name, (1_500_000,))
    layers = (*own.layers, *more)
    return Image(manifest_of(own.config, layers), own.config, layers, own.platform)


def deleted(serve: YarddeskProcess, what: str, status: int = 202) -> None:
    assert serve.request("DELETE", f"/v2/{REPOSITORY}/{what}")[0] == status, what


def collected(serve: YarddeskProcess) -> None:
    token = (serve.data_dir / "control.token").read_text().strip()
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    orders = json.dumps({"grace_seconds": 0, "untagged": True}).encode()
    status, _, body = serve.request("POST", "/api/v1/gc", orders, headers)
    assert status == 200
    assert "result" in json.loads(body.splitlines()[-1]), body


def blob_files(serve: YarddeskProcess) -> list[Path]:
    return [path for path in (serve.data_dir / "blobs").rglob("*") if path.is_file()]


@contextmanager
def reading(serve: YarddeskProcess, paths: Sequence[str], statuses: set[int]) -> Iterator[set[int]]:
    """A reader of each path, over and over until the block's end; the statuses they got. What got 200 is whole."""
    client, ended, seen = RegistryClient(serve.url), threading.Event(), set[int]()

    def read(path: str) -> None:
        while not ended.is_set():
            status, headers, body = client.request("GET", f"/v2/{REPOSITORY}/{path}", headers={"Accept": OCI_MANIFEST})
            assert status in statuses, f"{path}: {status} {body[:300]!r}"
            if status == 200:
                digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
                assert digest == headers["Docker-Content-Digest"], path
                assert "sha256:" not in path or path.endswith(digest), path
            seen.add(status)

    with ThreadPoolExecutor(len(paths)) as readers:
        works = [readers.submit(read, path) for path in paths]
        try:
            yield seen
        finally:
            ended.set()
        for work in works:
            work.result()
