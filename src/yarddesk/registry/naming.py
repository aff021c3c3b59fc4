"""Under which name a repository lies here, however the client spells it: as a mirror, with `ns`, with or without `library/`."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final, Protocol

from yarddesk.oci.error_codes import ErrorCode
from yarddesk.oci.name import RepositoryName
from yarddesk.registry.paths import Resource, Route, is_registry_path, parse_path
from yarddesk.registry.wire import Refused

_NAMESPACE: Final = re.compile(r"[A-Za-z0-9._:\[\]/-]{1,255}", re.ASCII)
_OWN_HOSTS: Final = ("localhost", "127.0.0.1", "[::1]")
_READING: Final = ("GET", "HEAD")
_API: Final = b"/v2"


class Names(Protocol):
    """What the registry must know of the upstreams' routes."""

    def canonical(self, repository: RepositoryName) -> RepositoryName:
        """The name under which a repository is stored."""
        ...

    def prefix_of(self, namespace: str) -> str | None:
        """The prefix of the upstream that is meant by its prefix or its registry; None for all others."""
        ...

    def push_upstreams(self, repository: RepositoryName) -> Sequence[object]: ...


@dataclass(frozen=True, slots=True)
class Named:
    """The parts of a request that say what it is about; `authority` is its Host header, `port` the one it came in by."""

    method: str
    raw_path: bytes
    namespace: str
    authority: str
    port: int | None


class Naming:
    """Spellings to routes, over one state of the upstreams' routes (None: names mean what they say)."""

    def __init__(self, names: Names | None = None) -> None:
        self._names = names
        # Names are asked for again and again, and the routes behind them don't change. An entry takes half a kilobyte.
        self.plain = lru_cache(maxsize=512)(self._plain)

    def _plain(self, raw_path: bytes) -> Route:
        """The route of `/v2/NAME/…`. Raises Refused or InvalidName."""
        return self._canonical(parse_path(raw_path))

    def is_ours(self, raw_path: bytes) -> bool:
        """Whether it's `/v2/…`, or `/PREFIX/v2/…` of an upstream."""
        return is_registry_path(raw_path) or self._mirrored(raw_path) is not None

    def route(self, request: Named) -> tuple[Route, str]:
        """The route, and the namespace that the answer must name (empty: none). Raises Refused or InvalidName."""
        path, prefix = self._mirrored(request.raw_path) or (request.raw_path, "")
        if not prefix and not self._means_other_host(request):
            return self.plain(path), ""
        named = prefix or self._prefix_of_namespace(request.namespace)
        route = parse_path(path)
        if not route.name:
            return route, "" if prefix else request.namespace
        if prefix or not _is_named_already(named, route.name):
            route = replace(route, name=RepositoryName.parse(f"{named}/{route.name}"))
        route = self._canonical(route)
        if prefix:
            return route, ""
        if request.method not in _READING and not self._takes_pushes(route):
            message = f"Pushes to {request.namespace} go to that registry itself."
            raise Refused(ErrorCode.UNSUPPORTED, message, headers=((b"allow", b"GET, HEAD"),))
        return route, request.namespace

    def _mirrored(self, raw_path: bytes) -> tuple[bytes, str] | None:
        """`/PREFIX/v2/NAME/…` as `/v2/NAME/…` and the prefix; None for every other path."""
        if self._names is None or is_registry_path(raw_path):
            return None
        start = raw_path.find(_API)
        while start > 0:
            rest = raw_path[start:]
            if is_registry_path(rest):
                prefix = self._names.prefix_of(raw_path[1:start].decode("latin-1"))
                if prefix is not None:
                    return rest, prefix
            start = raw_path.find(_API, start + 1)
        return None

    def _means_other_host(self, request: Named) -> bool:
        """Whether `ns` names another registry than this one, which a client may name too."""
        namespace = request.namespace.lower()
        if not namespace or self._names is None or namespace == request.authority.lower():
            return False
        host, _, port = namespace.rpartition(":")
        own = host in _OWN_HOSTS and port == str(request.port)
        return not own or self._names.prefix_of(namespace) is not None

    def _prefix_of_namespace(self, namespace: str) -> str:
        known = self._names is not None and _NAMESPACE.fullmatch(namespace)
        prefix = self._names.prefix_of(namespace) if self._names is not None and known else None
        if prefix is None:
            raise Refused(ErrorCode.NAME_UNKNOWN, "The registry that “ns” names is none of the upstreams.")
        return prefix

    def _canonical(self, route: Route) -> Route:
        if self._names is None or not route.name:
            return route
        name = self._names.canonical(route.name)
        return route if name == route.name else replace(route, name=name)

    def _takes_pushes(self, route: Route) -> bool:
        if route.resource in (Resource.UPLOAD, Resource.UPLOADS, Resource.MANIFEST, Resource.BLOB):
            return self._names is not None and bool(self._names.push_upstreams(route.name))
        return True  # no write there is; the method is refused where methods are


def _is_named_already(prefix: str, name: str) -> bool:
    """Whether a client that says `ns` put the prefix there as well, as containerd's `override_path` and k3s's `rewrite` do.

    Only where it's a host: no registry has names that begin with its own, but for any other word it might.
    """
    return "." in prefix.partition("/")[0] and name.startswith(f"{prefix}/")
