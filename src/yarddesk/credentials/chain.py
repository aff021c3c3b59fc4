"""Several places for credentials, asked one after another."""

import logging
from collections.abc import Sequence
from typing import Protocol

from yarddesk.content.credentials import Credential, CredentialStore, CredentialUnavailable
from yarddesk.credentials.backends import NoKeychain

_log = logging.getLogger(__name__)


class CredentialSource(Protocol):
    """A place to read from."""

    async def get(self, registry: str) -> Credential | None: ...


class CredentialChain:
    """The keychain first, then the other places in order; the first that has a credential gives it.

    A place that can't be asked doesn't end the search; only where nothing else has a credential does `get` raise its
    CredentialUnavailable, the first one met; that there is no keychain at all, as on servers, only where nothing else is
    wrong. What is set or deleted is so in the keychain alone.
    """

    def __init__(self, keychain: CredentialStore, others: Sequence[CredentialSource] = ()) -> None:
        self._keychain = keychain
        self._others = tuple(others)

    async def get(self, registry: str) -> Credential | None:
        found = await self.find(registry)
        return found[0] if found is not None else None

    async def find(self, registry: str) -> tuple[Credential, CredentialSource] | None:
        """As `get`, with the place that gave it."""
        unavailable: CredentialUnavailable | None = None
        for source in (self._keychain, *self._others):
            try:
                credential = await source.get(registry)
            except CredentialUnavailable as error:
                _log.debug("%s can't be asked for %s: %s", type(source).__name__, registry, error)
                if unavailable is None or isinstance(unavailable, NoKeychain):
                    unavailable = error
                continue
            if credential is not None:
                return credential, source
        if unavailable is not None:
            raise unavailable
        return None

    async def set(self, registry: str, credential: Credential) -> None:
        await self._keychain.set(registry, credential)

    async def delete(self, registry: str) -> bool:
        return await self._keychain.delete(registry)
