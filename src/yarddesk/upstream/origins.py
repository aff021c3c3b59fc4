"""Where a URL leads: origins, and who may be told what (no credentials, and no private addresses, on somebody else's word)."""

import ipaddress
import re
import socket
from dataclasses import dataclass
from typing import Final, Self

import httpx

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}

_NUMERIC: Final = re.compile(r"(^|\.)(\d+|0[xX][0-9a-fA-F]+)$", re.ASCII)
_HOST: Final = re.compile(rb"[A-Za-z0-9_.:-]+")

# Domains under which everybody can have a name: a neighbour there is a stranger.
_SHARED_DOMAINS: Final = frozenset(
    {
        "amazonaws.com", "aliyuncs.com", "azurecr.io", "azurewebsites.net", "blob.core.windows.net", "cloudapp.azure.com",
        "cloudfront.net", "digitaloceanspaces.com", "duckdns.org", "fly.dev", "github.io", "gitlab.io", "googleapis.com",
        "herokuapp.com", "netlify.app", "ngrok-free.app", "ngrok.io", "nip.io", "ocir.io", "onrender.com", "pages.dev",
        "pkg.dev", "r2.dev", "run.app", "sslip.io", "trycloudflare.com", "vercel.app", "web.app", "workers.dev",
    }
)  # fmt: skip
# Second-level names that are part of a country's suffix: example.co.uk is registered, co.uk is not.
_SECOND_LEVELS: Final = frozenset(
    {"ac", "co", "com", "edu", "go", "gob", "gov", "gouv", "ltd", "ne", "net", "nom", "or", "org"}
)


@dataclass(frozen=True, slots=True)
class Origin:
    """Scheme, host and port, the port always told (RFC 6454)."""

    scheme: str
    host: str
    port: int

    @classmethod
    def of(cls, url: httpx.URL) -> Self:
        return cls(url.scheme, url.host.lower(), url.port or _DEFAULT_PORTS.get(url.scheme, 0))

    @property
    def is_loopback(self) -> bool:
        return is_loopback(self.host)

    @property
    def shown(self) -> str:
        """`host`, with the port where it isn't the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS.get(self.scheme) else f"{host}:{self.port}"


def web_url(text: str, base: httpx.URL | None = None) -> httpx.URL | None:
    """A URL that a registry names, relative to `base` where there is one; None unless it leads to an http or https host."""
    try:
        url = base.join(text) if base is not None and text else httpx.URL(text)
    except (httpx.InvalidURL, ValueError):
        return None
    usable = url.scheme in _DEFAULT_PORTS and _HOST.fullmatch(url.raw_host)
    return url if usable else None


def is_loopback(host: str) -> bool:
    address = _address(host)
    if address is not None:
        return address.is_loopback
    return host.rstrip(".").lower() == "localhost"


def may_be_reached_from(origin: Origin, target: Origin) -> bool:
    """Whether `origin` may send us to `target` at all: not to an address literal of our machine or network, unless it is there too."""
    if target.host == origin.host:
        return True
    address = _address(target.host)
    if address is None:
        return not is_loopback(target.host) or origin.is_loopback
    if address.is_global and not address.is_multicast:
        return True
    own = _address(origin.host)
    if address.is_loopback or address.is_unspecified or address.is_link_local:
        return origin.is_loopback and address.is_loopback
    return origin.is_loopback or (own is not None and own.is_private)


def same_owner(first: str, second: str) -> bool:
    """Whether two hosts belong to the same registrable domain; addresses and single labels only to themselves.

    Without the public suffix list this is cautious: where in doubt, the answer is no.
    """
    one, other = first.rstrip(".").lower(), second.rstrip(".").lower()
    if one == other:
        return True
    if _address(one) or _address(other):
        return False
    domain = _registrable(one)
    return domain is not None and domain == _registrable(other)


def _registrable(host: str) -> str | None:
    labels = host.split(".")
    for shared in _SHARED_DOMAINS:
        if host == shared:
            return None
        if host.endswith(f".{shared}"):
            return ".".join(labels[-shared.count(".") - 2 :])
    needed = 3 if len(labels) > 1 and len(labels[-1]) == 2 and labels[-2] in _SECOND_LEVELS else 2
    return ".".join(labels[-needed:]) if len(labels) >= needed else None


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        # 2130706433 and 0x7f.1 are addresses too, to whoever resolves them.
        if not _NUMERIC.search(host):
            return None
        try:
            address = ipaddress.ip_address(socket.inet_aton(host))
        except OSError:
            return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address
