"""Which of keyring's back-ends is the keychain of this machine.

keyring finds its back-ends through package metadata, which a frozen app doesn't have, and falls back to ones that keep
passwords in plain text. So they're named here, and what keeps nothing, or keeps it for everybody to read, is refused.
"""

import os
import sys
from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from yarddesk.content.credentials import CredentialUnavailable

if TYPE_CHECKING:
    from keyring.backend import KeyringBackend

UNLOCK_SECONDS: Final = 8.0
"""How long a person has for the keychain's own prompt, in seconds; less than the time limit for the whole call."""


class NoKeychain(CredentialUnavailable):
    """This machine has none that could be used, as servers and containers don't."""


_WORDS: Final = {
    "keyring.backends.macOS": "macOS Keychain",
    "keyring.backends.Windows": "Windows Credential Locker",
    "keyring.backends.SecretService": "Secret Service (GNOME Keyring, KeePassXC and others)",
    "keyring.backends.kwallet": "KWallet",
}
_LINUX: Final = (("keyring.backends.SecretService", "Keyring"), ("keyring.backends.kwallet", "DBusKeyring"))
_REFUSED: Final = ("keyring.backends.null", "keyring.backends.fail", "keyrings.alt.", "sagecipher.")
_CONFIGURED: Final = "PYTHON_KEYRING_BACKEND"


def open_keychain(environ: Mapping[str, str] | None = None, platform: str = sys.platform) -> "KeyringBackend":
    """The keychain; may take a while (D-Bus). Raises CredentialUnavailable, with what to do about it.

    PYTHON_KEYRING_BACKEND names another one, as for every program that uses keyring, as long as it's safe.
    """
    named = (os.environ if environ is None else environ).get(_CONFIGURED, "")
    if named:
        return _configured(named)
    if platform == "darwin":
        return _made("keyring.backends.macOS", "Keyring")
    if platform == "win32":
        return _made("keyring.backends.Windows", "WinVaultKeyring")
    reasons = []
    for module, name in _LINUX:
        try:
            return _made(module, name)
        except CredentialUnavailable as error:
            reasons.append(error.message)
    raise NoKeychain(
        "There is no keychain on this machine.",
        reasons[0],
        hint="Start gnome-keyring or KWallet in your session; on a server, use `docker login` with a credential helper, "
        "or upstreams[].auth with ${VARIABLES}.",
    )


def name_of(backend: "KeyringBackend") -> str:
    """What people call a back-end."""
    module = next(each.__module__ for each in type(backend).__mro__ if each.__module__ != __name__)
    return _WORDS.get(module, module)


def _configured(named: str) -> "KeyringBackend":
    module, _, name = named.rpartition(".")
    if not module or named.startswith(_REFUSED):
        raise CredentialUnavailable(
            "The keychain that is set up keeps no secrets safely.",
            f"{_CONFIGURED} is {named[:100]}.",
            hint=f"Unset {_CONFIGURED}, or name a back-end that encrypts.",
        )
    return _made(module, name)


def _made(module: str, name: str) -> "KeyringBackend":
    """The back-end, if it can work here."""
    try:
        kind: Any = getattr(import_module(module), name)
        kind.priority  # noqa: B018 - keyring's way to say that it can't work here, by raising
        backend: KeyringBackend = _with_prompt_limit(kind) if module.endswith(".SecretService") else kind()
    except Exception as error:
        # A missing library, a bus without a socket, D-Bus' own errors: what each back-end raises has no common root.
        raise CredentialUnavailable(
            "The keychain can't be used.",
            f"{str(error)[:300].strip().rstrip('.') or type(error).__name__}.",
            hint="Look at the settings of keyring (keyringrc.cfg, PYTHON_KEYRING_BACKEND).",
        ) from error
    return backend


def _with_prompt_limit(kind: Any) -> "KeyringBackend":  # noqa: ANN401 - keyring's classes are made by a metaclass without types
    """keyring waits for ever for somebody to answer the keychain's prompt; where there is nobody, that is too long."""

    class SecretService(kind):  # type: ignore[misc]  # as above
        priority = 1  # not to be chosen by keyring itself

        def get_preferred_collection(self) -> Any:  # noqa: ANN401 - secretstorage's Collection
            import secretstorage
            from keyring.errors import InitError, KeyringLocked

            bus = secretstorage.dbus_init()
            try:
                collection = secretstorage.get_default_collection(bus)
                if collection.is_locked() and (_prompted(collection) or collection.is_locked()):
                    raise KeyringLocked("It is locked, and nobody unlocked it.")
            except secretstorage.exceptions.SecretStorageException as error:
                bus.close()
                raise InitError(str(error)) from error
            except BaseException:
                bus.close()
                raise
            return collection

    return SecretService()


def _prompted(collection: Any) -> bool:  # noqa: ANN401 - secretstorage's Collection
    """Whether a person dismissed the prompt, or none came."""
    try:
        return bool(collection.unlock(timeout=UNLOCK_SECONDS))
    except TimeoutError:
        return True
