"""The light question whether a registry can be reached."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.support.ports import held_port
from tests.support.scripted import RESET, Asked, Reply, ScriptedServer
from tests.support.upstreams import GivenCredentials, credential, settings_for
from yarddesk.upstream.client import RegistryClient
from yarddesk.upstream.proxies import Proxies


@asynccontextmanager
async def client_for(host: str, **options: object) -> AsyncIterator[RegistryClient]:
    proxies = options.pop("proxies", Proxies({}))
    store = GivenCredentials({host: credential("ci", "c4nary of the probe")})
    client = RegistryClient(settings_for(host, **options), store, proxies=proxies)  # type: ignore[arg-type]
    try:
        yield client
    finally:
        await client.aclose()


@pytest.mark.parametrize("reply", [Reply(200), Reply(401), Reply(503), Reply(404, body=b"<html>"), RESET])
async def test_whoever_answers_is_there_whatever_they_say_and_gets_no_credentials(reply: Reply) -> None:
    async with ScriptedServer(lambda _: reply) as server, client_for(server.host) as client:
        for _ in range(3):
            assert await client.is_reachable()
        assert {(asked.method, asked.path) for asked in server.asked} == {("GET", "/v2/")}
        assert not any("authorization" in asked.headers for asked in server.asked)


async def test_a_port_where_nobody_listens_is_out_of_reach_until_somebody_does() -> None:
    with held_port() as port:
        async with client_for(f"127.0.0.1:{port}") as client:
            began = time.process_time()
            for _ in range(100):
                assert not await client.is_reachable()
            assert (time.process_time() - began) / 100 < 0.005, "twice a second it must cost next to nothing"
            server = await asyncio.start_server(_answer, "127.0.0.1", port)
            async with server:
                assert await client.is_reachable()


@pytest.mark.parametrize("host", ["nobody.invalid", f"{'a' * 70}.invalid"])
async def test_a_name_that_is_not_found_is_out_of_reach(host: str) -> None:
    async with client_for(host) as client:
        assert not await client.is_reachable()


async def test_who_takes_connections_without_a_word_is_out_of_reach_and_is_not_asked_all_the_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("yarddesk.upstream.reach._ANSWER_SECONDS", 0.2)
    async with ScriptedServer(lambda _: None) as server, client_for(server.host) as client:
        for _ in range(10):
            assert not await client.is_reachable()
        assert len(server.asked) < 5


async def test_a_registry_behind_a_proxy_is_asked_for_through_it() -> None:
    answers = [Reply(502)]

    def script(asked: Asked) -> Reply:
        assert asked.path == "http://registry.corp.example/v2/"
        return answers[0]

    async with ScriptedServer(script) as proxy:
        ways = Proxies({"http": f"http://{proxy.host}"})
        async with client_for("registry.corp.example", proxies=ways) as client:
            assert await client.is_reachable(), "a proxy for plain HTTP answers for it"
    async with client_for("registry.corp.example", proxies=ways) as client:
        assert not await client.is_reachable(), "with the proxy gone nothing can be reached"


async def test_a_proxy_that_is_there_does_not_make_a_registry_reachable_that_is_gone() -> None:
    async with ScriptedServer(lambda _: Reply(502)) as proxy:
        ways = Proxies({"https": f"http://{proxy.host}"})
        async with client_for("registry.corp.example", proxies=ways, plain_http=False) as client:
            assert not await client.is_reachable()
        assert [asked.method for asked in proxy.asked] == ["CONNECT"]


async def test_one_who_speaks_no_tls_is_out_of_reach_and_left_alone_for_a_while() -> None:
    async with ScriptedServer(lambda _: Reply(200)) as server, client_for(server.host, plain_http=False) as client:
        for _ in range(20):
            assert not await client.is_reachable()
        assert not server.asked
        assert server.connections <= 20 + 5, "a connection each, and few tries to speak TLS"


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
    await writer.drain()
    writer.close()
