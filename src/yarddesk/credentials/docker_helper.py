"""Docker's credential helpers: `docker-credential-NAME get`, a server address in, JSON out (docker-credential-helpers, README)."""

import json
import re
import shutil
from collections.abc import Mapping
from typing import Final

from yarddesk.content.credentials import Credential, CredentialUnavailable, Secret
from yarddesk.credentials.programs import LIMIT_SECONDS, ask_program, search_path

_MAX_BYTES: Final = 256 * 1024
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_IDENTITY: Final = "<token>"
_NOT_FOUND: Final = "credentials not found in native keychain"


class HelperHangs(CredentialUnavailable):
    """It gave no answer in time."""


def ask_helper(
    name: str, address: str, environ: Mapping[str, str], *, limit_seconds: float = LIMIT_SECONDS
) -> Credential | None:
    """What the helper knows of a server address; None where it knows nothing. Blocks: call it in a thread.

    Raises CredentialUnavailable where it's missing, fails, hangs or talks nonsense.
    """
    program = f"docker-credential-{name}"
    path = _find(name, program, environ)
    try:
        said = ask_program([path, "get"], environ, given=address.encode(), limit_seconds=limit_seconds)
    except TimeoutError:
        raise HelperHangs(
            f"{program} gave no answer.", f"It was asked for {address} and had {limit_seconds:g} s."
        ) from None
    if said.status != 0:
        words = " ".join(said.output[:2000].decode(errors="replace").split())
        if _NOT_FOUND in words.lower() or "no credentials" in words.lower():
            return None
        raise CredentialUnavailable(f"{program} failed.", words[:300] or f"It ended with status {said.status}.")
    return _credential(program, said.output)


def _find(name: str, program: str, environ: Mapping[str, str]) -> str:
    # The name is from a file, and becomes part of a command: nothing but a plain name will do.
    if not _NAME.fullmatch(name):
        raise CredentialUnavailable("Docker's credential helper has no usable name.", f"It is called “{name[:80]}”.")
    path = shutil.which(program, path=search_path(environ))
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
