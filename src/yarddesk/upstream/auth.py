"""Who we are to one registry: answers its challenges, and keeps what was earned for as long as it holds."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from yarddesk.content.credentials import Credential, CredentialStore, CredentialUnavailable, Secret
from yarddesk.content.registry_host import registry_key
from yarddesk.content.upstream import UpstreamDenied, UpstreamFailure
from yarddesk.oci.challenges import Challenge, parse_challenges
from yarddesk.settings.model import AuthSettings, AuthType
from yarddesk.upstream.failures import Failures
from yarddesk.upstream.origins import Origin, web_url
from yarddesk.upstream.realms import RealmTrust, trust_in
from yarddesk.upstream.tokens import (
    Scopes,
    Token,
    TokenCache,
    TokenClient,
    TokenServer,
    actions_of,
    basic_header,
    refused,
)

_log = logging.getLogger(__name__)

_MOST_LOCKS: Final = 512
_MOST_SECRETS: Final = 64


class SecretsSeen:
    """What must not appear in any words: the credentials and tokens that were used last."""

    def __init__(self) -> None:
        self._texts: dict[str, None] = {}

    def add(self, text: str) -> None:
        self._texts.pop(text, None)
        self._texts[text] = None
        while len(self._texts) > _MOST_SECRETS:
            del self._texts[next(iter(self._texts))]

    def __call__(self) -> Iterable[str]:
        return tuple(self._texts)


@dataclass(frozen=True, slots=True)
class Authorization:
    """The header's value, and whose it is: None for nobody's, empty where a token doesn't tell."""

    header: str
    account: str | None

    def __repr__(self) -> str:
        return f"Authorization(***, account={self.account!r})"

    @property
    def is_password(self) -> bool:
        return self.header.startswith("Basic ")


class Authenticator:
    """Finds the Authorization for one registry.

    Credentials are read from their store anew whenever they are needed, so that signing in takes effect at the next try.
    """

    def __init__(
        self,
        settings: AuthSettings,
        registry: Origin,
        credentials: CredentialStore,
        token_client: TokenClient,
        failures: Failures,
        secrets: SecretsSeen,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._registry = registry
        self._credentials = credentials
        self._client = token_client
        self._failures = failures
        self._secrets = secrets
        self._tokens = TokenCache(monotonic)
        self._server: TokenServer | None = None
        self._basic: Authorization | None = None
        self._locks: dict[Scopes, asyncio.Lock] = {}
        self._unavailable: CredentialUnavailable | None = None
        self._said = ""
        self.scheme = ""
        """How the registry last asked who we are: `bearer` (by a token server), `basic`, or not yet."""
        self._earned_by: Credential | None = None
        if settings.type is AuthType.BEARER:
            secrets.add(settings.password.reveal())

    async def authorization(self, scopes: Scopes, *, lasting: bool = False) -> Authorization | None:
        """What to send with a request that needs `scopes`; None until the registry has asked for anything.

        `lasting`: for a long body, at whose end a token should be good still: one that is near its end is replaced before.
        Asks the token server where one is known and no token is left. Raises UpstreamFailure.
        """
        if self._settings.type is AuthType.BEARER:
            return Authorization(f"Bearer {self._settings.password.reveal()}", "")
        if self._basic is not None or self._server is None:
            return self._basic
        return _of(await self._token(self._server, scopes, scopes, lasting=lasting))

    async def changed(self, scopes: Scopes, used: Authorization | None) -> Authorization | None:
        """What to send in place of `used`, which got a 403: None unless its credential has changed meanwhile.

        Short-lived passwords end so at some registries (ECR's “authorization token has expired”), which is no lack of rights.
        Raises UpstreamFailure.
        """
        if used is None or self._settings.type in (AuthType.BEARER, AuthType.BASIC, AuthType.ANONYMOUS):
            return None
        credential = await self._credential()
        if credential is None:
            return None
        if not used.is_password:
            if self._server is None or credential == self._earned_by:
                return None
            self._tokens.clear()
            return _of(await self._token(self._server, scopes, scopes))
        if not credential.username:
            return None
        authorization = self._password_of(credential)
        if authorization == used:
            return None
        self._basic = authorization
        return authorization

    async def renew(
        self, challenges: Iterable[str], scopes: Scopes, *, used: Authorization | None, words: str = ""
    ) -> Authorization:
        """What to send in place of `used`, which got a 401 with these WWW-Authenticate headers and `words`.

        Raises UpstreamDenied where there is nothing else to send, and other UpstreamFailures.
        """
        if self._settings.type is AuthType.BEARER:
            raise self.denied(used, words)
        if self._basic is not None and self._basic != used:
            return self._basic  # another request was quicker
        self.forget(used)
        offered = {challenge.scheme: challenge for header in challenges for challenge in parse_challenges(header)}
        self.scheme = next((scheme for scheme in ("bearer", "basic") if scheme in offered), self.scheme)
        if "bearer" in offered:
            self._basic, self._server = None, self._token_server(offered["bearer"])
            return _of(await self._token(self._server, scopes, _asked(scopes, offered["bearer"])))
        if "basic" in offered:
            self._server = None
            return await self._password(used, words)
        if self._server is not None:
            return _of(await self._token(self._server, scopes, scopes))
        raise self._failures.denied(
            f"{self._failures.registry} denies access, and doesn't say how to sign in.", words, status=401
        )

    def denied(self, used: Authorization | None, words: str, *, status: int = 401) -> UpstreamDenied:
        """For what was just earned and is refused all the same. The next try starts afresh."""
        self.forget(used)
        if used is None or used.account is None:
            return self._unsigned(refused(self._failures, None, words, status=status))
        if used.is_password or self._settings.type is AuthType.BEARER:
            return refused(self._failures, Credential(used.account, _UNTOLD), words, status=status)
        whom = f"`{used.account}`" if used.account else "the account that is signed in"
        return self._failures.denied(f"{self._failures.registry} does not let {whom} do this.", words, status=status)

    def forget(self, used: Authorization | None) -> None:
        """Not to be used again: it was refused, or rights may have changed meanwhile."""
        if used is not None:
            self._tokens.forget(used.header)
            if self._basic == used:
                self._basic = None

    def forget_all(self) -> None:
        """Another account may be signed in by now, or none."""
        self._basic = None
        self._tokens.clear()

    async def _password(self, used: Authorization | None, words: str) -> Authorization:
        credential = await self._credential()
        if credential is None or not credential.username:
            raise self._unsigned(refused(self._failures, credential, words))
        authorization = self._password_of(credential)
        if authorization == used:
            raise refused(self._failures, credential, words)
        self._basic = authorization
        return authorization

    def _password_of(self, credential: Credential) -> Authorization:
        authorization = Authorization(basic_header(credential), credential.username)
        self._secrets.add(authorization.header.partition(" ")[2])
        return authorization

    async def _token(self, server: TokenServer, scopes: Scopes, asked: Scopes, *, lasting: bool = False) -> Token:
        """A token good for `scopes`; where there is none, one for what is `asked` is fetched, once for all who wait."""
        if token := self._tokens.get(scopes, lasting=lasting):
            return token
        if len(self._locks) > _MOST_LOCKS:
            self._locks = {held: lock for held, lock in self._locks.items() if lock.locked()}
        async with self._locks.setdefault(scopes, asyncio.Lock()):
            if token := self._tokens.get(scopes, lasting=lasting):
                return token
            token = await self._fetched(server, asked)
            self._secrets.add(token.text.reveal())
            self._tokens.put(asked, token)
            return token

    async def _fetched(self, server: TokenServer, scopes: Scopes) -> Token:
        self._earned_by = await self._credential()
        try:
            return await self._asked_for_token(server, scopes, self._earned_by)
        except UpstreamFailure:
            # What stood in between may have named it, or it has moved: next time the registry is asked for it again.
            self._server = None
            raise

    async def _asked_for_token(self, server: TokenServer, scopes: Scopes, credential: Credential | None) -> Token:
        trust = trust_in(server.realm, self._registry)
        if trust is RealmTrust.NO_REQUEST or (credential is not None and trust is not RealmTrust.CREDENTIALS):
            named = f"{server.realm.scheme}://{Origin.of(server.realm).shown}"
            raise self._failures.untrue(
                f"{self._failures.registry} sends its sign-in to another place.",
                f"It names {named} as its token server, which is not known to be its own; nothing secret was sent there.",
            )
        try:
            return await self._client.fetch(server, scopes, credential)
        except UpstreamDenied as error:
            if credential is not None:
                raise
            raise self._unsigned(error) from error

    async def _credential(self) -> Credential | None:
        self._unavailable = None
        if self._settings.type is AuthType.ANONYMOUS:
            return None
        if self._settings.type is AuthType.BASIC:
            credential: Credential | None = Credential(self._settings.username, self._settings.password)
        else:
            try:
                credential = await self._credentials.get(registry_key(self._failures.registry))
            except CredentialUnavailable as error:
                # Anonymous may do; only where it doesn't is this worth a person's time. A machine without a keychain has none for long.
                if str(error) != self._said:
                    _log.info("credentials of %s can't be read: %s", self._failures.registry, error)
                self._unavailable, self._said = error, str(error)
                return None
            self._said = ""
        if credential is not None:
            self._secrets.add(credential.password.reveal())
        return credential

    def _unsigned(self, error: UpstreamDenied) -> UpstreamDenied:
        """The same, but where credentials could not be read it says why: that is what a person can change."""
        if self._unavailable is None:
            return error
        reason = " ".join(part for part in (self._unavailable.title, self._unavailable.message, error.message) if part)
        return self._failures.denied(
            error.title, reason, hint=self._unavailable.hint, status=error.status, codes=error.codes
        )

    def _token_server(self, challenge: Challenge) -> TokenServer:
        realm = web_url(challenge.parameters.get("realm", ""))
        if realm is None:
            raise self._failures.not_a_registry("Its challenge names no token server.", status=401)
        return TokenServer(realm, challenge.parameters.get("service", ""))


_UNTOLD: Final = Secret("")


def _of(token: Token) -> Authorization:
    return Authorization(token.header, token.account)


def _asked(scopes: Scopes, challenge: Challenge) -> Scopes:
    """Ours and the registry's: it may know the repository by another name than we do."""
    if not scopes:
        return scopes
    asked = challenge.parameters.get("scope", "").split()
    return scopes | {scope for scope in asked if not actions_of({scope}) <= actions_of(scopes)}
