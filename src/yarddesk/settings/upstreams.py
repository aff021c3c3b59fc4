"""The list of upstreams: entries of the YAML's list, or one from a URL."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from ipaddress import IPv4Address
from itertools import chain, count
from typing import Any, Final
from urllib.parse import urlsplit

from yarddesk.content.credentials import Secret
from yarddesk.oci.name import InvalidName, RepositoryName
from yarddesk.settings import values
from yarddesk.settings.model import AuthSettings, AuthType, TagFilter, TlsSettings, UpstreamSettings

DEFAULT_UPSTREAMS: Final = (
    UpstreamSettings(registry="registry-1.docker.io", name="docker.io", prefix="docker.io"),
    UpstreamSettings(registry="ghcr.io", name="ghcr.io", prefix="ghcr.io"),
)
"""Without an `upstreams` key: pull only, so that nothing is ever sent anywhere that nobody asked for."""

_HOST = re.compile(r"[\w.-]+")
_LIKE_IPV4 = re.compile(r"[0-9]+(\.[0-9]+){3}", re.ASCII)
_PORT_OF_FIRST = re.compile(r"\A([^/:]+):[0-9]{1,5}(?=/|\Z)", re.ASCII)


def upstream_from_url(url: str, *, prefix: str = "", push: bool = True, pull: bool = True) -> UpstreamSettings:
    """`[http[s]://]HOST[:PORT][/PATH]`; http means `plain_http`. Raises ValueError, also for a user or password in it."""
    if "@" in url.partition("://")[2] or ("://" not in url and "@" in url):
        raise ValueError("a user or password in the URL would end up in a file; leave it out and use `yarddesk login`")
    registry, path, plain_http = _split_registry(url)
    prefix = _checked_path(prefix.strip(), "prefix")
    return UpstreamSettings(
        registry=registry,
        name=prefix or registry,
        prefix=prefix,
        path=path,
        push=push,
        pull=pull,
        tls=TlsSettings(plain_http=plain_http),
    )


def upstream_from_entry(entry: Mapping[str, Any]) -> UpstreamSettings:
    """One entry of the YAML's list, its keys flattened and its values parsed. Raises EntryError; the name may be empty."""
    if not entry.get("registry"):
        raise EntryError("registry", "an upstream needs its registry, such as registry.example.com")
    if "@" in entry["registry"]:
        raise EntryError("registry", "a user or password doesn't belong in registry; use auth, or `yarddesk login`")
    with _of("registry"):
        registry, path_in_registry, plain_http = _split_registry(entry["registry"])
    with _of("manifest_ttl"):
        manifest_ttl = _manifest_ttl(entry.get("manifest_ttl"))
    own_path = str(entry.get("path", "")).strip("/")
    path = "/".join(part for part in (path_in_registry, own_path) if part)
    return UpstreamSettings(
        registry=registry,
        name=entry.get("name", ""),
        prefix=_checked_path(entry.get("prefix", ""), "prefix"),
        path=_checked_path(path, "path"),
        push=entry.get("push", False),
        pull=entry.get("pull", True),
        auth=_auth(entry),
        tls=TlsSettings(
            verify=entry.get("tls.verify", True),
            ca_file=entry.get("tls.ca_file", ""),
            plain_http=entry.get("tls.plain_http", plain_http),
        ),
        manifest_ttl=manifest_ttl,
        create_repository=entry.get("create_repository", False),
        tags=TagFilter(entry.get("tags.include", ()), entry.get("tags.exclude", ())),
    )


class EntryError(ValueError):
    """`key` of an upstream's entry can't be what it is."""

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(reason)
        self.key = key


@contextmanager
def _of(key: str) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise EntryError(key, str(error)) from error


def name_upstreams(upstreams: Sequence[UpstreamSettings]) -> tuple[UpstreamSettings, ...]:
    """Give those without a name one: the prefix, else the registry's host; when that is taken, one that tells them apart."""
    taken = {upstream.name for upstream in upstreams if upstream.name}
    named = []
    for upstream in upstreams:
        if not upstream.name:
            full = "/".join(part for part in (upstream.registry, upstream.path) if part)
            wishes = (
                upstream.prefix or upstream.registry,
                upstream.registry,
                full,
                f"{upstream.prefix or 'all'} at {full}",
            )
            numbered = (f"{wishes[0]} {number}" for number in count(2))
            name = next(wish for wish in chain(wishes, numbered) if wish not in taken)
            taken.add(name)
            upstream = replace(upstream, name=name)
        named.append(upstream)
    return tuple(named)


def with_catch_all(upstreams: Sequence[UpstreamSettings], catch_all: UpstreamSettings) -> tuple[UpstreamSettings, ...]:
    """The list with its catch-alls replaced by this one."""
    others = tuple(upstream for upstream in upstreams if upstream.prefix)
    return (*others, catch_all)


def _split_registry(text: str) -> tuple[str, str, bool]:
    """Registry as `host[:port]`, path and whether it's plain http."""
    plain_http = text.lower().startswith("http://")
    try:
        parts = urlsplit(text if "://" in text else f"https://{text}")
    except ValueError as error:
        raise ValueError(f"“{text[:80]}” is not a registry's address") from error
    if parts.scheme.lower() not in ("http", "https"):
        raise ValueError(f"“{text[:80]}” is neither an http nor an https address")
    if parts.query or parts.fragment:
        raise ValueError("a registry's address has no ? and no #")
    try:
        port = parts.port
    except ValueError as error:
        raise ValueError(f"“{text[:80]}” has no valid port") from error
    # What stands for a variable that isn't set stays as it's written, for whoever reads that it wasn't found.
    host = parts.netloc.removesuffix(f":{port}") if "${" in parts.netloc else parts.hostname or ""
    if not _may_be_host(host) or " " in text or not text.isprintable():
        raise ValueError(f"“{text[:80]}” is not a registry's address")
    host = f"[{host}]" if ":" in host else host
    registry = f"{host}:{port}" if port is not None else host
    return registry, _checked_path(parts.path, "path"), plain_http


def _may_be_host(host: str) -> bool:
    """Not so is an IPv4 address with a slip in it, either: nothing could ask it. Brackets hold what urlsplit has looked at."""
    if _LIKE_IPV4.fullmatch(host):
        try:
            return bool(IPv4Address(host))
        except ValueError:
            return False
    return ":" in host or "${" in host or _HOST.fullmatch(host) is not None


def _checked_path(text: str, what: str) -> str:
    """A prefix or path without slashes around it. Raises EntryError where no repository's name can begin so: nothing would match."""
    path = text.strip("/")
    if not path:
        return ""
    try:
        _parse_beginning(path, what)
    except InvalidName as error:
        reason = f"“{path[:80]}” can't stand before a repository's name"
        try:
            _parse_beginning(path.lower(), what)
        except InvalidName:
            raise EntryError(what, f"{reason}. {error.hint}") from error
        raise EntryError(what, f"{reason}, which is in lower case; write “{path.lower()}”") from error
    return path


def _parse_beginning(path: str, what: str) -> None:
    """Raises InvalidName where it can't be followed by `/` and the rest of a name."""
    # A prefix may begin with a host's port, which a repository's name can't hold.
    beginning = _PORT_OF_FIRST.sub(r"\1", path) if what == "prefix" else path
    RepositoryName.parse(f"{beginning}/a")


def _auth(entry: Mapping[str, Any]) -> AuthSettings:
    try:
        kind = AuthType(entry.get("auth.type", "").strip().lower())
    except ValueError:
        kind = AuthType.KEYCHAIN  # nothing or anything else, as Dockyard reads it
    username, password = entry.get("auth.username", ""), entry.get("auth.password", Secret(""))
    if kind is AuthType.BASIC and not username:
        raise EntryError("auth.type", "basic needs auth.username and auth.password")
    if kind in (AuthType.BASIC, AuthType.BEARER) and not password:
        raise EntryError("auth.type", f"{kind} needs auth.password")
    return AuthSettings(kind, username, password)


def _manifest_ttl(given: object) -> timedelta | tuple[tuple[str, timedelta], ...] | None:
    if given is None:
        return None
    if isinstance(given, Mapping):
        patterns = ((values.text(pattern), ttl) for pattern, ttl in given.items())
        return tuple((pattern, _ttl_of(pattern, ttl)) for pattern, ttl in patterns)
    return values.duration(given)


def _ttl_of(pattern: str, given: object) -> timedelta:
    try:
        return values.duration(given)
    except ValueError as error:
        raise ValueError(f"for the tags “{pattern[:80]}”: {error}") from error
