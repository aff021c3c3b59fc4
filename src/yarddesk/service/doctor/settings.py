"""Where the settings come from, and what in them comes to nothing. What can't be used at all has ended the command before."""

from collections.abc import Iterator

from yarddesk.registry.server import TlsUnusable, check_certificate
from yarddesk.service.doctor.finding import Finding, State, of_error, ok, warning
from yarddesk.service.unheeded import unheeded_keys
from yarddesk.settings.loader import LoadedSettings

CHECK = "settings"


def check_settings(loaded: LoadedSettings) -> Iterator[Finding]:
    """Blocking."""
    settings = loaded.settings
    if settings.source is not None:
        yield ok(CHECK, str(loaded.file), "The settings are read from this file.")
    else:
        yield ok(CHECK, str(loaded.file), "There is no such file, so the defaults hold. It is where one would be read.")
    if loaded.environment:
        yield ok(CHECK, "environment", f"Heeded: {', '.join(loaded.environment)}.")
    for words in loaded.warnings:
        yield warning(CHECK, "environment", words, "Unset it where it's not for yarddesk, or call it as yarddesk does.")
    for name in loaded.unset:
        yield warning(
            CHECK,
            f"${{{name}}}",
            f"{name} is not set, so ${{{name}}} stands in the settings as it is.",
            f"Set {name} where yarddesk is started.",
        )
    for key in unheeded_keys(settings):
        yield warning(
            CHECK,
            key,
            "It is set in vain: repositories are made at private registries of ECR alone.",
            "Take it out, and make the repository at the registry.",
        )
    if settings.server.tls:
        try:
            check_certificate(settings.server.certfile, settings.server.keyfile)
            yield ok(CHECK, "server.certfile", f"{settings.server.certfile} can be used for TLS.")
        except TlsUnusable as error:
            yield of_error(State.BROKEN, CHECK, "server.certfile", error)
