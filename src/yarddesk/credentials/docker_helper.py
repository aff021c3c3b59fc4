"""Docker's credential helpers: `docker-credential-NAME get`, a server address in, JSON out (docker-credential-helpers, README)."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from typing import Any, Final

from yarddesk.content.credentials import Credential, CredentialUnavailable, Secret

_LIMIT_SECONDS: Final = 20.0
_MAX_BYTES: Final = 256 * 1024
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_IDENTITY: Final = "<token>"
_NOT_FOUND: Final = "credentials not found in native keychain"
# A desktop app's PATH is shorter than a shell's: where Docker Desktop, Homebrew and Rancher Desktop put their helpers.
_MORE_FOLDERS: Final = (
    "/usr/local/bin",
    "/opt/homebrew/bin",
    "/Applications/Docker.app/Contents/Resources/bin",
    "~/.rd/bin",
)


def ask_helper(
    name: str, address: str, environ: Mapping[str, str], *, limit_seconds: float = _LIMIT_SECONDS
) -> Credential | None:
    """What the helper knows of a server address; None where it knows nothing. Blocks: call it in a thread.

    Raises CredentialUnavailable where it's missing, fails, hangs or talks nonsense.
    """
    program = f"docker-credential-{name}"
    path = _find(name, program, environ)
    process = subprocess.Popen(
        [path, "get"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=dict(environ),
        **_own_group(),
    )
    try:
        output, _ = process.communicate(address.encode(), timeout=limit_seconds)
    except subprocess.TimeoutExpired:
        _end(process)
        raise CredentialUnavailable(
            f"{program} gave no answer.", f"It was asked for {address} and had {limit_seconds:g} s."
        ) from None
    if process.returncode != 0:
        words = " ".join(output[:2000].decode(errors="replace").split())
        if _NOT_FOUND in words.lower() or "no credentials" in words.lower():
            return None
        raise CredentialUnavailable(f"{program} failed.", words[:300] or f"It ended with status {process.returncode}.")
    return _credential(program, output)


def _find(name: str, program: str, environ: Mapping[str, str]) -> str:
    # The name is from a file, and becomes part of a command: nothing but a plain name will do.
    if not _NAME.fullmatch(name):
        raise CredentialUnavailable("Docker's credential helper has no usable name.", f"It is called “{name[:80]}”.")
    folders = [environ.get("PATH", os.defpath), *map(os.path.expanduser, _MORE_FOLDERS)]
    path = shutil.which(program, path=os.pathsep.join(folders))
    if path is None:
        raise CredentialUnavailable(
            f"{program} is not installed.",
            "Docker's config.json names it as the place where credentials are kept.",
            hint=f"Install {program}, or take it out of credsStore and credHelpers.",
        )
    return path


def _credential(program: str, output: bytes) -> Credential | None:
    try:
        document = json.loads(output[:_MAX_BYTES])
    except (ValueError, RecursionError) as error:
        raise CredentialUnavailable(f"{program} gave no credential.", "Its answer can't be read.") from error
    username, secret = (
        (document.get(key) for key in ("Username", "Secret")) if isinstance(document, dict) else (None, None)
    )
    if not isinstance(username, str) or not isinstance(secret, str):
        raise CredentialUnavailable(f"{program} gave no credential.", "Its answer lacks Username or Secret.")
    if not secret:
        return None
    return Credential("" if username == _IDENTITY else username, Secret(secret))


def _own_group() -> dict[str, Any]:
    """What lets the helper be ended with all that it started, and shows no window."""
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NO_WINDOW}
    return {"start_new_session": True}


def _end(process: "subprocess.Popen[bytes]") -> None:
    if sys.platform == "win32":
        process.kill()
    else:
        with contextlib.suppress(ProcessLookupError):  # it ended in this moment
            os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
