"""What an image that a person or a compose file names is called here: as engines would ask this registry for it."""

from __future__ import annotations

import pytest

from tests.support.upstreams import GivenCredentials
from yarddesk.errors import YarddeskError
from yarddesk.oci.image_text import ImageText
from yarddesk.service.pulls import Names
from yarddesk.settings.model import ServerSettings, UpstreamSettings
from yarddesk.settings.upstreams import upstream_from_url
from yarddesk.upstream.routes import UpstreamRoutes

HUB = UpstreamSettings(registry="registry-1.docker.io", name="hub", prefix="docker.io")
IN_ITS_PLACE = UpstreamSettings(registry="mirror.corp", name="mirror", prefix="docker.io")
EVERYTHING = UpstreamSettings(registry="mirror.corp", name="everything")


def names(text: str, upstream: UpstreamSettings, *, foreign: bool) -> list[str]:
    routes = UpstreamRoutes([upstream], GivenCredentials())
    return list(Names(routes, ServerSettings(), foreign=foreign).of(ImageText.parse(text)))


@pytest.mark.parametrize("upstream", [HUB, IN_ITS_PLACE], ids=["Docker Hub", "another registry"])
@pytest.mark.parametrize("text", ["nginx", "docker.io/nginx:1.27", "index.docker.io/nginx", "docker.io/library/nginx"])
@pytest.mark.parametrize("foreign", [True, False])
def test_an_official_image_has_both_parts_of_its_name_whoever_stands_for_docker_hub(
    upstream: UpstreamSettings, text: str, *, foreign: bool
) -> None:
    assert names(text, upstream, foreign=foreign)[0] == "docker.io/library/nginx"


def test_other_names_stay_as_they_are() -> None:
    assert names("org/app", IN_ITS_PLACE, foreign=True)[0] == "docker.io/org/app"
    assert names("team", EVERYTHING, foreign=False) == ["team"]


@pytest.mark.parametrize("registry", ["quay.io", "registry.corp:5000", "GHCR.io"])
def test_who_adds_the_upstream_as_the_error_says_can_pull_then(registry: str) -> None:
    text = f"{registry}/team/app"
    with pytest.raises(YarddeskError) as refused:
        names(text, HUB, foreign=False)
    _, _, command = refused.value.hint.partition("yarddesk upstream add ")
    url, option, prefix, *rest = command.split()
    assert (option, rest) == ("--prefix", ["--no-push"])
    assert names(text, upstream_from_url(url, prefix=prefix), foreign=False) == [f"{prefix}/team/app"]
