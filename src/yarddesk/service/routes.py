"""The routes of one state of the settings, without a way out for the proofs of a set-up."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from yarddesk.content.upstream import Routes, Upstream
from yarddesk.engines import PROOF_REPOSITORY
from yarddesk.oci.name import RepositoryName
from yarddesk.service.accounts import Accounts
from yarddesk.settings.errors import SettingsError
from yarddesk.settings.model import Settings
from yarddesk.storage import durable
from yarddesk.storage.state_files import replace_file
from yarddesk.upstream.learned import LEARNED_FILE, MOST_FILE_BYTES, Learned
from yarddesk.upstream.routes import UpstreamRoutes


class YardRoutes(Routes):
    """The upstreams' routes, but what proves a set-up stays here."""

    def __init__(self, routes: UpstreamRoutes) -> None:
        self._routes = routes

    def push_upstreams(self, repository: RepositoryName) -> Sequence[Upstream]:
        return () if repository == PROOF_REPOSITORY else self._routes.push_upstreams(repository)

    def pull_upstreams(self, repository: RepositoryName) -> Sequence[Upstream]:
        return () if repository == PROOF_REPOSITORY else self._routes.pull_upstreams(repository)

    def upstream(self, name: str) -> Upstream | None:
        return self._routes.upstream(name)

    def all(self) -> Sequence[Upstream]:
        return self._routes.all()

    def canonical(self, repository: RepositoryName) -> RepositoryName:
        return self._routes.canonical(repository)

    def prefix_of(self, namespace: str) -> str | None:
        return self._routes.prefix_of(namespace)

    def repository_of(self, registry: str, name: RepositoryName) -> RepositoryName | None:
        return self._routes.repository_of(registry, name)

    def follow(self, before: "YardRoutes") -> None:
        self._routes.follow(before._routes)

    def account_changed(self, registry: str) -> None:
        self._routes.account_changed(registry)

    async def aclose(self) -> None:
        await self._routes.aclose()


def make_routes(settings: Settings, accounts: Accounts, learned: Learned | None = None) -> YardRoutes:
    """The upstreams of these settings, with a client for each; to be closed. learned: what is known of them from before.

    Raises SettingsError for an address that can't be one.
    """
    try:
        routes = UpstreamRoutes(
            settings.upstreams,
            accounts.credentials,
            check_timeout=settings.check_timeout,
            learned=learned,
            aws=accounts.aws,
        )
    except SettingsError as error:
        raise SettingsError(str(settings.source or ""), error.key, error.reason) from error
    return YardRoutes(routes)


async def open_learned(data_dir: Path) -> Learned:
    """What upstreams turned out to take, as the data folder knows it; to be closed after the routes."""
    path = data_dir / LEARNED_FILE

    def read() -> bytes | None:
        try:
            return durable.read_whole(str(path), MOST_FILE_BYTES)
        except FileNotFoundError:
            return None

    learned = Learned(read, partial(replace_file, path))
    await learned.load()
    return learned
