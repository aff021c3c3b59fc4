"""What the cache and the sync worker know of the registries behind us, and how those fail."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from yarddesk.content.target import MountingTarget
from yarddesk.errors import YarddeskError
from yarddesk.oci.digest import Digest
from yarddesk.oci.name import InvalidName, RepositoryName, Tag


class UpstreamFailure(YarddeskError):
    """An upstream did not do what it was asked.

    `upstream` is its name, `status` the HTTP status where there was one, `codes` the specification's error codes that it gave.
    """

    def __init__(
        self,
        upstream: str,
        title: str,
        message: str = "",
        *,
        hint: str = "",
        temporary: bool = False,
        status: int | None = None,
        retry_after_seconds: float | None = None,
        codes: Sequence[str] = (),
    ) -> None:
        super().__init__(title, message, hint=hint, temporary=temporary)
        self.upstream = upstream
        self.status = status
        self.retry_after_seconds = retry_after_seconds
        self.codes = tuple(codes)


class UpstreamAway(UpstreamFailure):
    """No connection: name not found, refused, unreachable, no TLS there. Temporary, and true of the whole upstream."""


class UpstreamTimeout(UpstreamAway):
    """No connection, or no answer to a question that is asked with little patience, within the time limit. Temporary."""


class UpstreamPortal(UpstreamAway):
    """A login page answers in its place, as networks have them that want to know who is there. Temporary."""


class UpstreamUntrusted(UpstreamFailure):
    """It could be anybody: its certificate is not trusted, or there is nothing to check it by. A person must do something."""


class UpstreamNotAsked(UpstreamFailure):
    """It was not asked: it is known to be away, or `cache.offline` is set. Temporary."""


class UpstreamTrouble(UpstreamFailure):
    """429 or a 5xx: it is there and can't just now. Temporary; `retry_after_seconds` is what it asked for."""


class UpstreamBroken(UpstreamTrouble):
    """There was a connection, and it ended before the answer did. Temporary, and true of this one request."""


class UpstreamStalled(UpstreamBroken):
    """There is a connection, and nothing came through it, or next to nothing, within the time limit. Temporary."""


class UpstreamDenied(UpstreamFailure):
    """401 or 403: needs credentials, other ones, or rights. A person must do something."""


class UpstreamRefused(UpstreamFailure):
    """Another 4xx: it will not take this content, name or tag. A person must do something."""


class UpstreamMissing(UpstreamRefused):
    """It has no such repository, and makes none by itself."""


class UpstreamFull(UpstreamRefused):
    """A quota, or its disk, leaves no room for the content."""


class UpstreamUntrue(UpstreamFailure):
    """It answers, but not as a registry does: a login page with 200, wrong bytes, a missing header. Temporary."""


class UpstreamPage(UpstreamUntrue):
    """A web page, or the way to one, in a registry that answers as one otherwise. Temporary."""


@dataclass(frozen=True, slots=True)
class Quota:
    """How many pulls an upstream lets us do in a window of so many seconds, and how many are left, as it said last."""

    limit: int
    remaining: int
    window_seconds: int


class UpstreamRepository(MountingTarget, Protocol):
    """One repository of an upstream: a target, and what only a pull-through cache asks."""

    async def blob_size(self, digest: Digest) -> int:
        """Size in bytes, from a HEAD. Raises NotFound or UpstreamFailure."""
        ...

    async def tags(self, *, last: str = "", limit: int | None = None) -> Sequence[Tag]:
        """In lexical order, those after `last`. Raises NotFound or UpstreamFailure."""
        ...


class Upstream(Protocol):
    """One configured registry behind us."""

    @property
    def name(self) -> str: ...

    @property
    def registry(self) -> str:
        """Its host, with the port where it has one, as people know it."""
        ...

    @property
    def push(self) -> bool: ...

    @property
    def pull(self) -> bool: ...

    @property
    def quota(self) -> Quota | None:
        """None where it has said nothing of one."""
        ...

    def repository(self, name: RepositoryName) -> UpstreamRepository:
        """The target for a repository of ours: prefix stripped, `path` put before. So is the source's name of a `mount`."""
        ...

    def place_of(self, name: RepositoryName) -> str:
        """Where a repository of ours is there, whatever the settings call the way: the registry's one name and its name there."""
        ...

    async def is_reachable(self) -> bool:
        """Whether it answers at all, whatever it says, within seconds: a light question, without credentials, that never raises."""
        ...

    async def ping(self) -> None:
        """Return where it answers as a registry does, as light as `is_reachable`; raises UpstreamFailure: 429 and 5xx, too."""
        ...

    def forget_connections(self) -> None:
        """Begin the next request with a new connection: those of before a sleep of the machine are dead, and don't say so."""
        ...

    def abandon(self, name: RepositoryName, digest: Digest) -> None:
        """Nobody goes on with a blob whose push to a repository of ours there ended halfway: what was kept for that goes."""
        ...


def place_at(upstream: Upstream, repository: RepositoryName) -> str:
    """`place_of`; empty where the repository can't be there."""
    try:
        return upstream.place_of(repository)
    except InvalidName:
        return ""


class Routes(Protocol):
    """Which upstreams a repository of ours belongs to: those of the longest matching prefix, in the order written."""

    def push_upstreams(self, repository: RepositoryName) -> Sequence[Upstream]: ...

    def pull_upstreams(self, repository: RepositoryName) -> Sequence[Upstream]: ...

    def upstream(self, name: str) -> Upstream | None: ...

    def all(self) -> Sequence[Upstream]: ...

    def canonical(self, repository: RepositoryName) -> RepositoryName:
        """The name under which a repository is stored: where its route leads to Docker Hub, `nginx` is `library/nginx`."""
        ...
