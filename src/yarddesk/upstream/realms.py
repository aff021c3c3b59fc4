"""Where a registry may send us for a token, and whether our credentials may go there.

A registry names its token server itself (`realm`), so a hacked or false one could name anybody's: CVE-2026-33540 and
CVE-2026-48978 were that in other clients. Credentials go to the registry's own host, to its owner's domain, or to a pinned host.
"""

from enum import Enum
from typing import Final

import httpx

from yarddesk.upstream.origins import Origin, may_be_reached_from, same_owner

# Registries whose token server is known to live under another domain than they do.
_PINNED: Final = {
    "lscr.io": ("ghcr.io",),  # a proxy in front of it (getwud/wud issue 143 shows its challenge)
}


class RealmTrust(Enum):
    """What may be sent to a realm."""

    CREDENTIALS = "credentials"
    NOTHING_SECRET = "nothing secret"
    NO_REQUEST = "no request"


def trust_in(realm: httpx.URL, registry: Origin) -> RealmTrust:
    """How far a realm that `registry` names can be trusted."""
    target = Origin.of(realm)
    if target.scheme not in ("http", "https") or realm.userinfo:
        return RealmTrust.NO_REQUEST
    if target.scheme == "http" and registry.scheme != "http" and not (registry.is_loopback and target.is_loopback):
        return RealmTrust.NO_REQUEST
    if same_owner(target.host, registry.host) or target.host in _PINNED.get(registry.host, ()):
        return RealmTrust.CREDENTIALS
    return RealmTrust.NOTHING_SECRET if may_be_reached_from(registry, target) else RealmTrust.NO_REQUEST
