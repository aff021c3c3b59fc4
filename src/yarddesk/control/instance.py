"""How the commands find a running instance: `control.json` and `control.token` in its data folder."""

import json
import os
import secrets
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from yarddesk import __version__
from yarddesk.content.credentials import Secret
from yarddesk.errors import YarddeskError
from yarddesk.storage.layout import BESIDE_PREFIX

_DOCUMENT: Final = "control.json"
_TOKEN: Final = "control.token"


class NoInstance(YarddeskError):
    """Nothing runs on that data folder."""

    def __init__(self, data_dir: Path) -> None:
        super().__init__(
            f"No yarddesk is running on {data_dir}.",
            hint="Start it with `yarddesk` or `yarddesk serve`, or name its folder with --data-dir.",
        )


@dataclass(frozen=True, slots=True)
class Instance:
    """A running instance."""

    url: str
    pid: int
    version: str
    token: Secret


def new_token() -> Secret:
    """A token for one run."""
    return Secret(secrets.token_urlsafe(32))


def announce(data_dir: Path, url: str, token: Secret) -> None:
    """Write both files for this process, 0600. Blocking."""
    _write(data_dir / _TOKEN, token.reveal())
    _write(data_dir / _DOCUMENT, json.dumps({"url": url, "pid": os.getpid(), "version": __version__}) + "\n")


def withdraw(data_dir: Path) -> None:
    """Take both files away. Blocking."""
    (data_dir / _DOCUMENT).unlink(missing_ok=True)
    (data_dir / _TOKEN).unlink(missing_ok=True)


def find_instance(data_dir: Path) -> Instance:
    """Raises NoInstance; that it answers is for the caller to see. Blocking."""
    try:
        document = json.loads((data_dir / _DOCUMENT).read_bytes())
        token = (data_dir / _TOKEN).read_text(encoding="ascii").strip()
        url = _dialled(str(document["url"]))
        return Instance(url, int(document["pid"]), str(document["version"]), Secret(token))
    except (FileNotFoundError, NotADirectoryError, KeyError, ValueError, TypeError) as error:
        raise NoInstance(data_dir) from error


def _dialled(url: str) -> str:
    """The same. Raises ValueError for what nobody listens at."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or parts.port is None:
        raise ValueError("no address of ours")
    return url


def _write(path: Path, text: str) -> None:
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=BESIDE_PREFIX)  # 0600 from the start
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
