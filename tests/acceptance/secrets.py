"""Where a password is kept, and where it must not be."""

from __future__ import annotations

import base64
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

import secretstorage
from jeepney.io.blocking import open_dbus_connection
from secretstorage.exceptions import ItemNotFoundException

from tests.peers.secret_service import SecretService


def kept_in(keychain: SecretService) -> dict[str, tuple[str, str]]:
    """What yarddesk keeps in an unlocked keychain, as another program sees it: the registry → (user, password)."""
    with open_dbus_connection(keychain.address) as connection:
        items = secretstorage.get_default_collection(connection).get_all_items()
        found = {}
        for item in items:
            # One that the program removes just now is kept no more.
            with suppress(ItemNotFoundException):
                found[item.get_attributes()["service"]] = item.get_secret()
    entries = {service.removeprefix("yarddesk:"): json.loads(secret) for service, secret in found.items()}
    return {registry: (entry["username"], entry["password"]) for registry, entry in entries.items()}


def forms_of(user: str, password: str) -> list[bytes]:
    """How a password can be written down by mistake: as it is, in a URL, in JSON, as basic authentication."""
    basic = base64.b64encode(f"{user}:{password}".encode()).decode()
    texts = (password, quote(password), json.dumps(password)[1:-1], basic, base64.b64encode(password.encode()).decode())
    return [text.rstrip("=").encode() for text in texts]


def files_with(forms: list[bytes], *folders: Path) -> list[Path]:
    """The files below these folders that hold one of them, in their name or in their content."""
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return [path for path in files if any(form in _content(path) for form in forms)]


def _content(path: Path) -> bytes:
    try:
        return os.fsencode(path.name) + path.read_bytes()
    except FileNotFoundError:
        return b""  # one that a running program removed meanwhile


@contextmanager
def processes_watched(forms: list[bytes]) -> Iterator[set[str]]:
    """Which processes' command line or environment ever held one of them while this is open, by their number and name."""
    found: set[str] = set()
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.002):
            for number in filter(str.isdecimal, os.listdir("/proc")):
                for name in ("cmdline", "environ"):
                    try:
                        content = Path("/proc", number, name).read_bytes()
                    except OSError:
                        continue  # it has ended
                    if any(form in content for form in forms):
                        found.add(f"{number} {name}")

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield found
    finally:
        ended.set()
        thread.join()
