"""A network's login page in the place of a registry: as good as away, until it's gone; a page from a registry is its trouble."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.support.scripted import RESET, Asked, Reply, ScriptedServer, scripted
from tests.support.upstreams import GivenCredentials, blob, credential, manifest, opened_upstream, source_of
from yarddesk.content.upstream import UpstreamPage, UpstreamPortal
from yarddesk.oci.digest import Digest
from yarddesk.oci.media_types import OCI_MANIFEST
from yarddesk.oci.name import Tag
from yarddesk.upstream.target import RegistryRepository

LATEST = Tag.parse("latest")
CANARY = "c4nary of the portal"
PAGE = Reply(200, {"Content-Type": "text/html; charset=utf-8"}, b"<!DOCTYPE html><html>Welcome to the hotel</html>")
NAMELESS = Reply(200, {}, b"\n<html>Welcome to the hotel</html>")
LAYER = b"a layer"
IMAGE = b'{"schemaVersion":2}'


async def read(repository: RegistryRepository) -> object:
    async with repository.fetch(blob(LAYER)) as pieces:
        return [piece async for piece in pieces]


OPERATIONS: dict[str, Callable[[RegistryRepository], Any]] = {
    "ask for a tag": lambda repository: repository.resolve(LATEST),
    "read a manifest": lambda repository: repository.fetch_manifest(LATEST),
    "ask for a blob": lambda repository: repository.exists(blob(LAYER)),
    "probe a blob": lambda repository: repository.is_readable(blob(LAYER)),
    "read a blob": read,
    "send a blob": lambda repository: repository.push(blob(LAYER), source_of(LAYER)),
    "send a manifest": lambda repository: repository.push(manifest(IMAGE), source_of(IMAGE)),
    "list tags": lambda repository: repository.tags(),
}
WITHOUT_WORDS = [OPERATIONS[name] for name in ("ask for a tag", "ask for a blob", "probe a blob", "read a blob")]
"""What a HEAD, or the first byte of a blob, tells of a page is its type alone."""

EACH = pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)


@asynccontextmanager
async def signed_in(server: ScriptedServer) -> AsyncIterator[RegistryRepository]:
    """With a password that the registry has asked for before."""
    portal, server.script = server.script, lambda asked: FOUND if "authorization" in asked.headers else ASKS
    async with opened_upstream(server.host, GivenCredentials({server.host: credential("ci", CANARY)})) as repository:
        await repository.resolve(LATEST)
        server.script = portal
        server.asked.clear()
        yield repository


ASKS = Reply(401, {"WWW-Authenticate": "Basic realm=x"})
FOUND = Reply(200, {"Content-Type": OCI_MANIFEST, "Docker-Content-Digest": str(Digest.of(IMAGE))}, IMAGE)


@EACH
@pytest.mark.parametrize("page", [PAGE, NAMELESS, Reply(511)], ids=["page", "page without a type", "511"])
async def test_a_page_whatever_is_asked(operation: Callable[[RegistryRepository], Any], page: Reply) -> None:
    if page is NAMELESS and operation in WITHOUT_WORDS:
        page = PAGE
    async with scripted(lambda _: page) as server, signed_in(server) as repository:
        with pytest.raises(UpstreamPortal) as caught:
            await operation(repository)
        assert caught.value.title == f"A login page answers in the place of {server.host}."
        assert caught.value.temporary
        assert "browser" in caught.value.hint
        base = [asked for asked in server.asked if asked.path == "/v2/"]
        assert not any("authorization" in asked.headers for asked in base)


@EACH
@pytest.mark.parametrize("status", [302, 303, 307])
async def test_a_redirect_to_a_login_page(operation: Callable[[RegistryRepository], Any], status: int) -> None:
    async with scripted(lambda _: PAGE) as portal:
        to = Reply(status, {"Location": f"http://{portal.host}/login"})
        async with scripted(lambda _: to) as server, signed_in(server) as repository:
            with pytest.raises(UpstreamPortal) as caught:
                await operation(repository)
            assert portal.host in caught.value.message
        assert not any("authorization" in asked.headers for asked in portal.asked)
        assert all(asked.method in ("GET", "HEAD") for asked in portal.asked)


@pytest.mark.parametrize("to", ["http://169.254.7.7/login", "https://[", ""])
async def test_a_redirect_to_where_nobody_follows(to: str) -> None:
    def script(asked: Asked) -> Reply:
        return Reply(302, {"Location": to}) if asked.path == "/v2/" else PAGE

    async with scripted(script) as server, opened_upstream(server.host) as repository:
        with pytest.raises(UpstreamPortal):
            await repository.resolve(LATEST)


async def test_redirects_without_an_end() -> None:
    async with (
        scripted(lambda asked: Reply(302, {"Location": f"{asked.path}x"})) as server,
        opened_upstream(server.host) as repository,
    ):
        with pytest.raises(UpstreamPortal):
            await repository.resolve(LATEST)


@EACH
@pytest.mark.parametrize(
    "base",
    [Reply(200, {}, b"{}"), ASKS, Reply(307, {"Location": "/elsewhere/v2/"}), Reply(503), RESET],
    ids=["open", "asks who is there", "moved", "in trouble", "breaks"],
)
async def test_a_page_from_a_registry_is_its_trouble(
    operation: Callable[[RegistryRepository], Any], base: Reply
) -> None:
    def script(asked: Asked) -> Reply:
        if asked.path.startswith("/elsewhere"):
            return Reply(200, {}, b"{}")
        return base if asked.path == "/v2/" else PAGE

    async with scripted(script) as server, opened_upstream(server.host) as repository:
        with pytest.raises(UpstreamPage) as caught:
            await operation(repository)
        assert caught.value.title == f"{server.host} does not answer as a registry does."


async def test_a_login_page_in_place_of_the_token_server_too() -> None:
    def script(asked: Asked) -> Reply:
        if "/token" in asked.path or asked.path == "/v2/":
            return PAGE
        return Reply(401, {"WWW-Authenticate": f'Bearer realm="http://{server.host}/token",service="x"'})

    async with scripted(script) as server, opened_upstream(server.host) as repository:
        with pytest.raises(UpstreamPortal):
            await repository.resolve(LATEST)


async def test_what_is_behind_a_login_page_is_out_of_reach_and_each_probe_asks_for_it() -> None:
    async with scripted(lambda _: PAGE) as server, opened_upstream(server.host) as repository:
        for _ in range(10):
            assert not await repository._client.is_reachable()
        assert len(server.asked) == 10, "its end is to be seen within a second"
        server.script = lambda _: ASKS
        assert await repository._client.is_reachable()
