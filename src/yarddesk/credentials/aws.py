"""The keys of an AWS account, where AWS's own tools look for them: environment, profile, its process, the `aws` command.

What the `aws` command knows besides (single sign-on, assumed roles, the machine's own role) it is asked for.
"""

import asyncio
import configparser
import json
import os
import shlex
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from yarddesk.content.credentials import AwsKeys, CredentialUnavailable, Secret
from yarddesk.credentials.programs import Said, ask_program, search_path

_THREADS: Final = ThreadPoolExecutor(2, "yarddesk-aws")
_MOST_BYTES: Final = 1024 * 1024
_EXPORT: Final = ("configure", "export-credentials", "--format", "process")
_FOR_THE_COMMAND: Final = frozenset({"role_arn", "sso_session", "sso_start_url", "web_identity_token_file"})
"""Keys of a profile that say that its own keys are not what it means."""


class AwsConfiguration:
    """content.credentials.AwsAccount of this machine. Everything is read anew at each call."""

    def __init__(
        self,
        environ: Mapping[str, str] | None = None,
        home: Path | None = None,
        *,
        ask: Callable[[Sequence[str] | str, Mapping[str, str]], Said] = ask_program,
    ) -> None:
        self._environ = os.environ if environ is None else environ
        self._home = home
        self._ask = ask

    def endpoint(self, service: str) -> str:
        """The URL that AWS's tools would use in place of a service's own; empty where nothing is said."""
        return self._environ.get(f"AWS_ENDPOINT_URL_{service.upper()}") or self._environ.get("AWS_ENDPOINT_URL") or ""

    async def keys(self) -> AwsKeys | None:
        """None where there are none. Raises CredentialUnavailable."""
        return await asyncio.get_running_loop().run_in_executor(_THREADS, self._keys)

    def _keys(self) -> AwsKeys | None:
        given = _keys_in(self._environ, "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
        if given is not None:
            return given
        profile = self._profile()
        if not _FOR_THE_COMMAND & profile.keys():
            kept = _keys_in(profile, "aws_access_key_id", "aws_secret_access_key", "aws_session_token")
            if kept is not None:
                return kept
            if process := profile.get("credential_process"):
                command = process if sys.platform == "win32" else shlex.split(process)
                return self._asked(command, "credential_process", shows_errors=False)
        command_path = shutil.which("aws", path=search_path(self._environ))
        if command_path is not None:
            return self._asked([command_path, *_EXPORT], "aws", shows_errors=True)
        if _FOR_THE_COMMAND & profile.keys():
            raise CredentialUnavailable(
                "The aws command is not installed.",
                f"The AWS profile “{self._name}” is one that it alone can use.",
                hint="Install it, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.",
            )
        return None

    @property
    def _name(self) -> str:
        return self._environ.get("AWS_PROFILE") or self._environ.get("AWS_DEFAULT_PROFILE") or "default"

    def _profile(self) -> dict[str, str]:
        """The profile's entries of both files; those of `credentials` win."""
        config = _section(self._file("AWS_CONFIG_FILE", "config"), [f"profile {self._name}", self._name])
        return config | _section(self._file("AWS_SHARED_CREDENTIALS_FILE", "credentials"), [self._name])

    def _file(self, variable: str, name: str) -> Path:
        named = self._environ.get(variable)
        return Path(named).expanduser() if named else (self._home or Path(os.path.expanduser("~"))) / ".aws" / name

    def _asked(self, command: Sequence[str] | str, name: str, *, shows_errors: bool) -> AwsKeys:
        try:
            said = self._ask(command, self._environ)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise CredentialUnavailable(f"{name} gave no AWS credentials.", reason) from error
        if said.status != 0:
            words = " ".join(said.errors[:2000].decode(errors="replace").split())[:300] if shows_errors else ""
            raise CredentialUnavailable(
                f"{name} gave no AWS credentials.", words or f"It ended with status {said.status}."
            )
        keys = _keys_in(_document(said.output), "AccessKeyId", "SecretAccessKey", "SessionToken")
        if keys is None:
            raise CredentialUnavailable(f"{name} gave no AWS credentials.", "Its answer can't be read.")
        return keys


def _keys_in(texts: Mapping[str, Any], access: str, secret: str, token: str) -> AwsKeys | None:
    found = [texts.get(access), texts.get(secret), texts.get(token) or ""]
    if not all(isinstance(text, str) for text in found) or not found[0] or not found[1]:
        return None
    return AwsKeys(str(found[0]).strip(), Secret(str(found[1]).strip()), Secret(str(found[2]).strip()))


def _section(path: Path, names: Sequence[str]) -> dict[str, str]:
    """The entries of the first of these sections that a file has. Raises CredentialUnavailable."""
    parser = configparser.RawConfigParser(strict=False, default_section="\0")
    try:
        with path.open(encoding="utf-8") as file:
            parser.read_string(file.read(_MOST_BYTES))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise CredentialUnavailable(f"{path} can't be read.", error.strerror or str(error)) from error
    except (configparser.Error, UnicodeDecodeError) as error:
        # The error's own text quotes the line, which may hold a key.
        raise CredentialUnavailable(f"{path} can't be read.", f"It is damaged ({type(error).__name__}).") from None
    return next((dict(parser.items(name)) for name in names if parser.has_section(name)), {})


def _document(output: bytes) -> dict[str, Any]:
    try:
        document = json.loads(output[:_MOST_BYTES])
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}
