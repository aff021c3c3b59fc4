"""How a registry takes us, found out by nothing but its base and a sign-in."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests.support.scripted import Asked, Reply, ScriptedServer, scripted
from tests.support.upstreams import credential, settings_for
from yarddesk.content.upstream import Quota, UpstreamTimeout
from yarddesk.upstream.check import OneCredential, Standing, standing

NOBODY = OneCredential(None)
CI = OneCredential(credential("ci", "secret of ci"))
QUOTA = {"ratelimit-limit": "100;w=21600", "ratelimit-remaining": "76;w=21600"}


class TokenRegistry:
    """A registry and its token server in one; everybody gets a token, or those alone who say who they are."""

    def __init__(self, *, anonymous: bool) -> None:
        self.anonymous = anonymous
        self.realm = ""

    def __call__(self, asked: Asked) -> Reply:
        if asked.path.startswith("/token"):
            if not self.anonymous and "authorization" not in asked.headers:
                return Reply(401, {}, b"")
            return Reply(200, {"Content-Type": "application/json"}, json.dumps({"token": "a token"}).encode())
        if asked.headers.get("authorization") == "Bearer a token":
            return Reply(200, QUOTA, b"{}")
        return Reply(401, {"WWW-Authenticate": f'Bearer realm="{self.realm}/token",service="corp"'})


async def test_one_that_asks_nobody_says_how_many_pulls_are_left() -> None:
    async with scripted(lambda _: Reply(200, QUOTA, b"{}")) as server:
        assert await standing(settings_for(server.host), CI, 10) == Standing("", None, Quota(100, 76, 21600))
        assert {(each.method, each.path) for each in server.asked} == {("GET", "/v2/")}


@pytest.mark.parametrize(("who", "account"), [(CI, "ci"), (NOBODY, None)])
async def test_by_a_token_server_somebody_or_nobody_is_signed_in(who: OneCredential, account: str | None) -> None:
    registry = TokenRegistry(anonymous=True)
    async with scripted(registry) as server:
        registry.realm = f"http://{server.host}"
        found = await standing(settings_for(server.host), who, 10)
        assert (found.asks_by, found.account, found.denied) == ("bearer", account, None)
        assert _tokens(server) == 1


async def test_who_is_refused_a_token_is_denied_by_a_token_server() -> None:
    registry = TokenRegistry(anonymous=False)
    async with scripted(registry) as server:
        registry.realm = f"http://{server.host}"
        found = await standing(settings_for(server.host), NOBODY, 10)
    assert (found.asks_by, found.account) == ("bearer", None)
    assert found.denied is not None
    assert "asks for a user name and password" in found.denied.title


async def test_one_that_gives_no_answer_is_left_within_the_limit() -> None:
    async def never(_: Asked) -> Reply:
        await asyncio.Event().wait()
        raise AssertionError

    async with scripted(never) as server:
        began = asyncio.get_running_loop().time()
        with pytest.raises(UpstreamTimeout, match="gave no answer"):
            await standing(settings_for(server.host), NOBODY, 0.2)
        assert asyncio.get_running_loop().time() - began < 10


def _tokens(server: ScriptedServer) -> int:
    return len(server.of("GET", "/token"))
