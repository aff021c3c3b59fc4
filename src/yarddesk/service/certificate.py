"""The server's certificate: one that can't be used is a mistake in the settings."""

from yarddesk.registry.server import TlsUnusable, check_certificate
from yarddesk.settings.errors import SettingsError
from yarddesk.settings.model import ServerSettings, Settings


def refuse_certificate(settings: Settings, running: ServerSettings) -> None:
    """Raises SettingsError where the next start could not use it, though this one `running` goes on with its own. Blocking."""
    server = settings.server
    if server.tls and (server.certfile, server.keyfile, True) != (running.certfile, running.keyfile, running.tls):
        try:
            check_certificate(server.certfile, server.keyfile)
        except TlsUnusable as error:
            raise mistake(settings, error) from error


def mistake(settings: Settings, error: TlsUnusable) -> SettingsError:
    key = "server.certfile"
    return SettingsError(settings.place(key), key, f"{error.title} {error.message}", hint=error.hint)
