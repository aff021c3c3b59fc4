"""The settings as others may see them: as they stand in the file, without what is secret."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from ruamel.yaml.comments import CommentedMap

from yarddesk.content.credentials import Secret
from yarddesk.settings import schema, values
from yarddesk.settings.model import Settings
from yarddesk.settings.yaml_file import dumped, is_variable, read_document

MASK: Final = "***"
_LEAST_WORD: Final = 8
"""Shorter words of a command, and parts of an address, are rather options and folders than passwords."""

_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://", re.ASCII)
_ENDPOINT: Final = "storage.endpoint"
_WEB_ADDRESS: Final = "sync.on_synced.webhook"


def masked_file(path: Path) -> str:
    """The YAML file's keys and values, `${VAR}` as it is written. Without comments: in one may stand what was set once.

    Raises SettingsError, and OSError where it can't be read.
    """
    return dumped(CommentedMap(_masked(read_document(path), "")))


def masked_environment(environ: Mapping[str, str], names: Sequence[str]) -> dict[str, str]:
    """These variables of ours, and what they say as far as that is no secret."""
    known = {**schema.SHORT_ENVIRONMENT, **schema.ENVIRONMENT}
    return {name: str(masked_value(known.get(name, ""), environ[name])) for name in names}


def masked_value(key: str, given: object) -> object:
    """What may be shown of the value of a dotted key (an upstream's without its place in the list)."""
    if not isinstance(given, str):
        return given if key not in schema.SECRETS or given is None else MASK
    if key not in schema.SECRETS:
        return without_user_info(given) if "://" in given or key == _ENDPOINT else given
    if not given or is_variable(given):
        return given
    return _host_alone(given) if key == _WEB_ADDRESS else MASK


def _host_alone(address: str) -> str:
    """What follows the host may be all that keeps others from posting there."""
    try:
        parts = urlsplit(without_user_info(address))
    except ValueError:
        return MASK
    is_web = parts.scheme in ("http", "https") and parts.hostname
    return f"{parts.scheme}://{parts.hostname}/{MASK}" if is_web else MASK


def without_user_info(address: str) -> str:
    """A URL, or what stands for one without its scheme, without user and password, however badly they are written."""
    scheme = _SCHEME.match(address)
    start = scheme[0] if scheme else ""
    _, found, place = address[len(start) :].rpartition("@")
    return f"{start}{MASK}@{place}" if found else address


def secrets_in(settings: Settings) -> tuple[Secret, ...]:
    """Those that are set, and what may be one in a command line and in the address of a webhook."""
    found = [secret for secret in _secrets(settings) if secret]
    words = values.command_words(settings.sync.on_synced.command.reveal())
    found += [Secret(part) for word in words[1:] for part in (word, *_values(word)) if len(part) >= _LEAST_WORD]
    try:
        address = urlsplit(settings.sync.on_synced.webhook.reveal())
    except ValueError:
        return tuple(found)
    wholes = (address.password, address.username, address.query, address.path.strip("/"))
    parts = (*_values(address.query), *address.path.split("/"))
    found += [Secret(part) for part in parts if len(part) >= _LEAST_WORD]
    return (*found, *(Secret(whole) for whole in wholes if whole))


def _values(text: str) -> Iterator[str]:
    """What is given in `NAME=VALUE`, as in an option or, several times, in a query."""
    for pair in text.split("&"):
        _, given, value = pair.partition("=")
        if given:
            yield from {value, unquote(value)}


def _secrets(value: object) -> Iterator[Secret]:
    if isinstance(value, Secret):
        yield value
    elif is_dataclass(value):
        for each in fields(value):
            yield from _secrets(getattr(value, each.name))
    elif isinstance(value, tuple):
        for entry in value:
            yield from _secrets(entry)


def _masked(node: Any, key: str) -> Any:  # noqa: ANN401 - YAML is any of its types
    if isinstance(node, Mapping):
        return {str(name): _masked(value, f"{key}.{name}" if key else str(name)) for name, value in node.items()}
    if isinstance(node, list):
        # An upstream's keys are known by themselves.
        return [_masked(entry, "" if key == "upstreams" else key) for entry in node]
    shown = masked_value(key, node)
    return str(shown) if isinstance(shown, str) else shown
