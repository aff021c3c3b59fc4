"""Who may ask: the outermost layer of the server, against web pages that reach for it (DNS rebinding, cross-site requests)."""

import ipaddress
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any, Final, Protocol

from starlette.types import ASGIApp, Receive, Scope, Send

from yarddesk.oci.error_codes import ErrorCode
from yarddesk.registry.answers import Answer, refusal

_OWN_NAMES: Final = (
    "localhost",
    "host.docker.internal",
    "host.containers.internal",
    "host.lima.internal",
    "host.rancher-desktop.internal",
)
_TRUSTED_SITES: Final = (b"none", b"same-origin")
_CACHED_HOSTS: Final = 256


class GuardedApp(Protocol):
    """An application that can answer some requests without waiting."""

    def answer_at_once(self, scope: Scope) -> Answer | None: ...

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None: ...


class HostRules:
    """Which names a `Host` header may carry; ports are not compared.

    `host` is `server.host` (empty: all interfaces), `allowed_hosts` further names, of which `*` lets all of them in.
    IP literals pass but the unspecified ones, which browsers take for this machine.
    """

    def __init__(self, host: str = "localhost", allowed_hosts: Iterable[str] = ()) -> None:
        bound_to_all = host.strip("[]") in ("0.0.0.0", "::")  # every interface's address, and no name to come by
        names = [*_OWN_NAMES, *([] if bound_to_all else [host]), *allowed_hosts]
        self._all = "*" in names
        self._names = frozenset(_host_of(name.lower()) for name in names if name)
        # Asked at every request, and there are few different ones.
        self.allows: Callable[[bytes], bool] = lru_cache(maxsize=_CACHED_HOSTS)(self._allows)

    def _allows(self, header: bytes) -> bool:
        if self._all:
            return True
        name = _host_of(header.decode("latin-1").strip().lower())
        if name in self._names:
            return True
        try:
            return not _is_unspecified(ipaddress.ip_address(name))
        except ValueError:
            return False


class Guard:
    """Lets through to `app` what no page of another site can have sent. `rules` may be exchanged while it runs."""

    def __init__(self, app: GuardedApp, rules: HostRules | None = None) -> None:
        self._app = app
        self.rules = rules or HostRules()

    def answer_at_once(self, scope: Scope) -> Answer | None:
        return self._refused(scope["headers"]) or self._app.answer_at_once(scope)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        answer: ASGIApp = self._refused(scope["headers"]) or self._app
        await answer(scope, receive, send)

    def _refused(self, headers: list[tuple[bytes, bytes]]) -> Answer | None:
        values = dict(headers)
        host = values.get(b"host")
        if host is None or (len(values) != len(headers) and sum(name == b"host" for name, _ in headers) > 1):
            return refusal(400, "A request has one Host header.")
        if not self.rules.allows(host):
            return _denied("This Host is not one of ours: add it to server.allowed_hosts if it should be.")
        origin, site = values.get(b"origin"), values.get(b"sec-fetch-site")
        if origin is not None and not _same_origin(origin, host):
            return _denied("Pages of other sites may not ask here.")
        if site is not None and site.strip().lower() not in _TRUSTED_SITES:
            return _denied("Pages of other sites may not ask here.")
        return None


def _denied(message: str) -> Answer:
    return refusal(403, message, ErrorCode.DENIED)


def _host_of(authority: str) -> str:
    """The host without port, brackets and the root's dot; what is malformed stays so and is no host of anybody's."""
    if authority.startswith("["):
        host, bracket, port = authority[1:].partition("]")
        return host if bracket and _is_port(port) else authority
    if authority.count(":") > 1:
        return authority.strip("[]")
    host, colon, port = authority.partition(":")
    if not _is_port(colon + port):
        return authority
    return host.removesuffix(".")


def _is_port(text: str) -> bool:
    return not text or (text[0] == ":" and (len(text) == 1 or (text[1:].isascii() and text[1:].isdecimal())))


def _is_unspecified(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    mapped: Any = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_unspecified


def _same_origin(origin: bytes, host: bytes) -> bool:
    """Whether an Origin is the very host and port that the request was sent to.

    The scheme isn't compared (a proxy in front may add TLS); another port on this machine is another program's page.
    """
    scheme, separator, authority = origin.strip().lower().partition(b"://")
    default = {b"http": b":80", b"https": b":443"}.get(scheme)
    if not separator or default is None:
        return False
    return authority.removesuffix(default) == host.strip().lower().removesuffix(default)
