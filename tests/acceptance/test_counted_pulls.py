"""Fifty clients at once before `yarddesk serve`, and what its upstream is asked for them, by that registry's own access log."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.acceptance.mirrors import Upstream
from tests.peers.token_server import TokenServer
from tests.peers.yarddesk import YarddeskProcess
from tests.support.crowd import ask_together
from tests.support.images import OCI_CONFIG, OCI_LAYER, Content, Image, build_image, manifest_of
from tests.support.waiting import until

CLIENTS = 50
BYTES = 64 << 20
TTL_SECONDS = 2
PASSWORD = "secret of ci"
MANIFESTS = "/v2/team/app/manifests/"


@pytest.fixture
def upstream(request: pytest.FixtureRequest, token_server: TokenServer, tmp_path: Path) -> Iterator[Upstream]:
    """By its parameter it asks for a token, or for nothing."""
    with ExitStack() as stack:
        yield Upstream(tmp_path / "upstream", stack, token=token_server.auth if request.param == "private" else None)


@pytest.fixture
def serve(make_yarddesk: Callable[..., YarddeskProcess], upstream: Upstream) -> YarddeskProcess:
    """Where every tag but `short` is believed for an hour."""
    login = "auth: {type: basic, username: ci, password: '${UPSTREAM_PASSWORD}'}"
    lifetimes = f"manifest_ttl: {{short: {TTL_SECONDS}s, '*': 1h}}"
    config = f"{{registry: '{upstream.registry.host}', tls: {{plain_http: true}}, {login}, {lifetimes}}}"
    return make_yarddesk(config=f"upstreams: [{config}]", environment={"UPSTREAM_PASSWORD": PASSWORD})


def asked(upstream: Upstream) -> list[str]:
    """METHOD and tag or digest of all that it was asked by now, but for what it wanted a token for first."""
    # It logs an answer when the last byte of it has left: once a later one is there, so is all before it.
    mark = f"/v2/?mark={len(upstream.registry.seen())}"
    upstream.registry.request("GET", mark)
    until(lambda: upstream.registry.seen("GET", f"{re.escape(mark)}$"), what="the mark is in the log")
    answered = [each for each in upstream.registry.seen() if each.status != 401 and "?mark=" not in each.path]
    return [f"{each.method} {each.path.rpartition('/')[2]}" for each in answered]


def gets(upstream: Upstream) -> list[str]:
    return [line for line in asked(upstream) if line.startswith("GET ")]


def all_ask(serve: YarddeskProcess, path: str, content: Content, method: bytes = b"GET") -> None:
    for answer in ask_together(serve.port, [(method, path)] * CLIENTS, content.content):
        assert answer.headers["docker-content-digest"] == content.digest


@pytest.mark.parametrize(
    ("upstream", "by_digest"), [("open", False), ("private", True)], indirect=["upstream"], ids=["open", "private"]
)
def test_a_cold_blob_and_its_manifest_are_fetched_once_for_all_who_ask(
    serve: YarddeskProcess, upstream: Upstream, token_server: TokenServer, by_digest: bool
) -> None:
    """The manifest by its tag, or as containerd gets it: HEAD of the tag, GET of the digest."""
    layer = Content(OCI_LAYER, random.Random("cold").randbytes(BYTES))
    config = Content(OCI_CONFIG, b"{}")
    image = Image(manifest_of(config, [layer]), config, (layer,), "")
    upstream.push("team/app", "v1", image)
    tag, blob = f"{MANIFESTS}v1", f"/v2/team/app/blobs/{layer.digest}"
    if by_digest:
        all_ask(serve, tag, image.manifest, b"HEAD")
    all_ask(serve, MANIFESTS + image.manifest.digest if by_digest else tag, image.manifest)
    all_ask(serve, blob, layer)
    once = [f"GET {image.manifest.digest if by_digest else 'v1'}", f"GET {layer.digest}"]
    assert gets(upstream) == once
    first = asked(upstream)
    assert set(first) - set(once) <= {"HEAD v1"}
    for method in (b"GET", b"HEAD"):
        all_ask(serve, tag, image.manifest, method)
    all_ask(serve, blob, layer)
    assert asked(upstream) == first
    assert len(token_server.requests) == int(by_digest), "one token for all of it"


@pytest.mark.parametrize("upstream", ["open"], indirect=True)
def test_a_manifest_that_lies_here_since_an_earlier_run_tells_the_sizes_of_its_blobs(
    serve: YarddeskProcess, upstream: Upstream
) -> None:
    image = build_image("half pulled")
    upstream.push("team/app", "v1", image)
    assert serve.manifest("team/app", "v1") == image.manifest
    assert serve.blob("team/app", image.config.digest) == image.config.content
    serve.restart()
    assert serve.run("usage").returncode == 0  # it knows by then what lies here
    before = asked(upstream)
    for layer in image.layers:
        assert serve.blob("team/app", layer.digest) == layer.content
    assert asked(upstream)[len(before) :] == [f"GET {layer.digest}" for layer in image.layers]


@pytest.mark.parametrize("upstream", ["open"], indirect=True)
def test_a_tag_costs_nothing_within_its_time_and_one_head_after_it(serve: YarddeskProcess, upstream: Upstream) -> None:
    image, newer = build_image("tag"), build_image("newer")
    path = f"{MANIFESTS}short"
    upstream.push("team/app", "short", image)
    began = time.monotonic()
    all_ask(serve, path, image.manifest)

    def is_asked_again() -> bool:
        ask_together(serve.port, [(b"GET", path), (b"HEAD", path)], image.manifest.content)
        return "HEAD short" in asked(upstream)

    until(is_asked_again, what="its time is over")
    passed = int((time.monotonic() - began) // TTL_SECONDS)
    first, *heads = asked(upstream)
    assert (first, {*heads}) == ("GET short", {"HEAD short"})
    assert len(heads) <= passed

    for tag_names in (image, newer):
        upstream.push("team/app", "short", tag_names)
        before = asked(upstream)
        began = time.monotonic()
        until(lambda: time.monotonic() >= began + TTL_SECONDS, what="its time is over again")  # noqa: B023
        began = time.monotonic()
        ways = [(b"GET", path), (b"HEAD", path)] if tag_names is image else [(b"GET", path)]
        ask_together(serve.port, ways * (CLIENTS // len(ways)), tag_names.manifest.content)
        # Clients that take longer than that on a slow machine may have to ask again.
        most = 1 + int((time.monotonic() - began) // TTL_SECONDS)
        more = sorted(asked(upstream)[len(before) :])
        moved = ["GET short"] if tag_names is newer else []
        assert more in [moved + ["HEAD short"] * number for number in range(1, most + 1)]
