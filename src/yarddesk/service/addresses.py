"""How our registry is called by others: in an image's name, by an engine."""

from typing import Final
from urllib.parse import urlsplit

from yarddesk.engines.model import RegistryAddress
from yarddesk.settings.model import ServerSettings

ENGINE_STATE: Final = "engines"
"""The folder below the data folder where what undoes a set-up is kept."""

_LOOPBACK: Final = "localhost"
ALL_INTERFACES: Final = frozenset({"", "0.0.0.0", "::", "[::]"})


def engine_address(server: ServerSettings, port: int | None = None) -> RegistryAddress:
    """The address that the settings give; `port` is the one in use where the settings leave it open."""
    host = _LOOPBACK if server.host in ALL_INTERFACES else server.host
    host = f"[{host}]" if ":" in host and not host.startswith("[") else host
    return RegistryAddress(host.lower(), port or server.port, server.tls)


def exposure(server: ServerSettings) -> str:
    """What who listens beyond this machine should know; empty where nobody else can reach it."""
    if engine_address(server).is_loopback and server.host not in ALL_INTERFACES:
        return ""
    return (
        f"listening beyond this machine (server.host “{server.host}”): whoever reaches it can push and pull without a "
        "password, and what they push is synced under your name"
    )


def engine_address_of_url(url: str) -> RegistryAddress:
    """The address of a running instance, from the URL that it announces."""
    parts = urlsplit(url)
    return engine_address(ServerSettings(host=parts.hostname or "", tls=parts.scheme == "https"), parts.port)
