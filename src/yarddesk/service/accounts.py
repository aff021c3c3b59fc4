"""Credentials: where they are looked for, and signing in and out."""

from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from yarddesk.content.credentials import AwsAccount, Credential, CredentialStore, CredentialUnavailable
from yarddesk.content.registry_host import registry_key
from yarddesk.content.upstream import UpstreamDenied, UpstreamFailure
from yarddesk.credentials.aws import AwsConfiguration
from yarddesk.credentials.chain import CredentialChain
from yarddesk.credentials.docker_config import DockerKeychain
from yarddesk.credentials.keychain import KeychainStore
from yarddesk.service.front import SignInResult
from yarddesk.settings.model import UpstreamSettings
from yarddesk.upstream.check import OneCredential, verify_credential


@dataclass(frozen=True, slots=True)
class FoundCredential:
    """A credential, and where it was found, in words."""

    credential: Credential
    source: str


class Accounts:
    """The OS keychain, then Docker's. To be used as `async with`, which lets go of the keychain's thread."""

    def __init__(self) -> None:
        self._keychain = KeychainStore()
        self._docker = DockerKeychain()
        self.docker_config = self._docker.path
        self.aws: AwsAccount = AwsConfiguration()
        self._chain = CredentialChain(self._keychain, (self._docker,))
        self.credentials: CredentialStore = self._chain

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._keychain.close()

    async def check_keychain(self) -> str:
        """What people call the OS keychain, which can be read. Raises CredentialUnavailable: NoKeychain where there is none."""
        return await self._keychain.check()

    async def find(self, registry: str, unreadable: CredentialUnavailable | None = None) -> FoundCredential | None:
        """What the registry's upstreams sign in with where the settings don't say. Raises CredentialUnavailable.

        `unreadable`: what asking the keychain came to just now, so that it need not be asked, and wait for a person, again.
        """
        chain = self._chain if unreadable is None else CredentialChain(_Unreadable(unreadable), (self._docker,))
        found = await chain.find(registry_key(registry))
        if found is None:
            return None
        source = f"Docker's {self.docker_config}" if found[1] is self._docker else "the keychain"
        return FoundCredential(found[0], source)

    async def sign_in(self, upstream: UpstreamSettings, credential: Credential) -> SignInResult:
        """Ask the registry whether it takes them, and keep them in the OS keychain.

        A registry that is out of reach is no reason not to keep them. Raises UpstreamDenied (nothing is kept) and
        CredentialUnavailable (they could not be kept).
        """
        reason = ""
        try:
            await verify_credential(upstream, credential)
        except UpstreamDenied:
            raise
        except UpstreamFailure as error:
            reason = error.title
        await self._keychain.set(registry_key(upstream.registry), credential)
        return SignInResult(checked=not reason, reason=reason)

    async def sign_out(self, upstream: UpstreamSettings) -> bool:
        """Whether there was a credential to take out. Raises CredentialUnavailable."""
        return await self._keychain.delete(registry_key(upstream.registry))


class _Unreadable(OneCredential):
    """A keychain that was just asked in vain."""

    def __init__(self, error: CredentialUnavailable) -> None:
        super().__init__(None)
        self._error = error

    async def get(self, registry: str) -> Credential | None:
        raise self._error


def upstreams_at(upstreams: Iterable[UpstreamSettings], registry: str) -> list[UpstreamSettings]:
    """Those that share the credentials of a registry."""
    return [upstream for upstream in upstreams if registry_key(upstream.registry) == registry_key(registry)]
