"""Names and routes: the longest prefix of whole components, several upstreams for one prefix, Docker Hub's names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.upstreams import GivenCredentials
from yarddesk.oci.name import InvalidName, RepositoryName
from yarddesk.settings.model import UpstreamSettings
from yarddesk.upstream.routes import UpstreamRoutes

HUB = UpstreamSettings(registry="registry-1.docker.io", name="hub", prefix="docker.io", push=True)


def routes(*upstreams: UpstreamSettings) -> UpstreamRoutes:
    return UpstreamRoutes(upstreams, GivenCredentials())


def upstream(name: str, prefix: str = "", *, registry: str = "registry.example", **more: object) -> UpstreamSettings:
    return UpstreamSettings(registry=registry, name=name, prefix=prefix, **more)  # type: ignore[arg-type]


def name(text: str) -> RepositoryName:
    return RepositoryName.parse(text)


def remote(view: object, text: str) -> str:
    return str(view.repository(name(text))._name)  # type: ignore[attr-defined]  # what the registry is asked for


def names(views: object) -> list[str]:
    return [view.name for view in views]  # type: ignore[attr-defined]


def test_the_longest_prefix_wins_and_is_stripped() -> None:
    table = routes(upstream("all"), upstream("corp", "corp"), upstream("team", "corp/team"))
    (found,) = table.pull_upstreams(name("corp/team/app"))
    assert (found.name, remote(found, "corp/team/app")) == ("team", "app")
    (found,) = table.pull_upstreams(name("corp/other/app"))
    assert (found.name, remote(found, "corp/other/app")) == ("corp", "other/app")
    (found,) = table.pull_upstreams(name("app"))
    assert (found.name, remote(found, "app")) == ("all", "app")


def test_a_prefix_matches_whole_components_and_leaves_a_name() -> None:
    table = routes(upstream("corp", "corp"))
    assert not table.pull_upstreams(name("corporate/app"))
    assert not table.pull_upstreams(name("corp"))


def test_upstreams_with_one_prefix_come_in_the_order_written() -> None:
    table = routes(upstream("b", "x"), upstream("c"), upstream("a", "x"))
    assert names(table.pull_upstreams(name("x/app"))) == ["b", "a"]


def test_push_and_pull_are_told_apart() -> None:
    table = routes(upstream("reads", "x"), upstream("writes", "x", push=True, pull=False))
    assert names(table.pull_upstreams(name("x/app"))) == ["reads"]
    assert names(table.push_upstreams(name("x/app"))) == ["writes"]


def test_path_is_put_before() -> None:
    table = routes(upstream("corp", "corp", path="mirror/eu"))
    (found,) = table.pull_upstreams(name("corp/app"))
    assert remote(found, "corp/app") == "mirror/eu/app"


def test_a_name_that_is_too_long_with_its_path_leads_nowhere() -> None:
    table = routes(upstream("corp", path="p" * 100))
    assert not table.pull_upstreams(name("a" * 200))
    with pytest.raises(InvalidName):
        table.all()[0].repository(name("a" * 200))


@pytest.mark.parametrize("registry", ["docker.io", "index.docker.io", "registry-1.docker.io", "Docker.io"])
def test_both_spellings_of_a_docker_hub_name_are_one_repository(registry: str) -> None:
    table = routes(upstream("hub", "mirror", registry=registry))
    assert table.canonical(name("mirror/nginx")) == "mirror/library/nginx"
    assert table.canonical(name("mirror/library/nginx")) == "mirror/library/nginx"
    assert table.canonical(name("mirror/team/app")) == "mirror/team/app"
    (found,) = table.pull_upstreams(name("mirror/nginx"))
    assert remote(found, "mirror/nginx") == "library/nginx"


def test_under_the_empty_prefix_docker_hub_has_library_for_pulls_alone() -> None:
    table = routes(upstream("hub", registry="docker.io", push=True))
    assert table.canonical(name("nginx")) == "nginx"
    (pulls,) = table.pull_upstreams(name("nginx"))
    (pushes,) = table.push_upstreams(name("nginx"))
    assert remote(pulls, "nginx") == "library/nginx"
    assert remote(pushes, "nginx") == "nginx"


def test_other_registries_names_stay_as_they_are() -> None:
    table = routes(upstream("ghcr", "ghcr.io", registry="ghcr.io"))
    assert table.canonical(name("ghcr.io/app")) == "ghcr.io/app"


def test_with_a_path_docker_hub_gets_no_library() -> None:
    table = routes(upstream("hub", "hub", registry="docker.io", path="team"))
    assert table.canonical(name("hub/app")) == "hub/app"
    (found,) = table.pull_upstreams(name("hub/app"))
    assert remote(found, "hub/app") == "team/app"


def test_docker_hub_is_known_by_its_short_name() -> None:
    (hub,) = routes(HUB).all()
    assert hub.registry == "docker.io"


def test_a_namespace_is_a_prefix_or_a_registry_and_nothing_else() -> None:
    table = routes(
        HUB, upstream("corp", "corp", registry="registry.corp:5000"), upstream("all", registry="all.example")
    )
    assert table.prefix_of("docker.io") == "docker.io"
    assert table.prefix_of("registry-1.docker.io") == "docker.io"
    assert table.prefix_of("registry.corp:5000") == "corp"
    assert table.prefix_of("corp") == "corp"
    assert table.prefix_of("registry.corp") is None
    assert table.prefix_of("all.example") is None


def test_upstreams_are_found_by_name() -> None:
    table = routes(HUB, upstream("corp", "corp"))
    found = table.upstream("corp")
    assert found is not None
    assert found.registry == "registry.example"
    assert table.upstream("nobody") is None


COMPONENT = st.from_regex(r"[a-z0-9]{1,4}", fullmatch=True)
PATH = st.lists(COMPONENT, min_size=1, max_size=4).map("/".join)


@given(prefixes=st.sets(st.one_of(st.just(""), PATH), max_size=6), repository=PATH)
def test_whatever_matches_is_the_longest_prefix_there_is(prefixes: set[str], repository: str) -> None:
    table = routes(*(upstream(f"to {prefix}", prefix) for prefix in sorted(prefixes)))
    fitting = [prefix for prefix in prefixes if not prefix or f"{repository}".startswith(f"{prefix}/")]
    found = table.pull_upstreams(name(repository))
    if not fitting:
        assert not found
        return
    best = max(fitting, key=len)
    assert names(found) == [f"to {best}"]
    assert "/".join(part for part in (best, remote(found[0], repository)) if part) == repository


@given(repository=PATH)
def test_canonical_names_stay_what_they_are(repository: str) -> None:
    table = routes(HUB, upstream("all", registry="docker.io"))
    once = table.canonical(name(repository))
    assert table.canonical(once) == once


def test_a_place_is_the_registrys_one_name_and_the_repositorys_name_there() -> None:
    table = routes(upstream("corp", "corp", registry="Registry.Example:443", path="team", push=True), HUB)
    (corp,) = table.push_upstreams(name("corp/app"))
    assert corp.place_of(name("corp/app")) == "registry.example/team/app"
    (hub,) = table.push_upstreams(name("docker.io/library/nginx"))
    assert hub.place_of(name("docker.io/nginx")) == "docker.io/library/nginx"
    with pytest.raises(InvalidName):
        hub.place_of(name("elsewhere/nginx"))


def test_an_image_by_its_name_elsewhere_is_a_repository_of_ours_where_it_can_be_pulled() -> None:
    table = routes(
        upstream("central", registry="registry.corp:5000", path="mirror"),
        HUB,
        upstream("github", "gh", registry="ghcr.io"),
        upstream("sink", "sink", registry="quay.io", pull=False, push=True),
    )
    assert table.repository_of("docker.io", name("nginx")) == "docker.io/library/nginx"
    assert table.repository_of("index.docker.io", name("org/app")) == "docker.io/org/app"
    assert table.repository_of("GHCR.io", name("org/app")) == "gh/org/app"
    assert table.repository_of("gh", name("org/app")) == "gh/org/app"
    assert table.repository_of("registry.corp:5000", name("mirror/team/app")) == "team/app"
    assert table.repository_of("registry.corp:5000", name("elsewhere/app")) is None
    assert table.repository_of("registry.corp:5000", name("mirror/gh/app")) is None, "its name here leads elsewhere"
    assert table.repository_of("quay.io", name("org/app")) is None
    assert table.repository_of("registry.corp", name("mirror/app")) is None
