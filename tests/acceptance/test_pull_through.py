"""`yarddesk serve` before upstreams that are away, silent, or ask to wait: what it serves, what it says, and what it asks them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from email.message import Message
from pathlib import Path

import pytest

from tests.peers.fault_proxy import FaultProxy
from tests.peers.faults import Stall, Status
from tests.peers.registry import DockerRegistry
from tests.peers.steps import Step
from tests.peers.token_server import TokenServer
from tests.peers.yarddesk import YarddeskProcess
from tests.support.artifacts import cosign_referrer, referrers_list
from tests.support.images import build_image, build_index
from tests.support.waiting import until
from yarddesk.oci.digest import Digest
from yarddesk.oci.name import referrers_tag

Make = Callable[..., YarddeskProcess]

IMAGE = build_image("pulled through", (50_000, 300))
NEWER = build_image("newer", (50_000, 300))
MANIFEST = "/v2/team/app/manifests/"


@pytest.fixture
def way(docker_registry: DockerRegistry) -> Iterator[FaultProxy]:
    """To the upstream, which has the image."""
    docker_registry.push("team/app", "v1", IMAGE)
    with FaultProxy(docker_registry.host) as proxy:
        yield proxy


def settings(proxy: FaultProxy, *, ttl: str = "0", cache: str = "", check_timeout: str = "30s") -> str:
    return f"""\
upstream:
  check_timeout: {check_timeout}
cache:
  manifest_ttl: 0
{cache}
upstreams:
  - name: central
    registry: {proxy.host}
    manifest_ttl: {ttl}
    tls:
      plain_http: true
"""


def get(serve: YarddeskProcess, reference: str = "v1", method: str = "GET") -> tuple[int, Message, bytes]:
    return serve.request(method, MANIFEST + reference)


def pulls(serve: YarddeskProcess) -> dict[str, object]:
    [upstream] = json.loads(serve.run("status", "--json").stdout)["upstreams"]
    return upstream["pulls"]  # type: ignore[no-any-return]


def message(body: bytes) -> str:
    return json.loads(body)["errors"][0]["message"]  # type: ignore[no-any-return]


def test_offline_it_answers_from_the_cache_alone_and_is_online_again_without_a_restart(
    make_yarddesk: Make, way: FaultProxy, docker_registry: DockerRegistry
) -> None:
    serve = make_yarddesk(config=settings(way))
    assert serve.holds("team/app", "v1", IMAGE)
    docker_registry.push("team/app", "v1", NEWER)
    docker_registry.push("team/app", "v2", NEWER)
    serve.configure(settings(way, cache="  offline: true"))
    serve.wait_for_line("other settings are in force")
    way.passed.clear()
    status, headers, body = get(serve)
    assert (status, body, headers["Warning"]) == (200, IMAGE.manifest.content, '110 - "Response is Stale"')
    assert all(serve.blob("team/app", blob.digest) == blob.content for blob in IMAGE.blobs)
    for path in (MANIFEST + "v2", f"/v2/team/app/blobs/{NEWER.layers[0].digest}"):
        status, _, body = serve.request("GET", path)
        assert status == 503
        assert "offline" in message(body)
    assert way.passed == []
    assert pulls(serve) == {"state": "offline", "reason": "cache.offline is set.", "quota": None}
    assert "pulls don't ask it: cache.offline is set." in serve.run("status").stdout
    assert serve.metrics()["yarddesk_upstream_pulls_up"].value(upstream="central") == 0
    serve.configure(settings(way))
    until(lambda: get(serve, "v2")[0] == 200, 30, "it's online again")
    assert pulls(serve)["state"] == "ok"
    assert serve.holds("team/app", "v1", NEWER)


def test_tags_have_lifetimes_by_pattern_and_an_old_one_costs_one_head(
    make_yarddesk: Make, way: FaultProxy, docker_registry: DockerRegistry
) -> None:
    serve = make_yarddesk(config=settings(way, ttl='{"v*": 1h, "*": 0}'))
    docker_registry.push("team/app", "latest", IMAGE)
    for tag in ("v1", "latest"):
        assert serve.holds("team/app", tag, IMAGE)
    for tag, steps in (("v1", []), ("latest", [Step.TAG_HEAD])):
        for method in ("GET", "HEAD"):
            way.passed.clear()
            assert get(serve, tag, method)[0] == 200
            assert [each.step for each in way.passed] == steps
    docker_registry.push("team/app", "v1", NEWER)
    docker_registry.push("team/app", "latest", NEWER)
    assert serve.holds("team/app", "v1", IMAGE)
    assert serve.holds("team/app", "latest", NEWER)


def test_a_silent_upstream_costs_one_wait_and_is_asked_again_once_it_answers(
    make_yarddesk: Make, way: FaultProxy
) -> None:
    serve = make_yarddesk(config=settings(way, check_timeout="3s"))
    assert serve.holds("team/app", "v1", IMAGE)
    for step in (Step.TAG_HEAD, Step.TAG_GET, Step.PING):
        way.inject(step, Stall("answer"), times=float("inf"))
    asked = len([each for each in way.passed if each.step is Step.TAG_HEAD])
    began = time.monotonic()
    for _ in range(30):
        status, headers, body = get(serve)
        assert (status, body, headers["Warning"]) == (200, IMAGE.manifest.content, '110 - "Response is Stale"')
    took = time.monotonic() - began
    assert took < 45, f"thirty waits of three seconds: {took}"
    status, headers, body = get(serve, "v2")
    assert (status, 0 < int(headers["Retry-After"]) <= 30) == (503, True)
    assert "central" in message(body)
    assert len([each for each in way.passed if each.step is Step.TAG_HEAD]) <= asked + 1
    assert pulls(serve)["state"] == "away"
    assert "central" in serve.run("status").stdout
    way.heal()
    way.go_away()
    way.come_back()
    until(lambda: pulls(serve)["state"] == "ok", 60, "a probe finds it, without any pull")
    assert "Warning" not in get(serve)[1]


def test_an_upstream_that_asks_to_wait_is_not_asked_until_then(make_yarddesk: Make, way: FaultProxy) -> None:
    serve = make_yarddesk(config=settings(way))
    busy = way.inject(Step.TAG_GET, Status(429, retry_after="5"), times=float("inf"))
    began = time.monotonic()
    for _ in range(10):
        status, headers, body = get(serve)
        assert (status, 0 < int(headers["Retry-After"]) <= 5) == (429, True)
        assert "central" in message(body)
    assert busy.hits <= 1 + (time.monotonic() - began) / 5
    assert pulls(serve)["state"] == "waits"
    way.heal()
    until(lambda: get(serve)[0] == 200, 30, "it's asked again when that time is over")


def test_what_an_upstream_said_of_itself_outlives_other_settings(
    make_yarddesk: Make, make_registry: Callable[..., DockerRegistry]
) -> None:
    left = {"ratelimit-limit": ["100;w=21600"], "ratelimit-remaining": ["76;w=21600"]}
    hub = make_registry(settings={"http": {"headers": left}})
    hub.push("team/app", "v1", IMAGE)
    with FaultProxy(hub.host) as way:
        serve = make_yarddesk(config=settings(way))
        assert serve.holds("team/app", "v1", IMAGE)
        busy = way.inject(Step.TAG_GET, Status(429, retry_after="3600"), times=float("inf"))
        assert get(serve, "v2")[0] == 429
        known = pulls(serve)
        assert (known["state"], known["quota"]) == ("waits", {"limit": 100, "remaining": 76, "window_seconds": 21600})
        serve.configure(settings(way, check_timeout="20s"))
        serve.wait_for_line("other settings are in force")
        assert pulls(serve) == known
        assert get(serve, "v3")[0] == 429
        assert busy.hits == 1


def test_what_the_upstream_does_not_have_is_asked_for_once_in_some_seconds(
    make_yarddesk: Make, way: FaultProxy, docker_registry: DockerRegistry
) -> None:
    serve = make_yarddesk(config=settings(way))
    for _ in range(10):
        assert get(serve, "missing")[0] == 404
    assert len([each for each in way.passed if each.path.endswith("/missing")]) <= 5
    docker_registry.push("team/app", "missing", IMAGE)
    until(lambda: get(serve, "missing")[0] == 200, 30, "it's found once it's there")


def test_the_next_upstream_serves_while_the_first_is_gone_and_both_together_what_breaks_off(
    make_yarddesk: Make, make_registry: Callable[..., DockerRegistry], way: FaultProxy, docker_registry: DockerRegistry
) -> None:
    large = build_image("large", (8_000_000,))
    second = make_registry()
    for registry in (docker_registry, second):
        registry.push("team/app", "large", large)
    second.push("team/app", "second", NEWER)
    more = f'  - name: second\n    registry: {second.host}\n    path: ""\n    tls: {{plain_http: true}}\n'
    serve = make_yarddesk(config=settings(way) + more)
    way.inject(Step.BLOB_GET, Status(503), at=2, times=float("inf"))
    assert serve.holds("team/app", "large", large)
    assert serve.holds("team/app", "second", NEWER)
    docker_registry.stop()
    assert serve.manifest("team/app", "second") == NEWER.manifest


def test_a_private_multi_platform_image_with_its_signature_comes_through_and_stays_without_the_upstream(
    make_yarddesk: Make, make_registry: Callable[..., DockerRegistry], token_server: TokenServer, tmp_path: Path
) -> None:
    index = build_index("private")
    signature = cosign_referrer(index.manifest)
    open_to_all = make_registry(folder=tmp_path / "private")
    open_to_all.push("team/app", "v1", index)
    open_to_all.push("team/app", "signature", signature)
    open_to_all.push("team/app", referrers_tag(Digest.parse(index.manifest.digest)), referrers_list(signature))
    open_to_all.stop()
    registry = make_registry(folder=tmp_path / "private", token=token_server.auth)
    login = "    auth: {type: basic, username: ci, password: '${UPSTREAM_PASSWORD}'}\n"
    config = f"upstreams:\n  - registry: {registry.host}\n    tls: {{plain_http: true}}\n{login}"
    serve = make_yarddesk(config=config, environment={"UPSTREAM_PASSWORD": "secret of ci"})
    wanted, other = index.images

    def pull() -> None:
        assert serve.manifest("team/app", "v1") == index.manifest
        assert serve.manifest("team/app", wanted.manifest.digest) == wanted.manifest
        assert all(serve.blob("team/app", blob.digest) == blob.content for blob in wanted.blobs)
        status, _, body = serve.request("GET", f"/v2/team/app/referrers/{index.manifest.digest}")
        assert (status, [each["digest"] for each in json.loads(body)["manifests"]]) == (
            200,
            [signature.manifest.digest],
        )
        assert serve.manifest("team/app", signature.manifest.digest) == signature.manifest
        assert all(serve.blob("team/app", blob.digest) == blob.content for blob in signature.blobs)

    pull()
    read = [seen.path for seen in registry.seen("GET")]
    assert not [path for path in read for blob in (*other.layers, other.manifest) if blob.digest in path]
    registry.stop()
    pull()
    serve.restart()
    pull()
