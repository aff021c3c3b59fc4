"""Repositories that must exist first: where ECR's API is, and what follows from what it says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from tests.support.scripted import RESET, Asked, Reply, ScriptedServer, scripted
from tests.support.upstreams import GivenCredentials, blob, settings_for, source_of
from yarddesk.content.credentials import AwsKeys, CredentialUnavailable, Secret
from yarddesk.content.upstream import UpstreamFailure, UpstreamFull, UpstreamMissing, UpstreamTrouble
from yarddesk.oci.name import RepositoryName
from yarddesk.upstream.client import RegistryClient
from yarddesk.upstream.creation import EcrPlace, RepositoryMaker
from yarddesk.upstream.proxies import Proxies
from yarddesk.upstream.upload import Uploader

CANARY = "c4nary/of+the=keys"
NAME = RepositoryName.parse("team/app")
MISSING = UpstreamMissing("corp", "ecr has no repository team/app.", "not there", hint="Make it.", status=404)
ECR = "123456789012.dkr.ecr.eu-central-1.amazonaws.com"


class Account:
    """An AWS account in memory, and a place of its API."""

    def __init__(self, endpoint: str = "", keys: AwsKeys | CredentialUnavailable | None = None) -> None:
        self._endpoint = endpoint
        self._keys = keys

    def endpoint(self, service: str) -> str:
        assert service == "ecr"
        return self._endpoint

    async def keys(self) -> AwsKeys | None:
        if isinstance(self._keys, CredentialUnavailable):
            raise self._keys
        return self._keys


KEYS = AwsKeys("AKIDEXAMPLE", Secret(CANARY), Secret(f"token {CANARY}"))


@asynccontextmanager
async def maker_for(account: Account, registry: str = ECR) -> AsyncIterator[RepositoryMaker]:
    client = RegistryClient(settings_for(registry, plain_http=False), GivenCredentials(), proxies=Proxies({}))
    maker = RepositoryMaker(client, account)
    try:
        yield maker
    finally:
        await maker.aclose()
        await client.aclose()


def error(kind: str, message: str, status: int = 400) -> Reply:
    return Reply(status, {}, json.dumps({"__type": f"com.amazonaws.ecr#{kind}", "message": message}).encode())


@pytest.mark.parametrize(
    ("registry", "place"),
    [
        (ECR, ("123456789012", "eu-central-1", "https://api.ecr.eu-central-1.amazonaws.com")),
        (f"{ECR}:443", ("123456789012", "eu-central-1", "https://api.ecr.eu-central-1.amazonaws.com")),
        (
            "123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn",
            ("123456789012", "cn-north-1", "https://api.ecr.cn-north-1.amazonaws.com.cn"),
        ),
        (
            "123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com",
            ("123456789012", "us-gov-west-1", "https://ecr-fips.us-gov-west-1.amazonaws.com"),
        ),
        ("public.ecr.aws", None),
        ("registry.corp", None),
        ("123456789012.dkr.ecr.evil.example/.amazonaws.com", None),
        ("123456789012.dkr.ecr.eu-central-1.amazonaws.com.evil.example", None),
        ("evil.123456789012.dkr.ecr.eu-central-1.amazonaws.com", None),
    ],
)
def test_the_registrys_name_tells_where_its_api_is(registry: str, place: tuple[str, str, str] | None) -> None:
    found = EcrPlace.of(registry)
    assert (None if found is None else (found.account, found.region, found.endpoint)) == place


async def test_what_is_asked() -> None:
    async with scripted(lambda _: Reply(200, {}, b"{}")) as api:
        async with maker_for(Account(f"http://{api.host}", KEYS)) as maker:
            await maker.make(NAME, MISSING)
        (asked,) = api.asked
        assert (asked.method, asked.path) == ("POST", "/")
        assert json.loads(asked.body) == {"repositoryName": "team/app", "registryId": "123456789012"}
        assert asked.headers["x-amz-target"] == "AmazonEC2ContainerRegistry_V20150921.CreateRepository"
        assert asked.headers["x-amz-security-token"] == f"token {CANARY}"
        assert "/eu-central-1/ecr/aws4_request" in asked.headers["authorization"]


@pytest.mark.parametrize(
    ("reply", "kind", "words"),
    [
        (error("AccessDeniedException", "not authorized to perform: ecr:CreateRepository"), UpstreamMissing, "Let these"),
        (error("ExpiredTokenException", "The token has expired"), UpstreamMissing, "Look at this machine's"),
        (error("UnrecognizedClientException", "The token is invalid"), UpstreamMissing, "Look at this machine's"),
        (error("LimitExceededException", "100,000 repositories"), UpstreamFull, "no room"),
        (error("ThrottlingException", "Rate exceeded"), UpstreamTrouble, "could not create"),
        (error("ServerException", "internal"), UpstreamTrouble, "could not create"),
        (Reply(503, {"Retry-After": "7"}, b"later"), UpstreamTrouble, "later [503]"),
        (Reply(403, {}, b"<Error>not you</Error>"), UpstreamMissing, "not you"),
        (RESET, UpstreamTrouble, "could not create"),
    ],
)  # fmt: skip
async def test_what_aws_says_has_its_failure(reply: Reply, kind: type[UpstreamFailure], words: str) -> None:
    async with scripted(lambda _: reply) as api, maker_for(Account(f"http://{api.host}", KEYS)) as maker:
        with pytest.raises(kind) as caught:
            await maker.make(NAME, MISSING)
        said = f"{caught.value.title} {caught.value.message} {caught.value.hint}"
        assert words in said
        assert caught.value.temporary is (kind is UpstreamTrouble)
        if reply.body.startswith(b"{"):
            assert json.loads(reply.body)["message"] in said
        if kind is UpstreamMissing:
            assert "aws ecr create-repository --region eu-central-1 --repository-name team/app" in said


async def test_an_api_that_is_out_of_reach_says_nothing_of_the_registry() -> None:
    async with scripted(lambda _: RESET) as api:
        pass
    async with maker_for(Account(f"http://{api.host}", KEYS)) as maker:
        with pytest.raises(UpstreamTrouble) as caught:
            await maker.make(NAME, MISSING)
        assert "refused the connection" in caught.value.message


async def test_one_that_is_there_by_now_is_made() -> None:
    there = error("RepositoryAlreadyExistsException", "it exists already")
    async with scripted(lambda _: there) as api, maker_for(Account(f"http://{api.host}", KEYS)) as maker:
        await maker.make(NAME, MISSING)


async def test_the_layers_of_an_image_make_it_once() -> None:
    async with scripted(lambda _: Reply(200, {}, b"{}")) as api:
        async with maker_for(Account(f"http://{api.host}", KEYS)) as maker:
            await asyncio.gather(*(maker.make(NAME, MISSING) for _ in range(5)))
            await maker.make(RepositoryName.parse("team/other"), MISSING)
        assert len(api.asked) == 2


async def test_what_aws_repeats_of_the_keys_is_not_shown() -> None:
    echo = error("UnrecognizedClientException", f"{CANARY} is no key")
    async with scripted(lambda _: echo) as api, maker_for(Account(f"http://{api.host}", KEYS)) as maker:
        with pytest.raises(UpstreamMissing) as caught:
            await maker.make(NAME, MISSING)
        assert CANARY not in f"{caught.value} {caught.value.message} {caught.value.hint}"


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        (None, "there are no AWS credentials here"),
        (CredentialUnavailable("aws gave no AWS credentials.", "Token has expired"), "Token has expired"),
    ],
)
async def test_without_keys_nothing_is_asked(keys: Any, words: str) -> None:
    async with scripted(lambda _: Reply(200)) as api, maker_for(Account(f"http://{api.host}", keys)) as maker:
        with pytest.raises(UpstreamMissing) as caught:
            await maker.make(NAME, MISSING)
        assert words in caught.value.message
        assert "aws ecr create-repository" in caught.value.hint
        assert not api.asked


async def test_registries_of_other_kinds_are_told_from_it() -> None:
    async with scripted(lambda _: Reply(200)) as api:
        async with maker_for(Account(f"http://{api.host}", KEYS), "harbor.corp") as maker:
            with pytest.raises(UpstreamMissing) as caught:
                await maker.make(NAME, MISSING)
            assert "ECR's private registries alone. Make it." in caught.value.hint
        assert not api.asked


async def test_one_that_is_missing_even_so_is_told() -> None:
    """No round of creating and asking without an end."""

    def script(asked: Asked) -> Reply:
        if asked.path == "/":
            return Reply(200, {}, b"{}")
        return Reply(404, {}, b'{"errors": [{"code": "NAME_UNKNOWN"}]}')

    async with scripted(script) as server, uploader_with_maker(server) as push:
        with pytest.raises(UpstreamMissing):
            await push()
        assert [asked.path for asked in server.asked] == [UPLOADS, "/", UPLOADS]


UPLOADS = "/v2/team/app/blobs/uploads/"


@asynccontextmanager
async def uploader_with_maker(server: ScriptedServer) -> AsyncIterator[Any]:
    client = RegistryClient(replace(settings_for(server.host), name="corp"), GivenCredentials(), proxies=Proxies({}))
    maker = RepositoryMaker(client, Account(f"http://{server.host}", KEYS))
    maker._place = EcrPlace.of(ECR)
    uploader = Uploader(client, make=maker.make)
    try:
        yield lambda: uploader.push(NAME, blob(b"x"), source_of(b"x"))
    finally:
        await uploader.aclose()
        await maker.aclose()
        await client.aclose()
