"""Whether the port is there for us."""

from collections.abc import Iterator
from typing import Final
from urllib.parse import urlsplit

from yarddesk.registry.sockets import CannotBind, PortTaken, missing_addresses
from yarddesk.service.addresses import exposure
from yarddesk.service.doctor.finding import Finding, State, of_error, ok, warning
from yarddesk.service.doctor.running import Running
from yarddesk.settings.model import ServerSettings

_CHECK: Final = "port"


def check_port(server: ServerSettings, running: Running | None) -> Iterator[Finding]:
    """Blocking."""
    subject = f"{server.host or 'all interfaces'}:{server.port}"
    if running is not None:
        yield _held_by(running, server, subject)
    elif server.port == 0:
        yield ok(_CHECK, subject, "Any port that is free is taken at the start.")
    else:
        yield from _looked_at(server, subject)
    if words := exposure(server):
        hint = "Take server.host out of the settings, where nobody else needs to."
        yield warning(_CHECK, subject, f"{words[0].upper()}{words[1:]}.", hint)


def _held_by(running: Running, server: ServerSettings, subject: str) -> Finding:
    instance = running.instance
    message = f"Our own instance, pid {instance.pid}, listens at {instance.url}."
    if server.port not in (0, urlsplit(instance.url).port):
        message += f" It was started on another port than the settings' {server.port}."
    return ok(_CHECK, subject, message)


def _looked_at(server: ServerSettings, subject: str) -> Iterator[Finding]:
    try:
        missing = missing_addresses(server.host, server.port)
    except (PortTaken, CannotBind) as error:
        yield of_error(State.BROKEN, _CHECK, subject, error)
        return
    yield ok(_CHECK, subject, f"Port {server.port} is free.")
    for address in missing:
        yield warning(
            _CHECK,
            subject,
            f"There is no {address} here, so it will be without.",
            f"Should a client look for localhost there alone, name 127.0.0.1:{server.port}, or switch IPv6 on.",
        )
