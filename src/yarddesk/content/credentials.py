"""Credentials for registries, and where they come from."""

from dataclasses import dataclass
from typing import Protocol

from yarddesk.errors import YarddeskError


class Secret:
    """Text that must not be seen: repr and str mask it, `reveal` gives it."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        return self._text

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__


@dataclass(frozen=True, slots=True)
class Credential:
    """A user name and password, or a token in `password` with an empty user name."""

    username: str
    password: Secret


class CredentialUnavailable(YarddeskError):
    """The place where credentials are kept can't be asked: locked, missing, refused. Not the same as having none."""


@dataclass(frozen=True, slots=True)
class AwsKeys:
    """What requests to AWS are signed with; `session_token` is empty for keys that don't end."""

    access_key: str
    secret_key: Secret
    session_token: Secret


class AwsAccount(Protocol):
    """Whose account requests to AWS are made with."""

    def endpoint(self, service: str) -> str:
        """The URL to use in place of a service's own; empty where there is none."""
        ...

    async def keys(self) -> AwsKeys | None:
        """None where there are none. Raises CredentialUnavailable."""
        ...


class CredentialStore(Protocol):
    """Credentials by registry (`host[:port]`, lower case; Docker Hub is `docker.io`)."""

    async def get(self, registry: str) -> Credential | None:
        """None where there is none. Raises CredentialUnavailable."""
        ...

    async def set(self, registry: str, credential: Credential) -> None:
        """Raises CredentialUnavailable; nothing is written anywhere else instead."""
        ...

    async def delete(self, registry: str) -> bool:
        """Whether there was one. Raises CredentialUnavailable."""
        ...
