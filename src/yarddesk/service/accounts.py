"""Credentials: where they are looked for, and signing in and out."""

from collections.abc import Iterable
from types import TracebackType
from typing import Self

from yarddesk.content.credentials import AwsAccount, Credential, CredentialStore
from yarddesk.content.registry_host import registry_key
from yarddesk.content.upstream import UpstreamDenied, UpstreamFailure
from yarddesk.credentials.aws import AwsConfiguration
from yarddesk.credentials.chain import CredentialChain
from yarddesk.credentials.docker_config import DockerKeychain
from yarddesk.credentials.keychain import KeychainStore
from yarddesk.service.front import SignInResult
from yarddesk.settings.model import UpstreamSettings
from yarddesk.upstream.check import verify_credential


class Accounts:
    """The OS keychain, then Docker's. To be used as `async with`, which lets go of the keychain's thread."""

    def __init__(self) -> None:
        self._keychain = KeychainStore()
        docker = DockerKeychain()
        self.docker_config = docker.path
        self.aws: AwsAccount = AwsConfiguration()
        self.credentials: CredentialStore = CredentialChain(self._keychain, (docker,))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._keychain.close()

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


def upstreams_at(upstreams: Iterable[UpstreamSettings], registry: str) -> list[UpstreamSettings]:
    """Those that share the credentials of a registry."""
    return [upstream for upstream in upstreams if registry_key(upstream.registry) == registry_key(registry)]
