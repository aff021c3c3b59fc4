"""Repositories that must be made before anything can be pushed to them, made where the settings ask for it.

Only ECR has a way that needs nothing but what its users have: `CreateRepository` of its API, with their own AWS credentials.
The address of the API follows from the registry's name in the settings, and from nothing that anybody answers.
"""

import asyncio
import json
import logging
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Self

from yarddesk.content.credentials import AwsAccount, AwsKeys, CredentialUnavailable
from yarddesk.content.upstream import (
    UpstreamAway,
    UpstreamBroken,
    UpstreamFailure,
    UpstreamFull,
    UpstreamMissing,
    UpstreamTrouble,
)
from yarddesk.oci.name import RepositoryName
from yarddesk.settings.model import TlsSettings
from yarddesk.upstream.client import RegistryClient
from yarddesk.upstream.encodings import read_short
from yarddesk.upstream.failures import parse_retry_after
from yarddesk.upstream.http import Answer, Body, Wire
from yarddesk.upstream.origins import web_url
from yarddesk.upstream.sigv4 import signed
from yarddesk.upstream.words import clean, said

_log = logging.getLogger(__name__)

_HOST: Final = re.compile(
    r"(?P<account>\d{12})\.dkr\.ecr(?P<fips>-fips)?\.(?P<region>[a-z]{2,4}(?:-[a-z]+)+-\d)\.(?P<domain>amazonaws\.com(?:\.cn)?)",
    re.ASCII,
)
_TARGET: Final = "AmazonEC2ContainerRegistry_V20150921.CreateRepository"
_BUSY: Final = frozenset({"ThrottlingException", "TooManyRequestsException", "RequestLimitExceeded", "ServerException"})
_JUST_NOW_SECONDS: Final = 5.0
_BY_HAND: Final = "aws ecr create-repository --region {region} --repository-name {name}"


@dataclass(frozen=True, slots=True)
class EcrPlace:
    """Where an ECR registry's repositories are made."""

    account: str
    region: str
    endpoint: str

    @classmethod
    def of(cls, registry: str) -> Self | None:
        """By the name of a private registry of ECR; None for all others."""
        found = _HOST.fullmatch(registry.lower().partition(":")[0])
        if found is None:
            return None
        region, domain = found["region"], found["domain"]
        host = f"ecr-fips.{region}.{domain}" if found["fips"] else f"api.ecr.{region}.{domain}"
        return cls(found["account"], region, f"https://{host}")


@dataclass(frozen=True, slots=True)
class _Answer:
    """What AWS said. `kind`: its name of the error, empty for one that it has no name for."""

    status: int
    kind: str
    words: str
    retry_after_seconds: float | None

    @classmethod
    def of(cls, answer: Answer, content: bytes, secrets: Iterable[str]) -> Self:
        try:
            document = json.loads(content)
        except (ValueError, RecursionError):
            document = None
        texts: dict[str, Any] = document if isinstance(document, dict) else {}
        kind = str(texts.get("__type", "")).rpartition("#")[2]
        message = texts.get("message") or texts.get("Message")
        words = clean(str(message), secrets) if message else said(content, "", secrets)[0]
        named = f"({clean(kind)})" if kind else f"[{answer.status}]"
        retry_after = parse_retry_after(answer.headers.get("retry-after", ""))
        return cls(answer.status, kind, f"{words} {named}".strip(), retry_after)


class RepositoryMaker:
    """Makes the repositories of one upstream, each once for all who need it."""

    def __init__(self, client: RegistryClient, account: AwsAccount) -> None:
        self._client = client
        self._account = account
        self._place = EcrPlace.of(client.registry)
        self._made: dict[RepositoryName, float] = {}
        self._one_at_a_time = asyncio.Lock()
        self._wire: Wire | None = None

    async def make(self, name: RepositoryName, missing: UpstreamMissing) -> None:
        """Make what was found to be missing. Raises UpstreamMissing where it can't be made, and other UpstreamFailures."""
        loop = asyncio.get_running_loop()
        async with self._one_at_a_time:
            self._made = {each: made for each, made in self._made.items() if loop.time() - made < _JUST_NOW_SECONDS}
            if name not in self._made:  # by another layer of the same image
                await self._make(name, missing)
                self._made[name] = loop.time()

    async def aclose(self) -> None:
        if self._wire is not None:
            await self._wire.aclose()

    async def _make(self, name: RepositoryName, missing: UpstreamMissing) -> None:
        if self._place is None:
            alone = "create_repository makes those of ECR's private registries alone."
            raise self._missing(missing, missing.message, f"{alone} {missing.hint}")
        by_hand = _BY_HAND.format(region=self._place.region, name=name)
        try:
            keys = await self._account.keys()
        except CredentialUnavailable as error:
            reason = " ".join(part for part in (error.title, error.message, error.hint) if part)
            raise self._missing(missing, f"It was to be created, and {reason}", f"Or create it: {by_hand}") from error
        if keys is None:
            raise self._missing(
                missing,
                "It was to be created, and there are no AWS credentials here.",
                "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or sign in with the aws command (aws configure, aws sso login);"
                f" or create it: {by_hand}",
            )
        answer = await self._asked(self._place, keys, name)
        if answer.status == 200 or answer.kind == "RepositoryAlreadyExistsException":
            _log.info("created the repository %s at %s", name, self._client.registry)
            return
        if answer.status >= 500 or answer.status == 429 or answer.kind in _BUSY:
            raise UpstreamTrouble(
                missing.upstream,
                f"ECR's API could not create {name}.",
                answer.words,
                temporary=True,
                status=answer.status,
                retry_after_seconds=answer.retry_after_seconds,
            )
        if answer.kind == "LimitExceededException":
            title = f"{self._client.registry} has no room for {name}."
            raise UpstreamFull(missing.upstream, title, answer.words, status=answer.status)
        denied = answer.kind == "AccessDeniedException" or (not answer.kind and answer.status == 403)
        hint = (
            "Let these AWS credentials do ecr:CreateRepository" if denied else "Look at this machine's AWS credentials"
        )
        message = f"It was to be created, and AWS said: {answer.words}"
        raise self._missing(missing, message, f"{hint}, or create it: {by_hand}")

    async def _asked(self, place: EcrPlace, keys: AwsKeys, name: RepositoryName) -> _Answer:
        for secret in (keys.secret_key, keys.session_token):
            if secret:
                self._client.keep_out_of_words(secret)
        named = self._account.endpoint("ecr") or place.endpoint
        base = web_url(named)
        if base is None:
            raise self._client.failures.untrue("ECR's API can't be asked.", f"{named} is no address.")
        url = base.copy_with(raw_path=b"/")
        body = json.dumps({"repositoryName": name, "registryId": place.account}).encode()
        headers = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": _TARGET}
        now = datetime.now(UTC)
        own = signed("POST", url, headers, body, keys, region=place.region, service="ecr", now=now)
        if self._wire is None:
            # What the settings say of the registry's certificate says nothing of AWS's.
            self._wire = self._client.wire_to_others(TlsSettings())
        try:
            async with self._wire.exchange("POST", url, own, body=Body.of(body)) as answer:
                return _Answer.of(answer, await read_short(answer), self._client.failures.secrets())
        except (UpstreamAway, UpstreamBroken) as failure:
            # It says nothing of the registry itself.
            title = f"ECR's API could not create {name}."
            raise UpstreamTrouble(
                failure.upstream, title, f"{failure.title} {failure.message}", temporary=True
            ) from failure

    def _missing(self, missing: UpstreamMissing, message: str, hint: str) -> UpstreamFailure:
        return UpstreamMissing(
            missing.upstream, missing.title, message, hint=hint, status=missing.status, codes=missing.codes
        )
