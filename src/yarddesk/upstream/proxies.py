"""Which proxy a request goes through: the environment's variables, the system's settings, and the exceptions from both."""

import ipaddress
import os
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Self

from yarddesk.upstream.origins import Origin

_SCHEMES: Final = ("http", "https", "all")


@dataclass(frozen=True, slots=True)
class Proxies:
    """Proxy addresses by scheme (`http`, `https`, `all`), and who is spoken to without one, as NO_PROXY lists them."""

    by_scheme: Mapping[str, str]
    exceptions: tuple[str, ...] = ()

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> Self:
        """`http_proxy`, `https_proxy`, `all_proxy`, `no_proxy`, in either case; without any, what macOS or Windows has set."""
        given = os.environ if environ is None else environ
        named = {scheme: _variable(given, f"{scheme}_proxy") for scheme in _SCHEMES}
        by_scheme = {scheme: address for scheme, address in named.items() if address}
        if not by_scheme and environ is None:
            by_scheme = {
                scheme: address for scheme, address in urllib.request.getproxies().items() if scheme in _SCHEMES
            }
        exceptions = tuple(entry.strip().lower() for entry in _variable(given, "no_proxy").split(",") if entry.strip())
        return cls(by_scheme, exceptions)

    def proxy_for(self, origin: Origin) -> str | None:
        """The proxy's URL; None to go there directly, as always to our own machine."""
        address = self.by_scheme.get(origin.scheme) or self.by_scheme.get("all")
        if not address or origin.is_loopback or any(_matches(entry, origin) for entry in self.exceptions):
            return None
        return address if "://" in address else f"http://{address}"


def _variable(environ: Mapping[str, str], name: str) -> str:
    return environ.get(name) or environ.get(name.upper()) or ""


def _matches(entry: str, origin: Origin) -> bool:
    """`*`, a host or `.suffix` with all below it, `host:port`, an address, or a network as `10.0.0.0/8`."""
    if entry == "*":
        return True
    try:
        return ipaddress.ip_address(origin.host) in ipaddress.ip_network(entry.strip("[]"), strict=False)
    except ValueError:
        pass  # the entry or the host is a name
    host, colon, port = entry.rpartition(":")
    if colon and port.isdecimal() and "]" not in port:
        if int(port) != origin.port:
            return False
        entry = host
    bare = entry.strip("[]").removeprefix("*").lstrip(".")
    return bool(bare) and (origin.host == bare or origin.host.endswith(f".{bare}"))
