from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Callable

import pytest

from tests.peers.engines import Skopeo
from tests.peers.registry import DockerRegistry, Seen
from tests.peers.token_server import TokenServer
from tests.support.images import build_image, build_index
from tests.support.waiting import until


def test_an_image_pushed_there_is_read_back_byte_for_byte(docker_registry: DockerRegistry) -> None:
    index = build_index("a seed")
    docker_registry.push("team/app", "1", index)
    assert docker_registry.holds("team/app", "1", index)
    assert not docker_registry.holds("team/app", "1", build_image("another seed"))
    assert docker_registry.tags("team/app") == ["1"]


def test_it_comes_back_on_its_port_with_its_content(docker_registry: DockerRegistry) -> None:
    image = build_image("a seed")
    docker_registry.push("team/app", "1", image)
    port = docker_registry.port
    docker_registry.stop()
    with pytest.raises(urllib.error.URLError):
        docker_registry.request("GET", "/v2/")
    docker_registry.start()
    assert docker_registry.port == port
    assert docker_registry.holds("team/app", "1", image)


def test_its_access_log_tells_what_it_was_asked(docker_registry: DockerRegistry) -> None:
    docker_registry.request("HEAD", "/v2/team/app/manifests/1")
    expected = [Seen("HEAD", "/v2/team/app/manifests/1", 404)]
    assert until(lambda: docker_registry.seen("HEAD", "manifests")) == expected


def test_basic_authentication_lets_in_whom_it_knows(make_registry: Callable[..., DockerRegistry]) -> None:
    registry = make_registry(users={"ci": "secret"})
    assert registry.request("GET", "/v2/")[0] == 200
    with pytest.raises(urllib.error.HTTPError) as refusal:
        urllib.request.urlopen(f"{registry.url}/v2/")
    with refusal.value as answer:
        assert answer.code == 401
        assert answer.headers["WWW-Authenticate"].startswith("Basic ")


def test_the_token_dance_lets_in_whom_the_token_server_knows(
    make_registry: Callable[..., DockerRegistry], token_server: TokenServer, skopeo_sign_in: Callable[[str, str], bool]
) -> None:
    registry = make_registry(token=token_server.auth)
    status, headers, _ = registry.request("GET", "/v2/")
    assert status == 401
    assert f'realm="{token_server.realm}"' in headers["Www-Authenticate"]
    assert skopeo_sign_in(registry.host, "secret of ci")
    assert not skopeo_sign_in(registry.host, "wrong")
    assert [request.granted for request in token_server.requests] == [True, False]


@pytest.fixture
def skopeo_sign_in(skopeo: Skopeo) -> Callable[[str, str], bool]:
    """Whether `ci` can sign in to a registry with a password."""

    def sign_in(host: str, password: str) -> bool:
        arguments = ["login", "--tls-verify=false", "--username=ci", "--password-stdin", host]
        return skopeo.run(*arguments, input_text=password, status=None).returncode == 0

    return sign_in
