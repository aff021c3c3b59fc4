"""Requests to one registry: with its authorization, redirects by hand, and one more try where a connection broke."""

import asyncio
import logging
import re
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Final

import httpx

from yarddesk.content.credentials import CredentialStore, Secret
from yarddesk.content.registry_host import DOCKER_HUB, DOCKER_HUB_HOST, is_docker_hub
from yarddesk.content.target import NotFound
from yarddesk.content.upstream import UpstreamAway, UpstreamBroken, UpstreamFailure, UpstreamPage
from yarddesk.settings.errors import SettingsError
from yarddesk.settings.model import TlsSettings, UpstreamSettings
from yarddesk.upstream.abilities import Abilities
from yarddesk.upstream.auth import Authenticator, Authorization, SecretsSeen
from yarddesk.upstream.encodings import Undecodable, decoded, read_short
from yarddesk.upstream.failures import Failures
from yarddesk.upstream.http import REDIRECTS, Answer, Body, Timeouts, Wire
from yarddesk.upstream.origins import Origin, may_be_reached_from, same_owner, web_url
from yarddesk.upstream.profiles import GENERIC, profile_for, recognized
from yarddesk.upstream.proxies import Proxies
from yarddesk.upstream.quota import QuotaMeter
from yarddesk.upstream.reach import Reach
from yarddesk.upstream.retry import Retry
from yarddesk.upstream.tokens import Scopes, TokenClient
from yarddesk.upstream.words import clean, is_page, said, signatures

_log = logging.getLogger(__name__)

_MAX_REDIRECTS: Final = 5
_WORDS_SECONDS: Final = 3.0
_LONG_BYTES: Final = 4 * 1024 * 1024
"""A body that takes its time: what is refused at its end would be sent again."""

# What another host than the registry gets to see of a request's headers.
_FOR_OTHERS: Final = frozenset({"accept", "range"})

_WARNING: Final = re.compile(r'299 - "((?:[^"\\]|\\.)*)"')
_MAX_WARNING_BYTES: Final = 4096
_MOST_WARNINGS: Final = 100

NO_SCOPES: Final[Scopes] = frozenset()


@dataclass(frozen=True, slots=True)
class _Request:
    method: str
    url: httpx.URL
    scopes: Scopes
    headers: Mapping[str, str]
    body: Body | None
    answer_seconds: float | None
    repeatable: bool
    resend: bool


class Renewed(Exception):
    """The authorization was refused and is renewed now; what of the body the registry has kept is for the sender to find out."""


class RegistryClient:
    """The way to one registry. `registry` is how people know it; Docker Hub's content has another host than its name."""

    def __init__(
        self,
        settings: UpstreamSettings,
        credentials: CredentialStore,
        *,
        timeouts: Timeouts | None = None,
        retry: Retry | None = None,
        proxies: Proxies | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        hub = is_docker_hub(settings.registry)
        self.registry = DOCKER_HUB if hub else settings.registry.lower()
        host = DOCKER_HUB_HOST if hub else self.registry
        self.base = _base(host, settings)
        self.origin = Origin.of(self.base)
        self.timeouts = timeouts or Timeouts()
        self.retry = retry or Retry()
        self.abilities = Abilities(monotonic)
        self.quota = QuotaMeter(monotonic)
        self.profile = profile_for(host)
        self._warned: set[str] = set()
        self._secrets = SecretsSeen()
        self.failures = Failures(settings.name, self.registry, self._secrets, settings.auth.is_configured)
        self._proxies = proxies or Proxies.from_environment()
        self._wire = self.wire_to_others(settings.tls)
        self._reach = Reach(self._wire, self.failures, self.url(""))
        tokens = TokenClient(self._wire, self.failures, monotonic, self.retry)
        self._auth = Authenticator(
            settings.auth, self.origin, credentials, tokens, self.failures, self._secrets, monotonic=monotonic
        )

    def wire_to_others(self, tls: TlsSettings) -> Wire:
        """A way to who isn't this registry, by the same proxies and with the same patience; to be closed."""
        return Wire(tls, self.failures, timeouts=self.timeouts, proxies=self._proxies)

    def keep_out_of_words(self, secret: Secret) -> None:
        """What others say is shown and logged: this must not be in it."""
        self._secrets.add(secret.reveal())

    def url(self, path: str) -> httpx.URL:
        """The URL of a path below `/v2/`."""
        return self.base.copy_with(raw_path=f"/v2/{path}".encode("ascii"))

    @asynccontextmanager
    async def request(
        self,
        method: str,
        url: httpx.URL,
        scopes: Scopes,
        *,
        headers: Mapping[str, str] | None = None,
        body: Body | None = None,
        answer_seconds: float | None = None,
        repeatable: bool | None = None,
        resend: bool = True,
    ) -> AsyncIterator[Answer]:
        """Send it and give the answer, whatever its status but 401.

        GET and HEAD follow redirects; they, and what is `repeatable`, are sent again when their connection breaks before an
        answer. Raises UpstreamFailure: UpstreamDenied for a 401 that no credential of ours answers. Where `resend` is not set, a
        request whose authorization had to be renewed is not sent again: Renewed.
        """
        may_repeat = method in ("GET", "HEAD") if repeatable is None else repeatable
        request = _Request(method, url, scopes, headers or {}, body, answer_seconds, may_repeat, resend)
        try:
            async with AsyncExitStack() as stack:
                answer = await self._authorized(stack, request)
                self._pass_on_warnings(answer)
                yield answer
        except UpstreamPage as page:
            portal = await self._reach.portal()
            if portal is None:
                raise
            raise portal from page

    async def read(self, answer: Answer, limit: int, what: str, *, encoded: bool = False) -> bytes:
        """An answer's whole body. Raises UpstreamUntrue when it's longer than `limit` bytes or a web page.

        encoded: it was asked for in `encodings.ASKED`, and is decoded; else an encoded one is refused, too.
        """
        encoding = answer.headers.get("content-encoding", "identity").lower()
        if encoding != "identity" and not encoded:
            raise self.failures.not_a_registry(
                f"It sent {what} in another encoding ({encoding[:40]}).", status=answer.status
            )
        content = await answer.read(limit)
        if not answer.finished:
            raise self.failures.not_a_registry(f"It sent more than {limit:,} bytes for {what}.", status=answer.status)
        try:
            content = await decoded(answer, content, limit)
        except Undecodable as error:
            raise self.failures.not_a_registry(f"It sent {error} for {what}.", status=answer.status) from error
        if is_page(answer.headers.get("content-type", ""), content):
            raise self.failures.page(f"It sent a web page for {what}.", status=answer.status)
        return content

    async def failure(self, answer: Answer, what: str, *, in_words: bool = False) -> UpstreamFailure | NotFound:
        """What an answer with a wrong status means; reads its words.

        `in_words`: a person is to see it, so where the question was a HEAD, whose answer has none, they are asked for.
        """
        headers, body = answer.headers, await read_short(answer)
        if in_words and _is_refused_without_words(answer):
            headers, body = await self._words_for(answer)
        return self.failures.of_answer(
            answer.status,
            headers,
            body,
            what,
            elsewhere=answer.origin.shown if answer.sent_elsewhere else "",
            hidden=signatures(answer.url.query.decode("ascii")) if answer.sent_elsewhere else (),
            reading=answer.method in ("GET", "HEAD"),
        )

    async def _words_for(self, answer: Answer) -> tuple[httpx.Headers, bytes]:
        """What a GET in a refused HEAD's place is told, once and by just the same headers: nobody signs in anew for it.

        Nothing but the HEAD's own answer where that is told something else, or not soon.
        """
        try:
            async with (
                asyncio.timeout(_WORDS_SECONDS),
                self._wire.exchange("GET", answer.url, answer.asked) as told,
            ):
                if told.status == answer.status:
                    return httpx.Headers({**answer.headers, **told.headers}), await read_short(told)
        except (UpstreamFailure, TimeoutError) as error:
            _log.debug("%s says no more about its %d: %s", self.registry, answer.status, error)
        return answer.headers, b""

    def location(self, answer: Answer) -> httpx.URL | None:
        """Where an upload goes on, from the Location header; None without one.

        Never from https to http: a registry behind a proxy that forgets to say so gets its own origin back. Raises
        UpstreamUntrue for a place that a registry has no business to send content to.
        """
        header = answer.headers.get("location", "")
        if not header:
            return None
        url = web_url(header, answer.url)
        if url is None:
            raise self.failures.not_a_registry("It wants the content to be sent nowhere.", status=answer.status)
        target = Origin.of(url)
        if target.scheme == "http" and self.origin.scheme == "https" and target.host == self.origin.host:
            url = url.copy_with(scheme="https", port=self.base.port)
            target = Origin.of(url)
        if target == self.origin:
            return url
        allowed = target.scheme == "https" and same_owner(target.host, self.origin.host)
        if not allowed or not may_be_reached_from(self.origin, target):
            raise self.failures.not_a_registry(
                f"It wants the content to be sent to another place ({target.scheme}://{target.shown}).",
                status=answer.status,
            )
        return url

    def forget_account(self) -> None:
        """Look for credentials anew with the next request: somebody signed in or out."""
        self._auth.forget_all()
        self.quota.forget()

    async def signed_in(self) -> Authorization | None:
        """What a request that needs no rights carries by now; None where the registry has not asked who we are.

        May ask the token server. Raises UpstreamFailure.
        """
        return await self._auth.authorization(NO_SCOPES)

    @property
    def asks_by(self) -> str:
        """`bearer` or `basic`, once the registry has asked who we are."""
        return self._auth.scheme

    async def is_reachable(self) -> bool:
        """Whether anybody answers there, whatever they say: nothing secret is sent, and nothing raises."""
        return await self._reach.probe()

    async def ping(self) -> None:
        """Return where it answers as a registry does, whoever asks. Raises UpstreamFailure, also for a 429 or 5xx."""
        await self._reach.ask()

    def forget_connections(self) -> None:
        """Begin the next request with a new connection."""
        self._wire.forget_connections()

    async def aclose(self) -> None:
        """Close the connections; those in use when their requests end."""
        await self._wire.aclose()

    def _pass_on_warnings(self, answer: Answer) -> None:
        """Tell the log, once, what the registry wants people to know (distribution specification v1.1, "Warnings")."""
        for text in _WARNING.findall(answer.headers.get("warning", "")[:_MAX_WARNING_BYTES]):
            words = clean(text.replace("\\", ""), self._secrets())
            if words and words not in self._warned and len(self._warned) < _MOST_WARNINGS:
                self._warned.add(words)
                _log.warning("%s says: %s", self.registry, words)

    async def _authorized(self, stack: AsyncExitStack, request: _Request) -> Answer:
        ours = Origin.of(request.url) == self.origin
        lasting = request.body is not None and request.body.length >= _LONG_BYTES
        used = await self._auth.authorization(request.scopes, lasting=lasting) if ours else None
        answer = await self._sent(stack, request, used)
        if answer.status == 401 and ours and not answer.sent_elsewhere:
            words = await self._words(answer)
            challenges = answer.headers.get_list("www-authenticate")
            await stack.aclose()
            used = await self._auth.renew(challenges, request.scopes, used=used, words=words)
            if not request.resend:
                raise Renewed
            answer = await self._sent(stack, request, used)
            if answer.status == 401 and not answer.sent_elsewhere:
                raise self._auth.denied(used, await self._words(answer))
        if answer.status == 403 and ours and not answer.sent_elsewhere:
            other = await self._auth.changed(request.scopes, used)
            if other is None:
                self._auth.forget(used)
                return answer
            _log.info("%s denied access to an account whose credential has changed since: once more", self.registry)
            await stack.aclose()
            if not request.resend:
                raise Renewed
            used = other
            answer = await self._sent(stack, request, used)
            if answer.status in (401, 403):
                self._auth.forget(used)
        return answer

    async def _words(self, answer: Answer) -> str:
        words, _ = said(await read_short(answer), answer.headers.get("content-type", ""), self._secrets())
        return words

    async def _sent(self, stack: AsyncExitStack, request: _Request, used: Authorization | None) -> Answer:
        tried = 0
        while True:
            try:
                return await self._followed(stack, request, used)
            except (UpstreamAway, UpstreamBroken) as failure:
                tried += 1
                if not request.repeatable or not self.retry.again(failure, tried):
                    raise
                _log.debug("%s once more: %s", request.method, failure)
                await stack.aclose()

    async def _followed(self, stack: AsyncExitStack, request: _Request, used: Authorization | None) -> Answer:
        url, elsewhere = request.url, False
        for _ in range(_MAX_REDIRECTS + 1):
            headers = dict(request.headers)
            if elsewhere:
                headers = {name: value for name, value in headers.items() if name.lower() in _FOR_OTHERS}
            elif used is not None and Origin.of(url) == self.origin:
                headers["Authorization"] = used.header
            exchange = self._wire.exchange(
                request.method,
                url,
                headers,
                body=request.body,
                answer_seconds=request.answer_seconds,
                bulk=request.method != "HEAD" and "/blobs/" in request.url.path,
            )
            answer = await stack.enter_async_context(exchange)
            answer.sent_elsewhere, answer.asked = elsewhere, headers
            if not elsewhere:
                self.quota.heard(answer.headers)
            if self.profile is GENERIC and not elsewhere:
                self.profile = recognized(answer.headers) or GENERIC
            if request.method not in ("GET", "HEAD") or answer.status not in REDIRECTS:
                return answer
            url = self._redirected(answer)
            # Once away, never with credentials again: who sent us back is not the registry.
            elsewhere = elsewhere or Origin.of(url) != self.origin
            await answer.read()
            await stack.aclose()
        raise self.failures.page(f"It redirects more than {_MAX_REDIRECTS} times.")

    def _redirected(self, answer: Answer) -> httpx.URL:
        url = web_url(answer.headers.get("location", ""), answer.url)
        if url is None:
            raise self.failures.not_a_registry("It redirects to nowhere.", status=answer.status)
        target = Origin.of(url)
        if answer.origin.scheme == "https" and target.scheme == "http":
            raise self.failures.page("It redirects from https to http.", status=answer.status)
        if not may_be_reached_from(self.origin, target):
            raise self.failures.page(
                f"It redirects to an address inside this network ({target.shown}).", status=answer.status
            )
        return url


def _base(host: str, settings: UpstreamSettings) -> httpx.URL:
    """Raises SettingsError for what looks like a name in letters of all the world, and can't be one."""
    try:
        url = httpx.URL(f"{'http' if settings.tls.plain_http else 'https'}://{host}")
        if url.host:
            return url
    except (httpx.InvalidURL, ValueError):
        pass
    raise SettingsError("", f"upstreams[].registry of {settings.name}", f"“{host[:80]}” is not a registry's address")


def _is_refused_without_words(answer: Answer) -> bool:
    # 401 has brought the sign-in before, and 404 says all; who is in trouble (5xx) is not to be asked more.
    refused = 400 <= answer.status < 500 and answer.status not in (401, 404)
    return answer.method == "HEAD" and refused and not answer.sent_elsewhere


def pull_scope(repository: str) -> Scopes:
    """What reading a repository needs (Docker's token scope documentation)."""
    return frozenset({f"repository:{repository}:pull"})


def push_scope(repository: str, source: str | None = None) -> Scopes:
    """What writing needs; with `source`, also reading the repository that a blob is mounted from."""
    scopes = {f"repository:{repository}:pull,push"}
    return frozenset(scopes | {f"repository:{source}:pull"} if source else scopes)
