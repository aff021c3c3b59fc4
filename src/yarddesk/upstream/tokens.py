"""Bearer tokens: what a token server gives, and how long each holds (Docker's token authentication specification; RFC 6749)."""

import base64
import json
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, urlencode

import httpx

from yarddesk.content.credentials import Credential, Secret
from yarddesk.content.upstream import UpstreamAway, UpstreamBroken, UpstreamDenied
from yarddesk.upstream.encodings import ASKED, read_short
from yarddesk.upstream.failures import Failures
from yarddesk.upstream.http import Body, Wire
from yarddesk.upstream.origins import Origin
from yarddesk.upstream.retry import Retry
from yarddesk.upstream.words import is_page, said

Scopes = frozenset[str]

_DEFAULT_LIFETIME: Final = 60.0
_MARGIN: Final = 10.0
_MOST_TOKENS: Final = 256
_CLIENT_ID: Final = "yarddesk"


@dataclass(frozen=True, slots=True)
class TokenServer:
    """What a challenge says: where tokens come from (`realm`, a URL), and for which service."""

    realm: httpx.URL
    service: str


@dataclass(frozen=True, slots=True)
class Token:
    """`expires` is on the monotonic clock, in seconds, some of its life held back for the way there; from `stale` on less than a
    quarter of its life is left.

    `account` is whose it is: None for nobody's, empty where an identity token doesn't tell.
    """

    text: Secret
    expires: float
    stale: float
    account: str | None = None

    @property
    def header(self) -> str:
        return f"Bearer {self.text.reveal()}"


class TokenCache:
    """Tokens by what they are good for; one that allows more serves those who ask for less."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._tokens: OrderedDict[Scopes, Token] = OrderedDict()

    def get(self, scopes: Scopes, *, lasting: bool = False) -> Token | None:
        """`lasting`: only one that has a good part of its life before it."""
        now = self._monotonic()
        for held in [held for held, token in self._tokens.items() if token.expires <= now]:
            del self._tokens[held]
        if scopes in self._tokens:
            self._tokens.move_to_end(scopes)
            good: Iterable[Token] = [self._tokens[scopes]]
        else:
            wanted = actions_of(scopes)
            good = (token for held, token in self._tokens.items() if scopes and wanted <= actions_of(held))
        return next((token for token in good if not lasting or now < token.stale), None)

    def put(self, scopes: Scopes, token: Token) -> None:
        self._tokens[scopes] = token
        self._tokens.move_to_end(scopes)
        while len(self._tokens) > _MOST_TOKENS:
            self._tokens.popitem(last=False)

    def clear(self) -> None:
        self._tokens.clear()

    def forget(self, header: str) -> None:
        """Drop a token that was refused."""
        self._tokens = OrderedDict((held, token) for held, token in self._tokens.items() if token.header != header)


class TokenClient:
    """Asks a token server. Redirects aren't followed: they would take credentials along."""

    def __init__(
        self,
        wire: Wire,
        failures: Failures,
        monotonic: Callable[[], float] = time.monotonic,
        retry: Retry | None = None,
    ) -> None:
        self._wire = wire
        self._failures = failures
        self._retry = retry or Retry()
        self._monotonic = monotonic

    async def fetch(self, server: TokenServer, scopes: Scopes, credential: Credential | None) -> Token:
        """A token for these scopes; anonymous without a credential. An identity token (no user name) is a refresh token.

        Raises UpstreamDenied where the server refuses the credential, or anybody without one, and other UpstreamFailures.
        """
        asked = self._monotonic()
        body = await (
            self._post(server, scopes, credential.password)
            if credential and not credential.username
            else self._get(server, scopes, credential)
        )
        document = _document(body)
        text = document.get("token") or document.get("access_token")
        if not isinstance(text, str) or not text:
            host = Origin.of(server.realm).shown
            raise self._failures.untrue(f"{host} gave no token.", "Its answer is not that of a token server.")
        lifetime = _lifetime(document.get("expires_in"))
        account = credential.username if credential else None
        return Token(Secret(text), asked + lifetime - min(_MARGIN, lifetime / 4), asked + lifetime * 3 / 4, account)

    async def _get(self, server: TokenServer, scopes: Scopes, credential: Credential | None) -> bytes:
        fields = [("scope", scope) for scope in sorted(scopes)]
        if server.service:
            fields.insert(0, ("service", server.service))
        headers = {"Accept": "application/json", **ASKED}
        if credential:
            fields.append(("account", credential.username))
            headers["Authorization"] = basic_header(credential)
        query = urlencode(fields, quote_via=quote)
        before = str(server.realm)
        joint = "" if not query else "&" if "?" in before else "?"
        url, tried = httpx.URL(f"{before}{joint}{query}"), 0
        while True:
            try:
                return await self._ask("GET", url, headers, None, credential)
            except (UpstreamAway, UpstreamBroken) as failure:
                # A connection that was kept since the last token may have ended meanwhile.
                tried += 1
                if not self._retry.again(failure, tried):
                    raise

    async def _post(self, server: TokenServer, scopes: Scopes, refresh_token: Secret) -> bytes:
        fields = {
            "grant_type": "refresh_token",
            "service": server.service,
            "client_id": _CLIENT_ID,
            "scope": " ".join(sorted(scopes)),
            "refresh_token": refresh_token.reveal(),
        }
        content = urlencode(fields).encode()
        headers = {"Accept": "application/json", **ASKED, "Content-Type": "application/x-www-form-urlencoded"}
        return await self._ask("POST", server.realm, headers, Body.of(content), Credential("", refresh_token))

    async def _ask(
        self, method: str, url: httpx.URL, headers: dict[str, str], body: Body | None, credential: Credential | None
    ) -> bytes:
        async with self._wire.exchange(method, url, headers, body=body) as answer:
            content = await read_short(answer)
            kind = answer.headers.get("content-type", "")
            if answer.status == 200 and answer.finished and not is_page(kind, content):
                return content
            words, errors = said(content, kind, self._failures.secrets())
            codes = tuple(error.code for error in errors)
            if answer.status in (401, 403) or (answer.status == 400 and _blames_credential(content)):
                raise refused(self._failures, credential, words, status=answer.status, codes=codes)
            if answer.status == 200:
                raise self._failures.page(words or "No token came.")
            host = Origin.of(url).shown
            raise self._failures.of_token_server(answer.status, answer.headers, content, host)


def refused(
    failures: Failures, credential: Credential | None, words: str, *, status: int = 401, codes: Iterable[str] = ()
) -> UpstreamDenied:
    """For a credential that isn't taken, or for the lack of one."""
    if credential is None:
        return failures.denied(
            f"{failures.registry} asks for a user name and password.",
            words,
            hint=failures.sign_in("Sign in"),
            status=status,
            codes=codes,
        )
    whom = f"the password for `{credential.username}`" if credential.username else "the token that is kept for it"
    return failures.denied(
        f"{failures.registry} refused {whom}.",
        words,
        hint=failures.sign_in("Sign in again"),
        status=status,
        codes=codes,
    )


def basic_header(credential: Credential) -> str:
    """The Authorization header's value (RFC 7617)."""
    pair = f"{credential.username}:{credential.password.reveal()}"
    return "Basic " + base64.b64encode(pair.encode()).decode("ascii")


def actions_of(scopes: Iterable[str]) -> set[tuple[str, str]]:
    """`repository:a/b:pull,push` as (`repository:a/b`, `pull`) and (`repository:a/b`, `push`)."""
    pairs = set()
    for scope in scopes:
        resource, _, actions = scope.rpartition(":")
        pairs |= {(resource, action) for action in actions.split(",")}
    return pairs


def _blames_credential(body: bytes) -> bool:
    """Whether an OAuth error is about who asks (RFC 6749, section 5.2)."""
    return _document(body).get("error") in ("invalid_client", "invalid_grant", "unauthorized_client", "access_denied")


def _document(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _lifetime(given: object) -> float:
    if isinstance(given, int | float) and not isinstance(given, bool) and 0 < given < 10**9:
        return float(given)
    return _DEFAULT_LIFETIME
