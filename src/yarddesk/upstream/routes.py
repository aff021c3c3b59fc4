"""Which upstreams a repository's name leads to, and what it is called there."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from yarddesk.content.credentials import AwsAccount, CredentialStore
from yarddesk.content.registry_host import is_docker_hub, registry_key
from yarddesk.content.upstream import Quota, Upstream
from yarddesk.oci.digest import Digest
from yarddesk.oci.name import InvalidName, RepositoryName
from yarddesk.settings.model import UpstreamSettings
from yarddesk.upstream.client import RegistryClient
from yarddesk.upstream.creation import RepositoryMaker
from yarddesk.upstream.learned import Learned
from yarddesk.upstream.referrers_tag import ReferrersTags
from yarddesk.upstream.target import RegistryRepository
from yarddesk.upstream.upload import Uploader

_LIBRARY: Final = "library"

ClientFactory = Callable[[UpstreamSettings, CredentialStore], RegistryClient]


@dataclass(frozen=True, slots=True)
class _Connection:
    """What all views of one upstream share."""

    settings: UpstreamSettings
    client: RegistryClient
    uploader: Uploader
    referrers: ReferrersTags
    maker: RepositoryMaker | None
    check_timeout: timedelta


class RegistryUpstream:
    """One configured upstream, as content.upstream.Upstream.

    `for_pulls`: Docker Hub under the empty prefix calls `nginx` `library/nginx`, which a push must not do.
    """

    def __init__(self, connection: _Connection, *, for_pulls: bool) -> None:
        self._connection = connection
        self._for_pulls = for_pulls

    @property
    def name(self) -> str:
        return self._connection.settings.name

    @property
    def registry(self) -> str:
        return self._connection.client.registry

    @property
    def push(self) -> bool:
        return self._connection.settings.push

    @property
    def pull(self) -> bool:
        return self._connection.settings.pull

    @property
    def quota(self) -> Quota | None:
        return self._connection.client.quota.left

    @property
    def settings(self) -> UpstreamSettings:
        return self._connection.settings

    def repository(self, name: RepositoryName) -> RegistryRepository:
        """Raises InvalidName where the name can't lead here: another prefix, or none that is left once the prefix went."""
        remote = self._remote(name)
        # A push's read-back and look-ups have the worker's patience; a pull has a client's.
        return RegistryRepository(
            self._connection.client,
            self._connection.uploader,
            self._connection.referrers,
            remote,
            self._remote_name,
            for_pushes=self.push and not self._for_pulls,
            check_timeout=self._connection.check_timeout if self._for_pulls else timedelta(0),
        )

    def place_of(self, name: RepositoryName) -> str:
        """Raises InvalidName like `repository`."""
        return f"{registry_key(self.registry)}/{self._remote(name)}"

    async def is_reachable(self) -> bool:
        return await self._connection.client.is_reachable()

    async def ping(self) -> None:
        await self._connection.client.ping()

    def forget_connections(self) -> None:
        self._connection.client.forget_connections()

    def abandon(self, name: RepositoryName, digest: Digest) -> None:
        remote = self._remote_name(name)
        if remote is not None:
            self._connection.uploader.abandon(remote, digest)

    def _remote(self, name: RepositoryName) -> RepositoryName:
        remote = self._remote_name(name)
        if remote is None:
            raise InvalidName(f"“{name}” does not lead to {self.registry}.")
        return remote

    def _remote_name(self, name: RepositoryName) -> RepositoryName | None:
        settings = self._connection.settings
        rest = _strip(name, settings.prefix)
        if rest is None:
            return None
        if _adds_library(settings, rest) and (settings.prefix or self._for_pulls):
            rest = f"{_LIBRARY}/{rest}"
        try:
            return RepositoryName.parse(f"{settings.path}/{rest}" if settings.path else rest)
        except InvalidName:
            return None


class UpstreamRoutes:
    """content.upstream.Routes over the settings' upstreams: the longest prefix of whole path components wins."""

    def __init__(
        self,
        upstreams: Sequence[UpstreamSettings],
        credentials: CredentialStore,
        *,
        check_timeout: timedelta = timedelta(seconds=5),
        make_client: ClientFactory = RegistryClient,
        learned: Learned | None = None,
        aws: AwsAccount | None = None,
    ) -> None:
        """`aws`: whose account repositories are made with that settings want to be made."""
        learned = learned or Learned()
        self._connections = []
        for settings in upstreams:
            client = make_client(settings, credentials)
            maker = RepositoryMaker(client, aws) if settings.create_repository and aws is not None else None
            uploader = Uploader(client, learned, learned.of(_place(settings)), maker.make if maker else None)
            self._connections.append(
                _Connection(settings, client, uploader, ReferrersTags(client), maker, check_timeout)
            )

    def push_upstreams(self, repository: RepositoryName) -> Sequence[Upstream]:
        """Those of the route with `push`, in the order written; none for a name that can't be one there."""
        return [view for view in self._views(repository, for_pulls=False) if view.push]

    def pull_upstreams(self, repository: RepositoryName) -> Sequence[Upstream]:
        """Those of the route with `pull`, in the order written; none for a name that can't be one there."""
        return [view for view in self._views(repository, for_pulls=True) if view.pull]

    def upstream(self, name: str) -> Upstream | None:
        """The upstream that settings call `name`, as pushes see it."""
        return next((upstream for upstream in self.all() if upstream.name == name), None)

    def all(self) -> Sequence[Upstream]:
        return [RegistryUpstream(connection, for_pulls=False) for connection in self._connections]

    def canonical(self, repository: RepositoryName) -> RepositoryName:
        for settings in (connection.settings for connection in self._route(repository)):
            rest = _strip(repository, settings.prefix)
            if settings.prefix and rest is not None and _adds_library(settings, rest):
                try:
                    return RepositoryName.parse(f"{settings.prefix}/{_LIBRARY}/{rest}")
                except InvalidName:
                    return repository
        return repository

    def prefix_of(self, namespace: str) -> str | None:
        """The prefix that a mirror's `ns` means: an upstream's prefix, or its registry with the port; None for all others."""
        key = registry_key(namespace)
        named = [connection.settings for connection in self._connections if connection.settings.prefix]
        by_prefix = next((each.prefix for each in named if each.prefix.lower() == namespace.strip().lower()), None)
        return by_prefix or next((each.prefix for each in named if registry_key(each.registry) == key), None)

    def repository_of(self, registry: str, name: RepositoryName) -> RepositoryName | None:
        """What we call the repository that a registry (`host[:port]`, or a prefix) calls `name`; None where we can't pull it."""
        key = registry_key(registry)
        for settings in (connection.settings for connection in self._connections if connection.settings.pull):
            is_prefix = bool(settings.prefix) and settings.prefix.lower() == registry.lower()
            rest: str | None = name
            if not is_prefix:
                rest = _strip(name, settings.path) if registry_key(settings.registry) == key else None
            if rest is None:
                continue
            try:
                ours = self.canonical(RepositoryName.parse(f"{settings.prefix}/{rest}" if settings.prefix else rest))
            except InvalidName:
                continue
            if any(view.settings is settings for view in self._views(ours, for_pulls=True)):
                return ours
        return None

    def follow(self, before: "UpstreamRoutes") -> None:
        """These take the place of others: how many pulls are left is known from there, where it's the same registry."""
        known = {each.settings.name: each for each in before._connections}
        for connection in self._connections:
            same = known.get(connection.settings.name)
            if same is not None and same.settings.way == connection.settings.way:
                connection.client.quota = same.client.quota

    def account_changed(self, registry: str) -> None:
        """Somebody signed in to this registry, or out: nothing that was earned before is used again."""
        for connection in self._connections:
            if registry_key(connection.settings.registry) == registry_key(registry):
                connection.client.forget_account()

    async def aclose(self) -> None:
        """Close the connections; those in use when their requests end."""
        await asyncio.gather(*(connection.uploader.aclose() for connection in self._connections))
        for connection in self._connections:
            if connection.maker is not None:
                await connection.maker.aclose()
            await connection.client.aclose()

    def _views(self, repository: RepositoryName, *, for_pulls: bool) -> list[RegistryUpstream]:
        views = [RegistryUpstream(connection, for_pulls=for_pulls) for connection in self._route(repository)]
        return [view for view in views if view._remote_name(repository) is not None]

    def _route(self, repository: RepositoryName) -> list[_Connection]:
        matching = [each for each in self._connections if _strip(repository, each.settings.prefix) is not None]
        longest = max((len(each.settings.prefix) for each in matching), default=0)
        return [each for each in matching if len(each.settings.prefix) == longest]


def _place(settings: UpstreamSettings) -> str:
    """What lessons are kept by: behind one host, paths may lead to registries of several kinds."""
    host = registry_key(settings.registry)
    return f"{host}/{settings.path}" if settings.path else host


def _strip(name: str, prefix: str) -> str | None:
    """What is left of a name without its prefix; None where it has another one, or nothing would be left."""
    if not prefix:
        return name
    return name[len(prefix) + 1 :] if name.startswith(f"{prefix}/") else None


def _adds_library(settings: UpstreamSettings, rest: str) -> bool:
    return is_docker_hub(settings.registry) and not settings.path and "/" not in rest
