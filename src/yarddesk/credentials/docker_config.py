"""Docker's keychain: `config.json` with its `auths`, `credsStore` and `credHelpers` (Docker CLI documentation, `docker login`)."""

import asyncio
import base64
import binascii
import json
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from yarddesk.content.credentials import Credential, CredentialUnavailable, Secret
from yarddesk.content.registry_host import DOCKER_HUB, registry_key
from yarddesk.credentials.docker_helper import HelperHangs, ask_helper

_HUB_KEYS: Final = ("https://index.docker.io/v1/", "index.docker.io", DOCKER_HUB, "registry-1.docker.io")
_MAX_BYTES: Final = 1024 * 1024
_THREADS: Final = ThreadPoolExecutor(4, "yarddesk-docker-keychain")
"""Of their own: a helper that hangs keeps neither names from being looked up nor files from being read."""


@dataclass(frozen=True, slots=True)
class _Config:
    auths: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    store: str = ""
    helpers: Mapping[str, str] = field(default_factory=dict)


class DockerKeychain:
    """Reads what `docker login` keeps; never writes there. Read anew at each call, since Docker may change it at any time."""

    def __init__(
        self,
        environ: Mapping[str, str] | None = None,
        home: Path | None = None,
        *,
        ask: Callable[[str, str, Mapping[str, str]], Credential | None] = ask_helper,
    ) -> None:
        self._environ = os.environ if environ is None else environ
        self._home = home
        self._ask = ask

    async def get(self, registry: str) -> Credential | None:
        """None where Docker keeps none. Raises CredentialUnavailable: the file can't be read, or a helper fails."""
        return await asyncio.get_running_loop().run_in_executor(_THREADS, self._get, registry_key(registry))

    @property
    def path(self) -> Path:
        folder = self._environ.get("DOCKER_CONFIG")
        return (Path(folder) if folder else (self._home or Path(os.path.expanduser("~"))) / ".docker") / "config.json"

    def _get(self, registry: str) -> Credential | None:
        config = _read(self.path)
        failed: CredentialUnavailable | None = None
        for helper, address in _helpers(config, registry):
            try:
                found = self._ask(helper, address, self._environ)
            except HelperHangs as error:
                failed = error
                break  # it would be waited for as long again for each other address of the registry
            except CredentialUnavailable as error:
                failed = failed or error
                continue
            if found is not None:
                return found
        for address, entry in config.auths.items():
            if registry_key(address) == registry and (found := _entry(entry)) is not None:
                return found
        if failed is not None:
            raise failed
        return None


def _helpers(config: _Config, registry: str) -> Iterator[tuple[str, str]]:
    """Helper and server address, in the order in which Docker would ask: the registry's own first."""
    addresses = _HUB_KEYS if registry == DOCKER_HUB else (registry, f"https://{registry}")
    named = {registry_key(address): helper for address, helper in config.helpers.items()}
    if registry in named:
        yield from ((named[registry], address) for address in addresses)
    elif config.store:
        yield from ((config.store, address) for address in addresses)


def _read(path: Path) -> _Config:
    try:
        with path.open("rb") as file:
            document = json.loads(file.read(_MAX_BYTES))
    except FileNotFoundError:
        return _Config()
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "It is not valid JSON."
        raise CredentialUnavailable(
            "Docker's credentials can't be read.", f"{path}: {reason}", hint="Repair or remove that file."
        ) from error
    if not isinstance(document, dict):
        return _Config()
    auths, helpers, store = document.get("auths"), document.get("credHelpers"), document.get("credsStore")
    return _Config(
        {str(key): entry for key, entry in auths.items() if isinstance(entry, dict)} if isinstance(auths, dict) else {},
        store if isinstance(store, str) else "",
        {str(key): str(name) for key, name in helpers.items() if isinstance(name, str)}
        if isinstance(helpers, dict)
        else {},
    )


def _entry(entry: Mapping[str, Any]) -> Credential | None:
    """One of `auths`: an identity token, or `auth` (base64 of USER:PASSWORD), or both apart."""
    identity = entry.get("identitytoken")
    if isinstance(identity, str) and identity:
        return Credential("", Secret(identity))
    packed = entry.get("auth")
    if isinstance(packed, str) and packed:
        try:
            username, colon, password = base64.b64decode(packed).decode().rstrip("\0").partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return None
        return Credential(username, Secret(password)) if colon and username and password else None
    name, secret = entry.get("username"), entry.get("password")
    if isinstance(name, str) and isinstance(secret, str) and name and secret:
        return Credential(name, Secret(secret))
    return None
