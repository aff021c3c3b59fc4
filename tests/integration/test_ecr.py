"""Repositories of ECR that a push needs: made through AWS's API, with the keys that AWS's tools would use."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.integration.faulty import FaultyYard, build_case, faulty_yard
from tests.peers.aws import ACCOUNT, REGION, AwsServer, Keys
from tests.peers.fake_registry import FakeRegistry
from tests.support.upstreams import blob, settings_for, source_of
from tests.support.waiting import until_async
from yarddesk.credentials.aws import AwsConfiguration
from yarddesk.oci.name import RepositoryName
from yarddesk.service.accounts import Accounts
from yarddesk.service.routes import make_routes
from yarddesk.settings.model import Settings
from yarddesk.sync.states import JobState
from yarddesk.upstream.profiles import profile_for

NAME = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com"


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AwsServer]:
    server = AwsServer(tmp_path_factory.mktemp("aws"))
    server.start()
    yield server
    server.stop()


@asynccontextmanager
async def ecr(aws: AwsServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FakeRegistry]:
    """A registry of ECR's kind under a name of ECR's; it has the repositories that the API made."""
    look_up = socket.getaddrinfo

    def looked_up(host: Any, *rest: Any, **more: Any) -> Any:
        return look_up("127.0.0.1" if host in (NAME, NAME.encode()) else host, *rest, **more)

    async with FakeRegistry(profile_for(NAME)).listening() as registry:
        monkeypatch.setattr(socket, "getaddrinfo", looked_up)
        registry.host = f"{NAME}:{registry.host.rpartition(':')[2]}"
        registry.made_elsewhere = lambda: {name.removeprefix(f"{ACCOUNT}/") for name in aws.repositories()}
        yield registry


@asynccontextmanager
async def yard_before(
    folder: Path, registry: FakeRegistry, aws: AwsServer, keys: Keys | None, *, asked: bool = True
) -> AsyncIterator[FaultyYard]:
    environ = {"PATH": str(folder), "AWS_ENDPOINT_URL_ECR": aws.url}
    if keys is not None:
        environ |= {"AWS_ACCESS_KEY_ID": keys.access_key, "AWS_SECRET_ACCESS_KEY": keys.secret_key}
    account = AwsConfiguration(environ, folder)
    async with faulty_yard(folder / "data", registry.host, aws=account, create_repository=asked, path="synced") as yard:
        yield yard


async def test_a_repository_is_made_on_request(tmp_path: Path, aws: AwsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = aws.user("maker", "ecr:CreateRepository")
    image = build_case("made")
    async with ecr(aws, monkeypatch) as registry, yard_before(tmp_path, registry, aws, keys) as yard:
        await yard.push(image, "team/made")
        await yard.arrived()
        assert f"{ACCOUNT}/synced/team/made" in aws.repositories()
        assert registry.repositories["synced/team/made"].tags == {"v1": image.manifest.digest}
        assert {each.digest: each.content for each in image.blobs}.items() <= registry.content.items()
        assert [(entry.outcome, entry.tries) for entry in yard.outcomes()] == [(JobState.DONE, 1)]


async def test_the_programs_own_routes_make_it_too(
    tmp_path: Path, aws: AwsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = aws.user("routes", "ecr:CreateRepository")
    monkeypatch.setenv("AWS_ENDPOINT_URL_ECR", aws.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", keys.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", keys.secret_key)
    async with ecr(aws, monkeypatch) as registry, Accounts() as accounts:
        upstream = settings_for(registry.host, create_repository=True)
        routes = make_routes(Settings(data_dir=tmp_path, upstreams=(upstream,)), accounts)
        try:
            [corp] = routes.push_upstreams(RepositoryName.parse("team/routes"))
            await corp.repository(RepositoryName.parse("team/routes")).push(blob(b"a layer"), source_of(b"a layer"))
        finally:
            await routes.aclose()
        assert f"{ACCOUNT}/team/routes" in aws.repositories()
        assert registry.content == {blob(b"a layer").digest: b"a layer"}


async def test_nothing_is_made_that_nobody_asked_for(
    tmp_path: Path, aws: AwsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = aws.user("idle", "ecr:CreateRepository")
    async with (
        ecr(aws, monkeypatch) as registry,
        yard_before(tmp_path, registry, aws, keys, asked=False) as yard,
    ):
        await yard.push(build_case("not asked for"), "team/other")
        part = await yard.settled()
        assert part is not None
        assert part.state is JobState.BLOCKED
        assert "create_repository" in part.reason
        assert f"{ACCOUNT}/synced/team/other" not in aws.repositories()


async def test_without_the_right_it_is_said_and_goes_on_once_it_is_there(
    tmp_path: Path, aws: AwsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = aws.user("reader", "ecr:DescribeRepositories")
    image = build_case("no right")
    async with ecr(aws, monkeypatch) as registry, yard_before(tmp_path, registry, aws, keys) as yard:
        await yard.push(image, "team/denied")
        part = await yard.settled()
        assert part is not None
        assert part.state is JobState.BLOCKED
        assert "is not authorized to perform: ecr:CreateRepository" in part.reason
        assert "aws ecr create-repository --region eu-central-1 --repository-name synced/team/denied" in part.reason
        assert keys.secret_key not in part.reason
        assert not part.needs_credentials, "another password for the registry helps nobody"
        aws.allow("reader", "ecr:CreateRepository")
        yard.clock.advance(61)
        await until_async(lambda: not yard.sync.snapshot().jobs, 30, "it goes on by itself")
        assert registry.repositories["synced/team/denied"].tags == {"v1": image.manifest.digest}


@pytest.mark.parametrize("wrong", [None, "unknown", "secret"])
async def test_without_keys_that_are_good_it_is_said_what_to_do(
    tmp_path: Path, aws: AwsServer, monkeypatch: pytest.MonkeyPatch, wrong: str | None
) -> None:
    good = aws.user(f"keyless {wrong}".replace(" ", "-"), "ecr:CreateRepository")
    keys = {None: None, "unknown": Keys("AKIAUNKNOWN", "x" * 40), "secret": Keys(good.access_key, "c4nary" * 6)}[wrong]
    async with ecr(aws, monkeypatch) as registry, yard_before(tmp_path, registry, aws, keys) as yard:
        await yard.push(build_case(f"keys {wrong}"), "team/keys")
        part = await yard.settled()
        assert part is not None
        assert part.state is JobState.BLOCKED
        assert "AWS credentials" in part.reason
        assert "aws ecr create-repository" in part.reason
        assert "c4nary" not in part.reason
        assert f"{ACCOUNT}/synced/team/keys" not in aws.repositories()
