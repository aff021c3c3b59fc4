"""The meter of pulls: what Docker Hub tells with each answer, counted on between them, and nothing from other headers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.support.clocks import HandClock
from tests.support.images import build_image
from tests.support.scripted import Asked, Reply, scripted
from tests.support.upstreams import GivenCredentials, opened_routes, settings_for
from yarddesk.content.upstream import Quota, Upstream
from yarddesk.oci.digest import Digest
from yarddesk.oci.name import RepositoryName, Tag
from yarddesk.settings.model import AuthSettings, AuthType
from yarddesk.upstream.quota import QuotaMeter
from yarddesk.upstream.routes import UpstreamRoutes

APP = RepositoryName.parse("team/app")
V1 = Tag.parse("v1")
IMAGE = build_image("counted")
MANIFEST = {"Content-Type": IMAGE.manifest.media_type, "Docker-Content-Digest": IMAGE.manifest.digest}
HUB = {"ratelimit-limit": "100;w=21600", "ratelimit-remaining": "76;w=21600"}


def manifest(headers: dict[str, str]) -> Reply:
    return Reply(200, MANIFEST | headers, IMAGE.manifest.content)


def meter(clock: HandClock, headers: dict[str, str]) -> QuotaMeter:
    made = QuotaMeter(clock.monotonic)
    made.heard(headers)
    return made


def test_docker_hubs_headers_are_read_and_end_with_their_window() -> None:
    clock = HandClock()
    made = meter(clock, HUB)
    assert made.left == Quota(100, 76, 21600)
    clock.advance(21599)
    assert made.left is not None
    clock.advance(1)
    assert made.left is None


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"ratelimit-limit": "100;w=21600"},
        {"ratelimit-remaining": "76;w=21600"},
        {"ratelimit-limit": "2000", "ratelimit-remaining": "1999", "ratelimit-reset": "1700000000"},  # GitLab's
        {"ratelimit-limit": "100, 100;w=60", "ratelimit-remaining": "99"},
        {"ratelimit-limit": "100;w=60", "ratelimit-remaining": "99;w=3600"},
        {"ratelimit-limit": "x;w=60", "ratelimit-remaining": "-1;w=60"},
        {"x-ratelimit-limit": "60", "x-ratelimit-remaining": "59"},
    ],
)
def test_headers_of_another_form_say_nothing(headers: dict[str, str]) -> None:
    assert meter(HandClock(), headers).left is None


def test_a_pull_whose_answer_says_nothing_is_counted() -> None:
    made = meter(HandClock(), HUB)
    made.pulled({})
    made.pulled({"ratelimit-remaining": "75;w=21600"})
    assert made.left == Quota(100, 75, 21600)
    made.heard(HUB | {"ratelimit-remaining": "0;w=21600"})
    made.pulled({})
    assert made.left == Quota(100, 0, 21600)
    made.forget()
    assert made.left is None


def left(upstream: Upstream) -> Quota | None:
    return upstream.quota


async def test_a_head_tells_the_registrys_own_meter_and_a_get_counts() -> None:
    def script(asked: Asked) -> Reply:
        return manifest(HUB) if asked.method == "HEAD" else manifest({})

    async with scripted(script) as server, opened_routes(server.host) as routes:
        upstream = routes.all()[0]
        assert left(upstream) is None
        await upstream.repository(APP).resolve(V1)
        assert left(upstream) == Quota(100, 76, 21600)
        await upstream.repository(APP).fetch_manifest(V1)
        assert left(upstream) == Quota(100, 75, 21600)
        routes.account_changed(upstream.registry)
        assert left(upstream) is None


async def test_the_meter_outlives_other_settings_as_long_as_it_is_the_same_registry_and_account() -> None:
    async with scripted(lambda _: manifest(HUB)) as server, opened_routes(server.host) as before:
        await before.all()[0].repository(APP).resolve(V1)
        moved = settings_for(server.host, prefix="team", path="there", push=False)
        others = (replace(moved, auth=AuthSettings(AuthType.ANONYMOUS)), replace(moved, name="another"))
        for settings, kept in ((moved, Quota(100, 76, 21600)), *((each, None) for each in others)):
            after = UpstreamRoutes([settings], GivenCredentials())
            after.follow(before)
            assert left(after.all()[0]) == kept
            await after.aclose()


async def test_what_another_host_says_is_not_the_registrys_meter() -> None:
    async with scripted(lambda _: manifest(HUB), host="127.0.0.2") as elsewhere:
        redirect = Reply(307, {"Location": f"http://{elsewhere.host}/manifest"})
        async with scripted(lambda _: redirect) as server, opened_routes(server.host) as routes:
            upstream = routes.all()[0]
            found = await upstream.repository(APP).fetch_manifest(Digest.parse(IMAGE.manifest.digest))
            assert found.digest == IMAGE.manifest.digest
            assert left(upstream) is None
