"""Whole syncs over HTTP/2, as the worker does them, to a real docker-registry behind a server that gives up and goes away."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from h2.errors import ErrorCodes

from tests.integration.faulty import build_case, faulty_yard
from tests.peers.registry import DockerRegistry
from tests.support.scripted import Asked, Reply, ScriptedServer
from tests.support.scripted_http2 import Action, GivesUp, GoesAway, Http2Server, both_protocols, server_context
from tests.support.upstreams import GivenCredentials, opened_upstream
from yarddesk.oci.name import Tag
from yarddesk.settings.model import TlsSettings
from yarddesk.sync.states import JobState

PASSED_ON = ("accept", "range", "content-type", "content-range", "content-length")


@contextlib.asynccontextmanager
async def front_of(registry: DockerRegistry, folder: Path) -> AsyncIterator[tuple[Http2Server, ScriptedServer, Path]]:
    """A TLS server of both protocols before a registry."""
    context, authority = server_context(folder, "h2", "http/1.1")
    async with httpx.AsyncClient(trust_env=False) as client:

        async def pass_on(asked: Asked) -> Reply:
            headers = {name: asked.headers[name] for name in PASSED_ON if name in asked.headers}
            headers |= {"Host": server.host, "X-Forwarded-Proto": "https"}
            answer = await client.request(
                asked.method, f"{registry.url}{asked.path}", headers=headers, content=asked.body
            )
            said = {name: value for name, value in answer.headers.items() if name != "transfer-encoding"}
            return Reply(answer.status_code, said, answer.content)

        async with both_protocols(pass_on, context) as (server, other):
            yield server, other, authority


@pytest.mark.parametrize(
    "end",
    [GoesAway(), GoesAway(seen=False), GivesUp(), GivesUp(ErrorCodes.REFUSED_STREAM)],
    ids=["goes away", "goes away before it looked", "gives up", "refuses"],
)
async def test_a_sync_goes_on_through_every_end(tmp_path: Path, docker_registry: DockerRegistry, end: Action) -> None:
    image = build_case("over http2")
    async with front_of(docker_registry, tmp_path) as (server, other, authority):
        pass_on, tls = server.script, TlsSettings(ca_file=str(authority))
        # Each question meets one end, and is asked once more.
        met: set[tuple[str, str]] = set()

        async def script(asked: Asked) -> Action:
            question = (asked.method, asked.path)
            if question not in met:
                met.add(question)
                return end
            answer = pass_on(asked)
            assert not isinstance(answer, Reply | GivesUp | GoesAway)
            return await answer

        server.script = script
        async with faulty_yard(tmp_path / "data", server.host, tls=tls) as yard:
            await yard.push(image, "team/app")
            await yard.arrived()
            assert [(entry.outcome, entry.tries) for entry in yard.outcomes()] == [(JobState.DONE, 1)]
        assert docker_registry.holds("team/app", "v1", image)
        assert {asked.path.split("/")[-2] for asked in server.asked if asked.method != "HEAD"} == {"manifests"}
        assert {asked.path.split("/")[4] for asked in other.asked} == {"blobs"}
        async with opened_upstream(server.host, GivenCredentials(), tls=tls) as repository:
            found = await repository.fetch_manifest(Tag.parse("v1"))
            assert found.content == image.manifest.content
        assert {asked.method for asked in server.asked} == {"HEAD", "GET", "PUT"}
