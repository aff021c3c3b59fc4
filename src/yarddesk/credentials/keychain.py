"""The operating system's keychain, through keyring: macOS Keychain, Windows Credential Locker, Secret Service, KWallet.

keyring is loaded where the keychain is first asked, on its thread: it brings some fifty modules, and many a yard asks none.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeVar

from yarddesk.content.credentials import Credential, CredentialUnavailable
from yarddesk.content.registry_host import registry_key
from yarddesk.credentials.backends import name_of, open_keychain
from yarddesk.credentials.secret_text import from_text, parts_of, to_parts
from yarddesk.credentials.worker import PatientThread

if TYPE_CHECKING:
    from keyring.backend import KeyringBackend

T = TypeVar("T")

_ACCOUNT: Final = "yarddesk"
_LIMIT_SECONDS: Final = 10.0
_LIBRARIES: Final = frozenset({"secretstorage", "jeepney", "dbus", "pywintypes", "win32ctypes"})


class KeychainStore:
    """content.credentials.CredentialStore over the keychain. One entry a registry: `yarddesk:REGISTRY`, account `yarddesk`.

    Its calls run in a thread of their own, for 10 seconds at most. Nothing is ever written anywhere else.
    """

    def __init__(
        self, open_backend: "Callable[[], KeyringBackend]" = open_keychain, *, limit_seconds: float = _LIMIT_SECONDS
    ) -> None:
        self._open_backend = open_backend
        self._backend: KeyringBackend | None = None
        self._thread = PatientThread("keychain", limit_seconds)

    async def get(self, registry: str) -> Credential | None:
        service = _service(registry)
        return await self._run(lambda backend: _read(backend, service))

    async def set(self, registry: str, credential: Credential) -> None:
        service = _service(registry)
        await self._run(lambda backend: _write(backend, service, credential))

    async def delete(self, registry: str) -> bool:
        service = _service(registry)
        return await self._run(lambda backend: _remove(backend, service))

    async def check(self) -> str:
        """Ask for an entry that nobody makes: what people call this keychain. Raises CredentialUnavailable."""
        return await self._run(_asked)

    def close(self) -> None:
        """End the thread."""
        self._thread.close()

    async def _run(self, call: "Callable[[KeyringBackend], T]") -> T:
        return await self._thread.run(lambda: self._called(call))

    def _called(self, call: "Callable[[KeyringBackend], T]") -> T:
        from keyring.errors import KeyringError, KeyringLocked

        if self._backend is None:
            self._backend = self._open_backend()
        try:
            return call(self._backend)
        except KeyringLocked as error:
            raise CredentialUnavailable(
                "The keychain is locked.", str(error)[:300], hint="Unlock the keychain, and try again."
            ) from error
        except (KeyringError, OSError, RuntimeError) as error:
            # Another back-end may be there the next time: a session that started, a service that came up.
            self._backend = None
            raise _unusable(error) from error
        except Exception as error:
            # secretstorage, jeepney, dbus and pywin32 each have exceptions of their own, without a common root.
            if type(error).__module__.partition(".")[0] not in _LIBRARIES:
                raise
            self._backend = None
            raise _unusable(error) from error


def _unusable(error: Exception) -> CredentialUnavailable:
    return CredentialUnavailable(
        "The keychain can't be used.",
        f"{type(error).__name__}: {error}"[:300],
        hint="Is a keychain (such as gnome-keyring or KWallet) running in this session?",
    )


def _service(registry: str) -> str:
    return f"yarddesk:{registry_key(registry)}"


def _asked(backend: "KeyringBackend") -> str:
    backend.get_password("yarddesk:check", _ACCOUNT)
    return name_of(backend)


def _read(backend: "KeyringBackend", service: str) -> Credential | None:
    text = backend.get_password(service, _ACCOUNT)
    if text is None:
        return None
    if names := parts_of(text):
        parts = [backend.get_password(f"{service}#{name}", _ACCOUNT) or "" for name in names]
        # A secret with a hole in it is none.
        text = "".join(parts) if all(parts) else ""
    return from_text(text)


def _write(backend: "KeyringBackend", service: str, credential: Credential) -> None:
    before = backend.get_password(service, _ACCOUNT)
    head, parts = to_parts(credential)
    # The parts first: whoever reads in between finds the old credential whole.
    for name, text in parts.items():
        backend.set_password(f"{service}#{name}", _ACCOUNT, text)
    if before is not None:
        # Windows would keep the old one beside the new under another name.
        _remove_entry(backend, service)
    backend.set_password(service, _ACCOUNT, head)
    _remove_parts(backend, service, before)


def _remove(backend: "KeyringBackend", service: str) -> bool:
    text = backend.get_password(service, _ACCOUNT)
    if text is None:
        return False
    _remove_entry(backend, service)
    _remove_parts(backend, service, text)
    return True


def _remove_parts(backend: "KeyringBackend", service: str, head: str | None) -> None:
    for name in parts_of(head or ""):
        _remove_entry(backend, f"{service}#{name}")


def _remove_entry(backend: "KeyringBackend", service: str) -> None:
    from keyring.errors import PasswordDeleteError

    try:
        backend.delete_password(service, _ACCOUNT)
    except PasswordDeleteError as error:
        if backend.get_password(service, _ACCOUNT) is not None:
            raise error
